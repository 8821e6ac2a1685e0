"""A worker of the command line lives in a child process, and is started again when it dies: a plugin that kills its
process must not keep other steps from their end, nor leave its user with a silent shell.

``begin`` forks before anything else is imported, when that costs least, and returns in the child alone. The first process
stays behind: it holds no store and no thread, hands signals on, says how a worker died, and ends with the exit status that
the last one told it. Should the first process be killed, its worker is killed with it, at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal

from . import guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

#: Signals that ask for an end.
ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: What the first process hands them on as: a worker that was also told itself, with its group, was asked once, however late
#: the other word comes.
HANDED_ON = int(getattr(signal, "SIGRTMIN", 34)) + 7
#: Seconds before a worker is started again: none at first, so that a run with one fatal step goes on at once.
PAUSES = (0, 0.2, 0.5, 1, 2, 5)
#: Seconds between the words with which a worker says that its threads get their turn.
BEAT = 5.0
#: Seconds after which the first process looks for such a word, and how often it may find none.
LOOK, SILENT = 15.0, 4
#: Seconds in which a worker that was told twice must have ended.
LAST = 2.0
#: Seconds within which signals are one: whoever ends a group of processes and its first one (as ``timeout`` does) asks once.
TOGETHER = 0.2
#: Seconds between looks whether what a dead worker has started is gone, and how many: the guard ends it, and takes as long
#: as its grace for what does not want to end.
LOOK_AGAIN, CLEARING = 0.05, 300
#: Workers in a row that may die before they have taken up a step.
FRUITLESS = 3


#: Commands whose process works on steps.
WATCHED = frozenset({"run", "resume", "retry", "worker"})
#: Says ``no`` where nobody is to watch.
SETTING = "YAMLFLOW_SUPERVISE"


class Life:
    """One life of a worker, in its own process."""

    def __init__(self, pipe: int | None = None, number: int = 1, begun: str = "") -> None:
        #: Where the first process hears of it; None when nobody listens.
        self._pipe = pipe
        #: From 1.
        self.number = number
        #: The run that an earlier life has begun, as ``ID@EXECUTION``.
        self.begun = begun
        self._took = False
        self._beating = False

    def began(self, run: str) -> None:
        """This run was begun: a later life goes on with it."""
        self._tell(f"run {run}")

    def marks(self, mark: str) -> None:
        """What this process starts carries this mark: it must be gone before a later life starts the same again."""
        self._tell(f"mark {mark}")

    def took(self) -> None:
        """It has taken up a step."""
        if not self._took:
            self._took = True
            self._tell("took")

    def beat(self) -> None:
        """Say from time to time, in a thread, that this process lives: one that holds Python's lock for ever does not."""
        if self._pipe is None or self._beating:
            return
        import threading

        self._beating = True
        rest = threading.Event()

        def go_on() -> None:
            while not rest.wait(BEAT):
                self._tell("beat")

        self._tell("beat")
        threading.Thread(target=go_on, name="yamlflow-beat", daemon=True).start()

    def ended(self, status: int) -> None:
        """The process is about to end with this exit status, on purpose."""
        self._tell(f"end {status}")

    def _tell(self, words: str) -> None:
        if self._pipe is not None:
            with contextlib.suppress(OSError):
                os.write(self._pipe, f"{words}\n".encode())


#: The life that this process is.
life = Life()


def begin(arguments: list[str]) -> None:
    """Go on in a child process that is watched, where the command is one that works on steps.

    Nothing is read but the words of the command line: one that merely looks like such a command is watched too, which does
    no harm.
    """
    global life
    # Elsewhere the system cannot be told to end a child with its parent.
    if hasattr(fcntl, "F_SETSIG") and os.environ.get(SETTING) != "no" and WATCHED.intersection(arguments):
        life = supervise()


def supervise() -> Life:
    """Let one worker after the other live until one has said that it is done; returns in each of them alone."""
    heeded = {number for number in ASKING if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN}
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*heeded, signal.SIGCHLD})
    watch = Watch(heeded)
    while True:
        heard, told = os.pipe()
        leash, held = os.pipe()
        try:
            child = os.fork()
        except OSError:
            # Without a process to spare it works unwatched.
            for descriptor in (heard, told, leash, held):
                os.close(descriptor)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return Life(number=watch.lives + 1, begun=watch.begun)
        if child == 0:
            os.close(heard)
            os.close(held)
            die_with(leash)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return Life(pipe=told, number=watch.lives + 1, begun=watch.begun)
        os.close(told)
        os.close(leash)
        watch.follow(child, heard)
        os.close(heard)
        os.close(held)


