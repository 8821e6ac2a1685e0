"""One case under the rules: no error but the typed ones, at most ``CPU`` seconds of this process, at most ``MEMORY`` bytes more.

A target's own check lets the typed errors pass; whatever else comes out of it is a ``Finding``. Time is this process's, so
that a busy machine finds nothing. What never comes back is ended by the system (``RLIMIT_CPU``): its caller sees a process
that died, and where it was in the file of ``faulthandler``.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import re
import resource
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

#: Seconds of a process's own time.
CPU = 2.0
#: Bytes that a case may take beyond what was there before it.
MEMORY = 200 * 1024 * 1024
#: Bytes of address space beyond what a worker has when it begins: what asks for more gets ``MemoryError``.
SPACE = 3 * 1024 * 1024 * 1024
#: Growth after which the peak is counted anew.
SLACK = 48 * 1024 * 1024
ROOT = Path(__file__).parents[2]
PRODUCT = f"{ROOT / 'yamlflow'}{os.sep}"


@dataclass(frozen=True)
class Finding:
    """What a case showed."""

    target: str
    #: What happened and where, the same for all cases that show the same: ``KeyError at yamlflow/plan.py:resolve``.
    site: str
    #: The traceback, or what was measured.
    story: str
    case: Any


class TooLong(BaseException):
    """A case has had ten times its share of the processor, and the process is one that must live on."""


def too_long(*_: object) -> None:
    """The handler of the timer."""
    raise TooLong


class Judge:
    """Runs cases in this process, one after the other.

    With a file for ``stacks`` the process is a worker, which the system ends when a case hangs. Without one it is that of
    the tests: a case that hangs is interrupted where Python looks for signals.
    """

    def __init__(self, stacks: IO[str] | None = None) -> None:
        self._peak_from = 0
        self._begin_anew()
        if stacks is not None:
            faulthandler.enable(stacks)
            faulthandler.register(signal.SIGPROF, file=stacks, all_threads=True)
        self._watched = stacks is not None

    def __call__(self, target: str, check: Callable[[Any], None], case: Any, *, timed: bool = True) -> Finding | None:
        """What is wrong with how a case is taken; None when nothing is."""
        before: Any = None
        if self._watched:
            _bound_process()
        else:
            before = signal.signal(signal.SIGPROF, too_long)
            signal.setitimer(signal.ITIMER_PROF, 10 * CPU)
        began = time.process_time()
        try:
            check(case)
        except Exception as fault:
            if not isinstance(fault, AssertionError) and not reached_product(fault):
                return None  # A case that has lost its shape, which only the check itself met.
            return Finding(target, site_of(fault), "".join(traceback.format_exception(fault))[-6000:], case)
        except TooLong as stopped:
            return Finding(target, f"slow at {target}", "".join(traceback.format_exception(stopped))[-6000:], case)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            if not self._watched:
                signal.signal(signal.SIGPROF, before)
        took = time.process_time() - began
        if timed and took > CPU:
            return Finding(target, f"slow at {target}", f"{took:.1f} s of CPU", case)
        grown = peak() - self._peak_from
        if grown > SLACK:
            self._begin_anew()
        if grown > MEMORY:
            return Finding(target, f"memory at {target}", f"{grown // 2**20} MB more", case)
        return None

    def _begin_anew(self) -> None:
        gc.collect()
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            pass
        self._peak_from = peak()


def _bound_process() -> None:
    """A stack after ``CPU`` seconds, and the end a few seconds later."""
    spent = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    resource.setrlimit(resource.RLIMIT_CPU, (int(spent) + 8, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_PROF, CPU)


def bound_memory() -> None:
    """Let this process have no more than ``SPACE`` bytes beside what it has."""
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has + SPACE, resource.RLIM_INFINITY))


def peak() -> int:
    """The most bytes that this process held at once since the peak was cleared."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def site_of(fault: BaseException) -> str:
    """The kind of an error and the innermost place in yamlflow, else in the target, that it came through."""
    frames = traceback.extract_tb(fault.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(PRODUCT)]
    frame = (own or list(frames))[-1]
    words = f": {re.sub('[0-9][0-9,]*', 'N', str(fault)[:80])}" if isinstance(fault, AssertionError) else ""
    return f"{type(fault).__name__} at {_near(frame.filename)}:{frame.name}{words}"


def reached_product(fault: BaseException) -> bool:
    """Whether an error came through yamlflow's own code."""
    return any(frame.filename.startswith(PRODUCT) for frame in traceback.extract_tb(fault.__traceback__))


def _near(file: str) -> str:
    return str(Path(file).relative_to(ROOT)) if Path(file).is_relative_to(ROOT) else Path(file).name
