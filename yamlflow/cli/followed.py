"""The runs that a process in the foreground works on: those it began with, their children, and their successors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..rows import EventRow, RunRow
from ..store.base import RunFilter, Store

if TYPE_CHECKING:
    from ..views.steps import StepView

#: Milliseconds between looks at what others have committed.
LOOK = 200
#: Milliseconds without an event after which it is said what a run waits for.
STILL = 5000
#: Waiting steps that are named then.
MOST_NAMED = 3
#: Live runs among which children are looked for.
MOST_LIVE = 10_000


class Followed:
    """Which runs are worked on, and whether those that matter have ended.

    ``keys`` is lent to the worker, which takes steps of these runs only.
    """

    def __init__(self) -> None:
        self.keys: set[int] = set()
        #: Makes the worker look again: there are more runs that it may work on.
        self.wake: Callable[[], None] = lambda: None
        #: The runs that were asked for -> the execution that stands for each now.
        self._now: dict[int, RunRow] = {}
        self._looked = -LOOK
        self._heard = 0
        #: Steps that were named because they wait: each is named once.
        self._named: set[tuple[int, str]] = set()

    def begin(self, store: Store, runs: Sequence[RunRow]) -> None:
        """Follow these runs, and the children they have already."""
        self._now = {run.key: run for run in runs}
        self.keys.update(self._now)
        for run in reversed(store.runs(RunFilter(live=True, limit=MOST_LIVE))):
            self._adopt(store, run)

    @property
    def runs(self) -> list[RunRow]:
        """The runs that were asked for, as last seen."""
        return list(self._now.values())

    def hear(self, event: EventRow, store: Store) -> None:
        """An event that this process has committed: a child that began, or an end that need not be waited for."""
        if event.step is None:
            if event.kind == "run.started" and event.run not in self.keys:
                run = store.run_at(event.run)
                if run is not None:
                    self._adopt(store, run)
            elif event.run in self.keys:
                self._looked = -LOOK

    def ended(self, store: Store, steady: int, look: Callable[[], int]) -> bool:
        """Whether all have ended; the store is asked a few times a second. ``look`` counts what is new and shows it."""
        if steady - self._looked >= LOOK:
            self._looked = steady
            self._heard = steady if look() or not self._heard else self._heard
            for key, run in self._now.items():
                if run.ended_at is None:
                    self._now[key] = self._latest(store, run)
        if any(run.ended_at is None for run in self._now.values()):
            return False
        return not any(self._cleans_up(store, key) for key in self.keys - self._now.keys())

    def _cleans_up(self, store: Store, key: int) -> bool:
        """Whether a child that ends with its parent has not ended yet: its handlers still run."""
        run = store.run_at(key)
        return run is not None and run.ended_at is None and run.on_parent_close == "cancel"

    def still(self, steady: int) -> bool:
        """Whether nothing has happened for a while; asked again, not before another while."""
        if steady - self._heard < STILL:
            return False
        self._heard = steady
        return True

    def unnamed(self, run: int, path: str) -> bool:
        """Whether a step that waits was not named yet; from now on it is."""
        fresh = (run, path) not in self._named
        self._named.add((run, path))
        return fresh

    def _latest(self, store: Store, run: RunRow) -> RunRow:
        """A run as it is now; one that goes on under the same id is its successor."""
        row = store.run_at(run.key) or run
        if row.status == "continued":
            successor = store.find_run(row.id)
            if successor is not None and successor.execution > row.execution:
                self.keys.add(successor.key)
                return successor
        return row

    def _adopt(self, store: Store, run: RunRow) -> None:
        """Work on a run too whose parent is worked on, or that one goes on as that is."""
        if run.key not in self.keys and (self._is_child(store, run) or self._succeeds(store, run)):
            self.keys.add(run.key)
            self.wake()

    def _is_child(self, store: Store, run: RunRow) -> bool:
        parent = None if run.parent is None else store.step(run.parent)
        return parent is not None and parent.run in self.keys

    def _succeeds(self, store: Store, run: RunRow) -> bool:
        before = store.find_run(run.id, run.execution - 1) if run.execution > 1 else None
        return before is not None and before.key in self.keys and before.status == "continued"


def waiting_for(tree: StepView) -> list[StepView]:
    """The steps of a run that wait though they could go on, a few of them; none while one runs."""
    leaves: list[StepView] = []
    stack = [tree]
    while stack:
        view = stack.pop()
        if view.status == "running":
            return []
        stack.extend(reversed(view.children))
        if view.reason and view.status in ("ready", "waiting") and not view.children:
            leaves.append(view)
    return leaves[:MOST_NAMED]
