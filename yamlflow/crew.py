"""Where executors run: threads for plain functions, one event loop for coroutines. Knows nothing of steps or stores.

All threads are daemons: an executor that never returns does not keep the process from ending.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any

Job = Callable[[], None]


class Threads:
    """As many threads as there is work for at once; idle ones are used again."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._count = 0

    def submit(self, job: Job) -> None:
        """Run a job soon."""
        with self._lock:
            if self._idle > 0:
                self._idle -= 1
            else:
                threading.Thread(target=self._work, name=f"yamlflow-{self._count + 1}", daemon=True).start()
                self._count += 1
        self._jobs.put(job)

    def close(self) -> None:
        """Let idle threads end."""
        for _ in range(self._count):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            with self._lock:
                self._idle += 1


class Loop:
    """One event loop in a thread of its own, started when the first coroutine comes.

    A coroutine that blocks holds up all others of its loop. ``silence`` tells of it; ``renew`` lets those that come later
    run on another loop.
    """

    def __init__(self) -> None:
        self._loop: Any = None
        self._closing = threading.Event()
        #: Loops that were given up, with what closes each: what runs there may still come to its end.
        self._given_up: list[tuple[Any, threading.Event]] = []
        self._asked = 0
        self._answered = threading.Event()
        self._answered.set()

    def submit(self, begin: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run the coroutine that ``begin`` makes soon. Raises what the system lacks for it (``OSError``…)."""
        # Imported here: a run of plain steps never needs it.
        import asyncio

        if self._loop is None:
            loop, closing = asyncio.new_event_loop(), threading.Event()
            try:
                threading.Thread(target=_serve, args=(loop, closing), name="yamlflow-loop", daemon=True).start()
            except RuntimeError:
                loop.close()
                raise
            self._loop, self._closing = loop, closing
        asyncio.run_coroutine_threadsafe(begin(), self._loop)

    def silence(self, steady: int) -> int:
        """Milliseconds for which the loop has not answered; it is asked again with each call that finds it answered."""
        if self._loop is None:
            return 0
        if self._answered.is_set():
            self._asked = steady
            self._answered.clear()
            self._loop.call_soon_threadsafe(self._answered.set)
        return steady - self._asked

    def blocker(self) -> str | None:
        """The name of the task that runs on the loop just now."""
        import asyncio

        task = None if self._loop is None else asyncio.current_task(self._loop)
        return None if task is None else task.get_name()

    def renew(self) -> None:
        """Let coroutines that come from now on run on another loop."""
        self._given_up.append((self._loop, self._closing))
        self._loop = None
        self._answered = threading.Event()
        self._answered.set()

    def close(self) -> None:
        """Stop the loop, and those that were given up as soon as they can be."""
        if self._loop is not None:
            self.renew()
        for loop, closing in self._given_up:
            closing.set()
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(loop.stop)
        self._given_up.clear()


def _serve(loop: Any, closing: threading.Event) -> None:
    try:
        while not closing.is_set():
            # Only ``close`` may stop it: an executor that does would stop every other coroutine with its own.
            loop.run_forever()
    finally:
        loop.close()
