"""What must hold once a storm is over. Each check yields what is wrong, in words; nothing when all is well."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from .packages import PAGES, SENDERS, SIGNALS, Wanted
from .project import Project

OVER = ("succeeded", "failed", "canceled", "skipped")
#: Tables that hold only what is going on.
EMPTY = ("locks", "lock_waits", "removals")


class Checks:
    """One project, and what its runs were to come to."""

    def __init__(self, project: Project, wanted: list[Wanted]) -> None:
        self.project = project
        self.wanted = wanted
        self.query = project.query
        #: Runs of which a step was lost three times in a row, as it says in the log: they fail, as they should.
        self.spent = {
            id
            for id, losses in self.query(
                "select runs.id, max(json_extract(payload, '$.lost')) from events join runs on runs.key = run "
                "where kind = 'step.lost' group by runs.id"
            )
            if (losses or 0) >= 3
        }

    def all(self) -> list[str]:
        """Everything that is wrong."""
        checks: list[Callable[[], Iterator[str]]] = [
            self.nothing_is_lost, self.results, self.outcomes_once, self.leases, self.order, self.marks, self.signals,
            self.handlers, self.undos, self.records, self.attempts, self.nothing_goes_on, self.nothing_is_left,
            self.files, self.soundness,
        ]  # fmt: skip
        return [f"{check.__name__}: {problem}" for check in checks for problem in check()]

    # -- runs

    def nothing_is_lost(self) -> Iterator[str]:
        """Every run that was asked for is there, once, and what it started."""
        known = Counter(id for (id,) in self.query("select id from runs where execution = 1"))
        for one in self.wanted:
            if known[one.id] != 1:
                yield f"{one.id} is there {known[one.id]} times"
        for run, seqs, last in self.query("select run, count(*), max(seq) from events group by run"):
            if seqs != last:
                yield f"the log of run {run} has {seqs} events and ends with number {last}"

    def results(self) -> Iterator[str]:
        """Every run came to what it was to come to."""
        crawls = set()
        for one in self.wanted:
            ((status, _execution, result),) = self.query(
                "select runs.status, execution, steps.result from runs join steps on run = key and path = '' "
                "where runs.id = ? order by execution desc limit 1", one.id,
            )  # fmt: skip
            if one.id in self.spent:
                continue
            if status != one.status:
                yield f"{one.id} {status}, not {one.status}: {self.story(one.id)}"
            elif one.package == "crawl":
                crawls.add(result)
            elif not isinstance(one.outputs, str) and (None if result is None else json.loads(result)) != one.outputs:
                yield f"{one.id} gave {result}, not {one.outputs}"
        if len(crawls) > 1:
            yield f"crawls of one site gave {sorted(crawls)}"

    def story(self, id: str) -> str:
        """The error of a run, and the end of its log."""
        errors = self.query(
            "select path, error from steps join runs on run = key where runs.id = ? and error is not null limit 5", id
        )
        events = self.query(
            "select seq, kind, step, payload from events join runs on run = key where runs.id = ? order by seq desc limit 20",
            id,
        )
        return "".join(f"\n    {row}" for row in [*errors, *reversed(events)])

    # -- steps

    def outcomes_once(self) -> Iterator[str]:
        """Each step ended once, and nothing of it came after; there is no attempt of which two outcomes are kept."""
        yield from (
            f"step {step} of run {run} has ended {count} times"
            for run, step, count in self.query(
                "select run, step, count(*) from events where kind in ('step.succeeded', 'step.failed', 'step.skipped', "
                "'step.canceled') group by run, step having count(*) > 1"
            )
        )
        yield from (
            f"step {step} of run {run} had ended with event {ended} and was leased again with {leased}"
            for run, step, ended, leased in self.query(
                "select l.run, l.step, e.seq, l.seq from events l join events e on l.run = e.run and l.step = e.step "
                "where e.kind in ('step.succeeded', 'step.failed') and l.kind = 'step.leased' and l.seq > e.seq"
            )
        )

    def leases(self) -> Iterator[str]:
        """Each lease is over before the next of the same step, their epochs rise, and the last one's outcome is kept."""
        holder: dict[tuple[int, str], int] = {}
        highest: dict[tuple[int, str], int] = {}
        ends = {
            f"step.{word}" for word in ("succeeded", "failed", "retried", "lost", "released", "waiting", "canceled")
        }
        for run, seq, kind, step, payload in self.query(
            "select run, seq, kind, step, payload from events where step is not null order by run, seq"
        ):
            key = (run, step)
            if kind == "step.leased":
                epoch = json.loads(payload)["epoch"]
                if key in holder:
                    yield f"{step} of run {run} was leased in event {seq} while epoch {holder[key]} held it"
                if epoch <= highest.get(key, 0):
                    yield f"{step} of run {run} was leased in event {seq} with epoch {epoch} again"
                holder[key] = highest[key] = epoch
            elif kind in ends:
                holder.pop(key, None)
        for run, path, result, kind in self.query(
            "select run, path, result, kind from steps where status = 'succeeded' and kind like 'torture/%'"
        ):
            if kind in ("torture/work", "torture/spin") and int(result) != highest[run, path]:
                yield f"{path} of run {run} keeps the result of epoch {result}, and {highest[run, path]} was the last"

    def order(self) -> Iterator[str]:
        """A step was leased only after the success of all that it needs, by the log."""
        for one in self.wanted:
            if not one.graph:
                continue
            at = {
                (kind, step): seq
                for kind, step, seq in self.query(
                    "select kind, step, min(events.seq) from events join runs on run = key where runs.id = ? and "
                    "events.kind in ('step.leased', 'step.succeeded') group by kind, step", one.id,
                )
            }  # fmt: skip
            for step, needs in one.graph.items():
                for need in needs:
                    begun, done = at.get(("step.leased", step)), at.get(("step.succeeded", need))
                    if begun is not None and (done is None or done > begun):
                        yield f"{step} of {one.id} began with event {begun}, and {need} had not succeeded"

    def marks(self) -> Iterator[str]:
        """What the executors saw: each epoch began at most once, and what is kept was done."""
        seen: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
        for line in self.project.marks.read_text().splitlines():
            word, run, epoch, path = line.split(" ", 3)
            seen[run, path, epoch][word] += 1
        for (run, path, epoch), words in seen.items():
            if words["start"] > 1:
                yield f"{path} of {run} was begun {words['start']} times in epoch {epoch}"
        for id, execution, path, epoch in self.query(
            "select runs.id, execution, path, result from steps join runs on run = key "
            "where steps.status = 'succeeded' and steps.kind in ('torture/work', 'torture/spin')"
        ):
            if seen[f"{id}@{execution}", path, epoch]["end"] != 1:
                yield f"{path} of {id}@{execution} succeeded in epoch {epoch}, which has not done it"

    def attempts(self) -> Iterator[str]:
        """Lost leases spent no attempt: only what failed of itself was tried again, as often as it failed."""
        for id, kind, attempt in self.query(
            "select runs.id, steps.kind, attempt from steps join runs on run = key where steps.kind like 'torture/%' "
            "and steps.status = 'succeeded' and attempt <> case steps.kind when 'torture/flaky' then 3 else 1 end"
        ):
            yield f"a step of kind {kind} in {id} succeeded at attempt {attempt}"
        for run, step, count in self.query(
            "select run, step, count(*) from events where kind = 'step.retried' group by run, step"
        ):
            if step != "flaky" or count != 2:
                yield f"{step} of run {run} was tried again {count} times"

    # -- what goes along

    def signals(self) -> Iterator[str]:
        """Every signal that was sent is there once; each sender's were read once and in order."""
        for one in self.wanted:
            if one.package != "reader" or one.id in self.spent:
                continue
            ((count, unread),) = self.query(
                "select count(*), sum(taken_by is null) from signals where run_id = ?", one.id
            )
            if (count, unread) != (SIGNALS * len(SENDERS), 0):
                yield f"{one.id} has {count} signals, {unread} of them unread"
            ((result,),) = self.query(
                "select result from steps join runs on run = key where runs.id = ? and path = '' order by execution desc limit 1",
                one.id,
            )  # fmt: skip
            seen = json.loads(result or "{}").get("seen", [])
            for sender in SENDERS:
                numbers = [each["number"] for each in seen if each["from"] == sender]
                if numbers != list(range(SIGNALS)):
                    yield f"{one.id} has read {numbers} of {sender}"

    def handlers(self) -> Iterator[str]:
        """Each handler of a run fired once."""
        for one in self.wanted:
            fired = Counter(
                step for (step,) in self.query(
                    "select step from events join runs on run = key where runs.id = ? and kind = 'handler.fired'", one.id
                )
            )  # fmt: skip
            if any(count > 1 for count in fired.values()) or (len(fired) != one.handlers and one.id not in self.spent):
                yield f"{one.id} has fired {dict(fired)}"

    def undos(self) -> Iterator[str]:
        """What was done was taken back, each once, the latest first."""
        for one in self.wanted:
            if not one.undone or one.id in self.spent:
                continue
            ended = self.query(
                "select step from events join runs on run = key where runs.id = ? and kind = 'step.succeeded' "
                "and step like '%@undo' order by seq", one.id,
            )  # fmt: skip
            undone = tuple(step.removesuffix("@undo") for (step,) in ended)
            if undone != one.undone:
                yield f"{one.id} has undone {undone}"

    def records(self) -> Iterator[str]:
        """Each record once, in the log of records and in the tables."""
        for package, collection, wanted in (("spider", "pages", PAGES), ("child", "kids", 1), ("crawl", "items", None)):
            ids = [id for (id,) in self.query("select id from runs where package = ?", package) if id not in self.spent]
            rows = json.loads(self.project.call("records", collection, "-p", package, "--json")) if ids else []
            keys = Counter(row["key"] for row in rows)
            yield from (f"{package} keeps {key} {count} times" for key, count in keys.items() if count > 1)
            kept = Counter(row["run"] for row in rows)
            for id in ids if wanted is not None else ():
                if kept[id] != wanted:
                    yield f"{id} keeps {kept[id]} records in {collection}, not {wanted}"
        left = self.query("select count(*) from records")
        if left != [(0,)]:
            yield f"{left[0][0]} records have not reached their tables"

    # -- what is left

    def nothing_goes_on(self) -> Iterator[str]:
        """No live step, no lock, no worker that would be running."""
        for status, count in self.query(
            f"select status, count(*) from steps where status not in ({', '.join('?' * len(OVER))}) group by status",
            *OVER,
        ):
            yield f"{count} steps are {status}"
        for table in EMPTY:
            if self.query(f"select 1 from {table} limit 1"):
                yield f"{table} is not empty: {self.query(f'select * from {table} limit 3')}"
        for name, status in self.query("select name, status from workers where status not in ('stopped', 'lost')"):
            yield f"worker {name} is {status}"
        if self.query("select 1 from steps where worker is not null or leased_until is not null limit 1"):
            yield "a step that has ended is leased"

    def nothing_is_left(self) -> Iterator[str]:
        """No process."""
        try:
            self.project.wait_until(lambda: not self.project.left_running(), "all processes are gone", 60)
        except AssertionError:
            yield from (f"{line} still runs" for line in self.project.left_running())

    def files(self) -> Iterator[str]:
        """No lock file of a worker, nothing in a run's folder that no run has put there."""
        home = self.project.store.parent
        yield from (f"{path} is left" for path in (home / "workers").glob("*"))
        for path in home.rglob("*"):
            if path.is_file() and path.suffix in (".tmp", ".part", ".new", ".lock"):
                yield f"{path} is left"
        expected = {"yamlflow.db", "yamlflow.db-wal", "yamlflow.db-shm", ".gitignore", "workers", "runs", "projections"}
        yield from (f"{path} is not known" for path in home.iterdir() if path.name not in expected)
        for folder in (home / "runs").glob("*/*"):
            known = folder / "logs", folder / "work"
            left = {path for path in folder.iterdir() if path not in known} | {*(folder / "work").glob("*")}
            if left:
                yield f"{folder} holds {left}"

    def soundness(self) -> Iterator[str]:
        """The store is sound, and says so."""
        said = self.project.call("db", "check")
        if "sound" not in said and "ok" not in said:
            yield f"db check says {said}"
        status: dict[str, Any] = json.loads(self.project.call("db", "status", "--json"))
        if status["live_steps"]:
            yield f"db status counts live steps: {status['live_steps']}"
        alive = {"pending", "running"} & set(status["runs"])
        if alive:
            yield f"db status counts runs that are {alive}"
