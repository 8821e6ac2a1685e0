"""What the disk makes of a stored result is found before anybody uses it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from yamlflow import document
from yamlflow.checksums import checksum
from yamlflow.errors import ResultDamaged
from yamlflow.outcome import Json
from yamlflow.packages import loaded
from yamlflow.plugins import load
from yamlflow.runtime import Runtime
from yamlflow.testing import FakeClock

PACKAGE = """
yamlflow: 1
name: damaged
steps:
  make: {kind: set, with: {value: "${{ 'a value' | upper }} to be damaged"}}
  many: {kind: set, for_each: [1, 2], with: {value: "${{ 'one of many' | upper }} to be damaged, ${{ item }}"}}
  go: {kind: wait_signal, with: {signal: go}, needs: [make, many]}
  other: {kind: set, needs: go, with: {value: "untouched"}}
  use: {kind: set, needs: go, continue_on_error: true, retry: {max_attempts: 5}, with: {value: "${{ steps.make.result }}"}}
  use_many: {kind: set, needs: go, continue_on_error: true, with: {value: "${{ steps.many.result }}"}}
"""


def opened(folder: Path) -> Runtime:
    return Runtime(f"sqlite:///{folder}/y.db", clock=FakeClock(), plugins=load(entry_points=False))


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    with opened(tmp_path) as one:
        yield one


@contextmanager
def damaged(runtime: Runtime, text: bytes) -> Iterator[Runtime]:
    """Change one bit of a text where it lies in the store's file, and go on; SQLite itself sees nothing wrong with it."""
    file = runtime.home / "y.db"
    runtime.close()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
        content = bytearray(file.read_bytes())
        at = content.index(text)
        content[at] ^= 1
        file.write_bytes(content)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    with opened(file.parent) as again:
        yield again


def begin(runtime: Runtime, text: str = PACKAGE) -> None:
    runtime.start(loaded(document.read(text)), run_id="r")
    runtime.run_until_idle()


def code(runtime: Runtime, step: str) -> tuple[str, bool, int]:
    row, error = runtime.step("r", step), runtime.error("r", step)
    assert row is not None
    assert error is not None, row.status
    return error.code, error.permanent, row.attempt


def go_on(runtime: Runtime) -> None:
    runtime.signal("r", "go")
    runtime.run_until_idle()


def test_a_step_that_needs_a_damaged_result_fails_and_the_others_go_on(runtime: Runtime) -> None:
    begin(runtime)
    with damaged(runtime, b"A VALUE to be damaged") as runtime:
        go_on(runtime)
        assert code(runtime, "use") == ("result_damaged", True, 1)
        assert 'step "make" is damaged' in str(runtime.error("r", "use"))
        assert runtime.result("r", "other") == "untouched"
        assert runtime.result("r", "use_many") == ["ONE OF MANY to be damaged, 1", "ONE OF MANY to be damaged, 2"]
        with pytest.raises(ResultDamaged, match="yamlflow db restore"):
            runtime.result("r", "make")


def test_one_damaged_child_of_a_loop_is_found_by_who_needs_the_whole(runtime: Runtime) -> None:
    begin(runtime)
    with damaged(runtime, b"ONE OF MANY to be damaged, 2") as runtime:
        go_on(runtime)
        assert code(runtime, "use_many")[0] == "result_damaged"
        assert "many[1]" in str(runtime.error("r", "use_many"))
        assert runtime.result("r", "use") == "A VALUE to be damaged"


TAKEN = """
yamlflow: 1
name: taken
steps:
  first: {kind: set, cache: {key: k}, dedup_key: same, with: {value: "${{ 'a value' | upper }} to be damaged"}}
  go: {kind: wait_signal, with: {signal: go}, needs: first}
  second: {kind: set, needs: go, dedup_key: same, with: {value: "another"}}
  use: {kind: set, needs: second, with: {value: "${{ steps.second.result }}"}}
"""


def test_a_damaged_result_stays_damaged_where_another_step_takes_it(runtime: Runtime) -> None:
    begin(runtime, TAKEN)
    runtime.forget_cached()
    with damaged(runtime, b"A VALUE to be damaged") as runtime:
        go_on(runtime)
        assert code(runtime, "use")[0] == "result_damaged"


def test_a_damaged_result_is_not_taken_from_the_cache(runtime: Runtime) -> None:
    begin(runtime, TAKEN)
    go_on(runtime)
    with runtime.store.transaction() as tx:
        (row,) = runtime.store.cached()
        assert row.checksum == checksum(row.result)
        tx.keep(row._replace(result=row.result.replace("VALUE", "VALVE")))
    again = runtime.start("taken", run_id="s")
    runtime.run_until_idle()
    assert runtime.result("s", "first") == "A VALUE to be damaged"
    told = [event.payload for event in runtime.store.events(again.key, step="first") if event.kind == "step.uncached"]
    assert told == ['{"key":"k","reason":"it is damaged"}']


def test_a_damaged_package_text_is_not_gone_on_with(runtime: Runtime) -> None:
    begin(runtime)
    with damaged(runtime, b"untouched") as runtime, pytest.raises(ResultDamaged, match="the text of the package"):
        go_on(runtime)


#: Every way in which a step comes by a result.
EVERY = """
yamlflow: 1
name: every
inputs: {depth: {type: integer, default: 0}}
steps:
  set: {kind: set, with: {value: {a: "ü", b: [1, null]}}}
  nothing: {kind: noop}
  group: {steps: {inner: {kind: set, with: {value: 1}}}, outputs: {x: "${{ steps.inner.result }}"}}
  each: {kind: set, for_each: [1, 2], with: {value: "${{ item }}"}}
  again: {repeat: {until: "result == 2", max: 3}, kind: set, with: {value: "${{ iteration }}"}}
  sleeps: {kind: sleep, with: {for: 1s}}
  signal: {kind: wait_signal, with: {signal: go}}
  asks: {kind: approval}
  twice: {kind: set, needs: set, dedup_key: k, with: {value: 7}}
  twin: {kind: set, needs: twice, dedup_key: k, with: {value: 8}}
  fails: {kind: fail, continue_on_error: true, with: {message: no}}
  child: {if: inputs.depth == 0, kind: workflow, with: {package: every, inputs: {depth: 1}, id: child}}
outputs: {x: 1}
"""


def test_every_result_has_its_checksum_however_it_came_about(runtime: Runtime) -> None:
    one = loaded(document.read(EVERY.replace(", id: child", ", run_id: child")))
    runtime.register(one)
    runtime.start("every", run_id="r")
    clock = runtime.clock
    assert isinstance(clock, FakeClock)
    for _ in range(3):
        runtime.run_until_idle()
        for id in ("r", "child"):
            run = runtime.run(id)
            if run is not None and run.ended_at is None:
                send(runtime, id)
        clock.advance(2000)
    runtime.run_until_idle()
    rows = [row for id in ("r", "child") for row in runtime.store.tree(key(runtime, id))]
    assert {row.status for row in rows if row.path == ""} == {"succeeded"}
    assert sum(row.result is not None for row in rows) > 20
    assert [row.path for row in rows if row.checksum != checksum(row.result)] == []


def send(runtime: Runtime, id: str) -> None:
    value: Json = "text"
    runtime.signal(id, "go", value, key="once")
    row = runtime.step(id, "asks")
    if row is not None and row.status == "waiting":
        runtime.approve(id, "asks")


def key(runtime: Runtime, id: str) -> int:
    run = runtime.run(id)
    assert run is not None
    return run.key