def die_with(leash: int) -> None:
    """End this process with SIGKILL when the other end of a pipe is closed, which its holder's end does."""
    fcntl.fcntl(leash, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(leash, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(leash, fcntl.F_SETFL, fcntl.fcntl(leash, fcntl.F_GETFL) | os.O_ASYNC)
    # It may have been closed before we asked.
    if select.select([leash], [], [], 0)[0]:
        os.kill(os.getpid(), signal.SIGKILL)


class Watch:
    """What the first process knows of its workers."""

    def __init__(self, heeded: set[signal.Signals]) -> None:
        self._heeded = heeded
        self.lives = 0
        self.begun = ""
        self._fruitless = 0
        self._asked: int | None = None

    def follow(self, child: int, heard: int) -> None:
        """Wait until a worker has ended; returns when there is to be another one, otherwise this process ends."""
        self.lives += 1
        os.set_blocking(heard, False)
        words: list[str] = []
        state, stuck = self._wait(child, heard, words)
        words += hear(heard)
        marks = [word.removeprefix("mark ") for word in words if word.startswith("mark ")]
        for word in words:
            if word.startswith("run "):
                self.begun = word.removeprefix("run ")
        ended = [word for word in words if word.startswith("end ")]
        if ended:
            leave(int(ended[-1].removeprefix("end ")))
        show_cursor()
        how = STUCK if stuck else how_it_died(state)
        if self._asked is not None:
            leave(128 + self._asked)
        self._fruitless = 0 if "took" in words else self._fruitless + 1
        if self._fruitless >= FRUITLESS:
            resume = f"; `yamlflow resume {self.begun}` goes on" if self.begun else ""
            say(f"the worker {how}, {FRUITLESS} times in a row before it took up a step; giving up{resume}")
            leave(128 + os.WTERMSIG(state) if os.WIFSIGNALED(state) else os.WEXITSTATUS(state) or 70)
        say(f"the worker (process {child}) {how}; what it had in hand is offered again to a new one")
        self._pause(PAUSES[min(self.lives, len(PAUSES)) - 1])
        self._clear(marks)

    def _wait(self, child: int, heard: int, words: list[str]) -> tuple[int, bool]:
        """Until the worker has ended, handing on what this process is told; its wait status, and whether it was stuck."""
        silent, asked, asked_at, stuck, beats = 0, 0, 0.0, False, False
        while True:
            told = signal.sigtimedwait({*self._heeded, signal.SIGCHLD}, LAST if asked > 1 else LOOK)
            if told is not None and told.si_signo in self._heeded:
                self._asked, now = told.si_signo, os.times().elapsed
                if now - asked_at >= TOGETHER:
                    asked, asked_at = asked + 1, now
                    # What a terminal sends reaches the worker too; what somebody sends to this process does not.
                    if told.si_pid:
                        end(child, HANDED_ON)
            pid, state = os.waitpid(child, os.WNOHANG)
            if pid:
                return state, stuck
            new = hear(heard)
            words += [word for word in new if word != "beat"]
            beats = beats or "beat" in new
            silent = 0 if new or told is not None or not beats or is_stopped(child) else silent + 1
            if told is None and asked > 1:
                # It was told twice, and cannot even hear it.
                end(child, signal.SIGKILL)
            elif silent >= SILENT:
                stuck = True
                end(child, signal.SIGKILL)

    def _clear(self, marks: list[str]) -> None:
        """Wait until the guard has ended what a dead worker left; should that be dead too, end it here."""
        for look in range(CLEARING + 1):
            if self._asked is not None:
                leave(128 + self._asked)
            left = [pid for mark in marks for pid in guard.marked(mark)]
            if not left:
                return
            if look == CLEARING:
                for pid in left:
                    end(pid, signal.SIGKILL)
            self._pause(LOOK_AGAIN)

    def _pause(self, seconds: float) -> None:
        """Let time pass, or until somebody asks for an end."""
        told = signal.sigtimedwait(self._heeded, seconds)
        if told is not None:
            self._asked = told.si_signo


#: How a worker is gone that was ended because no thread of it got its turn.
STUCK = f"was ended because a step has held Python's lock for {LOOK * SILENT:.0f} seconds, and nothing else could go on"


def end(child: int, number: int) -> None:
    """Signal a worker that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)


def is_stopped(child: int) -> bool:
    """Whether somebody has stopped a process, to go on later."""
    try:
        with open(f"/proc/{child}/stat", "rb") as stream:
            return stream.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except OSError:
        return False


def hear(pipe: int) -> list[str]:
    """What a worker has said since the last time."""
    said = b""
    with contextlib.suppress(BlockingIOError):
        while piece := os.read(pipe, 65536):
            said += piece
    return said.decode().splitlines()


def how_it_died(state: int) -> str:
    """A clause for people, from a wait status."""
    if not os.WIFSIGNALED(state):
        return f"left with exit status {os.WEXITSTATUS(state)} in the midst of its work"
    number = os.WTERMSIG(state)
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"was ended by {name}{'; the system may be out of memory' if number == signal.SIGKILL else ''}"


def show_cursor() -> None:
    """A view that was drawn on a terminal may have hidden it."""
    if os.isatty(2):
        with contextlib.suppress(OSError):
            os.write(2, b"\n\x1b[?25h")


def say(words: str) -> None:
    """A line for people; should nobody listen any more, the work goes on."""
    with contextlib.suppress(OSError):
        os.write(2, f"{words}\n".encode())


def leave(status: int) -> NoReturn:
    """End the first process at once: there is nothing in it to clean up."""
    os._exit(status)
