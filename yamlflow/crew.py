"""Where executors run: threads for plain functions, one event loop for coroutines. Knows nothing of steps or stores.

All threads are daemons: an executor that never returns does not keep the process from ending.
"""

from __future__ import annotations

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
                self._count += 1
                threading.Thread(target=self._work, name=f"yamlflow-{self._count}", daemon=True).start()
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
    """One event loop in a thread of its own, started when the first coroutine comes."""

    def __init__(self) -> None:
        self._loop: Any = None
        self._closing = threading.Event()

    def submit(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine soon."""
        # Imported here: a run of plain steps never needs it.
        import asyncio

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._closing = threading.Event()
            threading.Thread(target=_serve, args=(self._loop, self._closing), name="yamlflow-loop", daemon=True).start()
        asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def close(self) -> None:
        """Stop the loop."""
        if self._loop is not None:
            self._closing.set()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None


def _serve(loop: Any, closing: threading.Event) -> None:
    try:
        while not closing.is_set():
            # Only ``close`` may stop it: an executor that does would stop every other coroutine with its own.
            loop.run_forever()
    finally:
        loop.close()
