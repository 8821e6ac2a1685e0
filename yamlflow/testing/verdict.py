"""What was expected of a test, held against what came: each failure with its place and the difference."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from ..duration import format_duration, parse_duration
from ..errors import Pointer, did_you_mean
from ..outcome import Json
from ..patterns import search
from ..rows import StepRow
from .likeness import alike, fits, shown, told
from .mocks import Called, names
from .play import Play


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One thing that is not as it was expected."""

    #: Where the expectation stands, as ``file:line:column``; "" for one that nobody wrote.
    place: str
    #: What was expected, and what came.
    message: str
    #: More lines: the difference.
    details: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """As it is printed."""
        return [
            f"{self.place}: {self.message}" if self.place else self.message,
            *(f"  {line}" for line in self.details),
        ]


Expected = Mapping[str, Any]


class Judge:
    """Holds the expectations of one test against a play that has ended."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.expect = play.case.expect

    def failures(self) -> list[Failure]:
        """Everything that is not as expected."""
        return [
            *self._status(),
            *self._outputs("outputs", self.expect, self.play.result(), ()),
            *self._error(),
            *self._steps(),
            *self._calls(),
            *self._order(),
            *self._duration(),
            *self._artifacts(),
            *self._records(),
            *self._runs(),
            *self.events(),
        ]

    def _failure(self, pointer: Pointer, message: str, details: Sequence[str] = ()) -> Failure:
        return Failure(place=self.play.case.locate(pointer), message=message, details=tuple(details))

    # -- the run

    def _status(self) -> Iterator[Failure]:
        run = self.play.run()
        expected = self.expect.get("status", "failed" if "error" in self.expect else "succeeded")
        if run.status == expected:
            return
        error = self.error_of("")
        why = [f"{error['code']}: {error['message']}"] if error else []
        if run.status not in ("succeeded", "failed", "canceled"):
            why = [f"{path}: {reason}" for path, reason in self.play.waits()]
        where = error.get("step") if error else None
        at = f" at {where}" if where else ""
        yield self._failure(("status",), f"expected the run to be {expected}; it is {run.status}{at}", why)

    def _outputs(self, name: str, expect: Expected, came: Json, pointer: Pointer) -> Iterator[Failure]:
        """A value, exactly or by its likeness."""
        for key, like in ((name, False), (f"{name}_like", True)):
            if key in expect and (lines := told(expect[key], came, like=like, at=(name,))):
                yield self._failure((*pointer, key), f"{name}: not as expected", lines)

    def _error(self) -> Iterator[Failure]:
        if "error" in self.expect and self.play.run().status == "failed":
            yield from self._wrong_error(self.expect["error"], self.error_of(""), ("error",), "the run")

    def error_of(self, path: str) -> dict[str, Json] | None:
        """A step's error, or the run's; None when there is none."""
        row = next(iter(self.play.steps(path)), None)
        return None if row is None or row.error is None else json.loads(row.error)

    def _wrong_error(
        self, given: str | Expected, came: dict[str, Json] | None, pointer: Pointer, what: str
    ) -> Iterator[Failure]:
        expected = {"code": given} if isinstance(given, str) else given
        if came is None:
            yield self._failure(pointer, f"{what}: expected an error, and there is none")
            return
        lines = [
            f"error.{key}: expected {shown(expected[key])}, came {shown(came.get(key))}"
            for key in ("code", "type", "step", "permanent")
            if key in expected and came.get(key) != expected[key]
        ]
        message = str(came.get("message"))
        if "message" in expected and expected["message"] not in message:
            lines.append(f"error.message: expected {shown(expected['message'])} in it, came {shown(message)}")
        if "message_matches" in expected and not search(expected["message_matches"], message):
            lines.append(f"error.message: expected a match of {expected['message_matches']}, came {shown(message)}")
        if "details_like" in expected:
            lines += told(expected["details_like"], came.get("details"), like=True, at=("error", "details"))
        if lines:
            yield self._failure(pointer, f"{what}: another error than expected", lines)

    def _duration(self) -> Iterator[Failure]:
        if "duration" not in self.expect:
            return
        run, given = self.play.run(), self.expect["duration"]
        ended = run.ended_at if run.ended_at is not None else self.play.clock.now()
        took = ended - self.play.case.start_at
        exact = isinstance(given, str)
        least = parse_duration(given if exact else given.get("at_least", "0s"))
        most = parse_duration(given) if exact else parse_duration(given["at_most"]) if "at_most" in given else took
        if not least <= took <= most:
            wanted = given if exact else ", ".join(f"{key.replace('_', ' ')} {text}" for key, text in given.items())
            yield self._failure(("duration",), f"duration: expected {wanted}, came {format_duration(took)}")

    # -- steps

    def _steps(self) -> Iterator[Failure]:
        for pattern, given in self.expect.get("steps", {}).items():
            expected = {"status": given} if isinstance(given, str) else given
            rows = self.play.steps(pattern)
            if not rows:
                known = self.play.paths()
                hint = did_you_mean(pattern, known) or f"There are: {', '.join(filter(None, known)) or 'none'}."
                yield self._failure(("steps", pattern), f'there is no step "{pattern}" in this run. {hint}')
            for row in rows:
                yield from self._step(row, expected, ("steps", pattern))

    def _step(self, row: StepRow, expected: Expected, pointer: Pointer) -> Iterator[Failure]:
        wrong = [
            f"{name}: expected {expected[name]}, came {came}"
            for name, came in (("status", row.status), ("attempts", row.attempt))
            if name in expected and expected[name] != came
        ]
        error = None if row.error is None else json.loads(row.error)
        if wrong:
            why = [f"{error['code']}: {error['message']}"] if error and row.status == "failed" else []
            yield self._failure(pointer, f"{row.path}: not as expected", [*wrong, *why])
        for found in self._outputs("result", expected, self.play.result(row.path), pointer):
            yield self._failure((*pointer,), f"{row.path}: {found.message}", found.details)
        if "error" in expected:
            yield from self._wrong_error(expected["error"], error, (*pointer, "error"), row.path)

    def _order(self) -> Iterator[Failure]:
        wanted = self.expect.get("order", [])
        began: dict[str, int] = {}
        for position, call in enumerate(self.play.calls):
            if call.run == self.play.case.run_id:
                began.setdefault(call.path, position)
        absent = [path for path in wanted if path not in began]
        ran = list(began)
        if absent:
            hint = did_you_mean(absent[0], ran)
            never = f"order: {', '.join(absent)} made no call{f'. {hint}' if hint else ''}"
            yield self._failure(("order",), never, [f"calls began in the order {', '.join(ran) or '-'}"])
        elif sorted(wanted, key=lambda path: began[path]) != wanted:
            came = ", ".join(sorted(wanted, key=lambda path: began[path]))
            yield self._failure(("order",), f"order: expected {', '.join(wanted)}; came {came}")

    # -- calls

    def _calls(self) -> Iterator[Failure]:
        given = self.expect.get("calls", {})
        if isinstance(given, Mapping):
            for kind, times in given.items():
                yield from self._call({"kind": kind, "times": times}, ("calls", kind))
            return
        for position, expected in enumerate(given):
            yield from self._call(expected, ("calls", position))

    def _call(self, expected: Expected, pointer: Pointer) -> Iterator[Failure]:
        calls = [call for call in self.play.calls if is_of(call, expected)]
        what = next(str(expected[key]) for key in ("kind", "step", "package") if key in expected)
        if "times" in expected and len(calls) != expected["times"]:
            details = [f"{call.path}, attempt {call.attempt}: {shown(call.input)}" for call in calls[:10]]
            known = {getattr(call, key) for call in self.play.calls for key in ("kind", "path")}
            hint = did_you_mean(what, known - {what}) if not calls else ""
            text = f"calls of {what}: expected {expected['times']}, came {len(calls)}{f'. {hint}' if hint else ''}"
            yield self._failure(pointer, text, details)
            return
        came = [call.input for call in calls]
        for found in self._outputs("inputs", expected, came, pointer):
            yield self._failure(pointer, f"calls of {what}: {found.message}", found.details)

    # -- what was kept

    def _artifacts(self) -> Iterator[Failure]:
        wanted = self.expect.get("artifacts", {})
        if not wanted:
            return
        run = self.play.run()
        for path, expected in wanted.items():
            ids = {row.id for row in self.play.steps(path)}
            kept = {one.name for one in self.play.runtime.store.artifacts(run.key) if one.step in ids}
            if absent := [name for name in expected if name not in kept]:
                text = f"artifacts of {path}: there is no {', '.join(absent)}; there are {', '.join(sorted(kept)) or 'none'}"
                yield self._failure(("artifacts", path), text)

    def _records(self) -> Iterator[Failure]:
        for collection, wanted in self.expect.get("records", {}).items():
            rows = self._records_of(collection)
            for key, expected in wanted.items():
                pointer = ("records", collection, key)
                if key not in rows:
                    hint = did_you_mean(key, rows) or f"There are: {', '.join(sorted(rows)[:20]) or 'none'}."
                    yield self._failure(pointer, f'records: {collection} has no "{key}". {hint}')
                elif lines := told(expected, rows[key], like=True, at=(collection, key)):
                    yield self._failure(pointer, "records: not as expected", lines)

    def _records_of(self, collection: str) -> dict[str, dict[str, Json]]:
        package = self.play.package.package
        name = package.projection.get("name") or package.name
        with closing(self.play.runtime.projections.open(name)) as connection:
            tables = [
                row[0] for row in connection.execute("select name from sqlite_master where type in ('table', 'view')")
            ]
            if collection not in tables:
                return {}
            found = connection.execute(f'select * from "{collection.replace(chr(34), chr(34) * 2)}"')
            columns = [column[0] for column in found.description]
            rows = [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
        return {str(row.get("key")): row for row in rows}

    def _runs(self) -> Iterator[Failure]:
        for id, given in self.expect.get("runs", {}).items():
            expected = {"status": given} if isinstance(given, str) else given
            run = self.play.runtime.run(id)
            if run is None:
                ids = [run.id for run in self.play.runtime.runs()]
                hint = did_you_mean(id, ids) or f"There are: {', '.join(ids)}."
                yield self._failure(("runs", id), f'there is no run "{id}". {hint}')
                continue
            if "status" in expected and run.status != expected["status"]:
                yield self._failure(("runs", id), f"{id}: expected {expected['status']}, came {run.status}")
            yield from self._outputs("outputs", expected, self.play.result("", id), ("runs", id))

    # -- what never happened

    def events(self) -> Iterator[Failure]:
        """Events that were refused, or never happened."""
        for event, why in self.play.refused:
            yield Failure(place=event.place, message=f"the event {event.words()} was refused: {why}")
        for event in self.play.missed:
            known = self.play.paths()
            path = event.when[0] if event.when else ""
            hint = did_you_mean(path, known) if path not in known else ""
            text = f"the event {event.words()} never happened{f'. {hint}' if hint else ''}"
            yield Failure(place=event.place, message=text)


def is_of(call: Called, expected: Expected) -> bool:
    """Whether a call is one of those that an expectation counts."""
    if "kind" in expected:
        return bool(call.kind == expected["kind"])
    if "package" in expected:
        return bool(call.package == expected["package"])
    return names(expected["step"], call.path)


__all__ = ["Failure", "Judge", "alike", "fits"]
