"""``undo``, ``locks`` and ``cache``, as they are met on the command line."""

from __future__ import annotations

import json

from yamlflow.engine.leasing import Wanted, lease
from yamlflow.runtime import Runtime

from .conftest import Cli, Write

TRIP = """
yamlflow: 1
name: trip
steps:
  book: {for_each: [a, b], kind: set, with: {value: "${{ item }}"}, undo: {kind: set, with: {value: "no ${{ result }}"}}}
  pay: {needs: book, kind: fail, with: {code: broke, message: no money}}
"""
DISK = """
yamlflow: 1
name: disk
steps: {a: {kind: noop, locks: [disk]}, b: {kind: noop, locks: [disk, tape]}}
"""
SUM = """
yamlflow: 1
name: sum
inputs: {n: {type: integer, default: 1}}
steps: {a: {kind: set, with: {value: "${{ inputs.n + 1 }}"}, cache: {key: "${{ inputs.n }}", ttl: 1d}}}
outputs: {a: "${{ steps.a.result }}"}
"""


def test_what_was_undone_is_shown_with_its_step_and_drawn_beside_it(cli: Cli, write: Write) -> None:
    write("trip.yaml", TRIP)
    ran = cli("run", "trip.yaml", "--run-id", "t")
    assert ran.status == 1
    lines = [line.split(" ", 2)[2] for line in ran.err.splitlines() if "@undo started" in line]
    assert lines == ["book[1]@undo started", "book[0]@undo started"]
    shown = cli("show", "t").out
    assert shown.index("✗ pay") < shown.index("✓ book[1]@undo") < shown.index("✓ book[0]@undo")
    assert cli("result", "t", "book[0]@undo", "--json").json == "no a"
    assert "  @undo  [set]  (succeeded)" in cli("graph", "t", "--format", "text").out
    assert "-.->|undo|" in cli("graph", "trip.yaml", "--format", "mermaid").out
    assert 'label="undo", style=dashed' in cli("graph", "trip.yaml", "--format", "dot").out
    drawn = cli("graph", "t", "--json").json
    assert drawn["steps"][0]["undo"]["path"] == "book[]@undo"
    assert drawn["arrows"] == [{"source": "book", "target": "pay", "ends": "succeeded"}]
    assert drawn["statuses"]["book[]@undo"] == "succeeded"


def test_an_undo_cannot_be_retried_by_itself(cli: Cli, write: Write) -> None:
    write("trip.yaml", TRIP)
    cli("run", "trip.yaml", "--run-id", "t", "-q")
    refused = cli("retry", "t", "book[0]@undo")
    assert refused.status == 2
    assert "part of a handler" in refused.err + refused.out


def test_it_is_said_who_waits_for_a_lock_and_who_holds_it(cli: Cli, write: Write) -> None:
    write("disk.yaml", DISK)
    cli("start", "disk.yaml", "--run-id", "one")
    assert "no lock is held" in cli("locks").err
    with Runtime("sqlite:///.yamlflow/yamlflow.db") as runtime:
        # Paused, so that the names of the locks are evaluated and nothing more.
        runtime.pause("one")
        runtime.run_until_idle()
        runtime.pause("one", paused=False)
        with runtime.transaction() as work:
            wanted = Wanted(worker="hand", slots=9, until=runtime.clock.steady() + 60_000)
            assert [row.path for row in lease(work, wanted).steps] == ["a"]
    assert 'waits for lock "disk", held by a' in cli("show", "one").out
    (held,) = cli("locks", "--json").json
    assert (held["name"], held["run_id"], held["path"], held["waiting"]) == ("disk", "one", "a", 1)
    assert "disk  one  a" in cli("locks").out
    cli("start", "disk.yaml", "--run-id", "two")
    with Runtime("sqlite:///.yamlflow/yamlflow.db", max_workers=1) as runtime:
        runtime.run_once()
    assert 'waits for lock "disk", held by one/a' in cli("show", "two").out


def test_a_kept_result_is_taken_shown_listed_and_forgotten(cli: Cli, write: Write) -> None:
    write("sum.yaml", SUM)
    assert "no result is kept" in cli("cache").err
    cli("run", "sum.yaml", "--run-id", "one", "-q")
    second = cli("run", "sum.yaml", "--run-id", "two")
    assert (second.out, "a succeeded from the cache" in second.err) == ("a: 2\n", True)
    assert "taken from the cache: one/a of " in cli("show", "two").out
    (kept,) = cli("cache", "--json").json
    assert (kept["package"], kept["step"], kept["key"], kept["result"], kept["run_id"]) == ("sum", "a", "1", 2, "one")
    assert "one/a" in cli("cache").out
    third = cli("run", "sum.yaml", "--run-id", "three", "--no-cache")
    assert (third.out, "from the cache" in third.err) == ("a: 2\n", False)
    assert cli("cache", "--json").json[0]["run_id"] == "three"
    assert json.loads(cli("cache", "--package", "other", "--forget", "--json").out) == {"forgotten": 0}
    assert cli("cache", "--package", "sum", "--forget").out == "1 result forgotten\n"
    assert cli("cache", "--json").json == []


def test_files_and_a_cache_do_not_go_together_and_that_is_said(cli: Cli, write: Write) -> None:
    write(
        "files.yaml", "yamlflow: 1\nname: files\nsteps: {a: {run: date, cache: {key: k}, artifacts: {out: out.txt}}}\n"
    )
    checked = cli("validate", "files.yaml")
    assert "files.yaml:3:" in checked.err
    assert "a step that keeps files is not cached" in checked.err
