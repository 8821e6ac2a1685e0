"""Every worked package is well-formed, runs for real, and does what its first lines say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from yamlflow.clock import DAY, HOUR, MINUTE
from yamlflow.outcome import Json
from yamlflow.project import package_files
from yamlflow.rows import RunRow
from yamlflow.runtime import Runtime, load_package
from yamlflow.testing import FakeClock

from .conftest import ROOT, error_of, play, problems
from .fixtures.serve import Shop, serving

PACKAGES = [one.file for one in package_files([ROOT / "workflows"])]
Make = Callable[..., Runtime]


def outputs(runtime: Runtime, name: str, inputs: dict[str, Json] | None = None) -> Any:
    """The outputs of a package of ``workflows/`` that must succeed."""
    run = play(runtime, ROOT / "workflows" / f"{name}.yaml", inputs)
    assert run.status == "succeeded", error_of(runtime, run)
    return runtime.result(run.id)


def failure(runtime: Runtime, name: str, inputs: dict[str, Json] | None = None) -> tuple[RunRow, dict[str, Any]]:
    """The run of a package that must fail, and its error."""
    run = play(runtime, ROOT / "workflows" / f"{name}.yaml", inputs)
    assert run.status == "failed"
    return run, error_of(runtime, run)


def rows(runtime: Runtime, projection: str, sql: str) -> list[tuple[Any, ...]]:
    """What a projection holds."""
    with closing(runtime.projections.open(projection)) as connection:
        return [tuple(row) for row in connection.execute(sql)]


@pytest.mark.parametrize("file", PACKAGES, ids=lambda file: file.stem)
def test_nothing_is_wrong_with_a_worked_package(file: Path) -> None:
    assert problems(file.read_text(encoding="utf-8"), file.name) == []


@pytest.mark.parametrize("file", PACKAGES, ids=lambda file: file.stem)
def test_a_worked_package_says_how_it_is_run(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert f"yamlflow run workflows/{file.name}" in text
    assert f"\nname: {file.stem}\n" in text


@pytest.mark.parametrize("file", sorted((ROOT / "plugins").glob("[!_]*.py")), ids=lambda file: file.stem)
def test_a_plugin_fits_on_a_screen(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 60


def test_hello_echoes_its_message(runtime: Make) -> None:
    assert outputs(runtime(), "hello", {"message": "hi"}) == {"echoed": "hi"}


def test_hello_refuses_an_empty_message_for_good(runtime: Make) -> None:
    one = runtime()
    run, error = failure(one, "hello", {"message": ""})
    assert (error["code"], error["permanent"], error["step"]) == ("empty_message", True, "root")
    assert one.result(run.id, "root") is None


# -- the licence audit ---------------------------------------------------------------------------------------------


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """The interpreter of an environment with three distributions whose licences are known."""
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    install(site, "tidy", "License-Expression: MIT OR GPL-2.0-only")
    install(site, "stern", "Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)")
    install(site, "mute", "")
    return folder / "bin" / "python"


def install(site: Path, name: str, line: str) -> None:
    """A distribution that is nothing but its metadata."""
    folder = site / f"{name}-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{line}\n\nA text.\n")


def test_the_audit_of_an_environment_finds_each_licence(runtime: Make, environment: Path) -> None:
    one = runtime()
    found = outputs(one, "licence-audit", {"python": str(environment)})
    assert found["packages"] == 3
    assert {count["category"]: count["packages"] for count in found["categories"]} == {
        "permissive": 1,
        "copyleft": 1,
        "unknown": 1,
    }
    assert rows(one, "licence-audit", "select name, licence, source from licences order by name") == [
        ("mute", "unknown", "nothing"),
        ("stern", "GPL-3.0-only", "classifier"),
        ("tidy", "MIT OR GPL-2.0-only", "expression"),
    ]
    markdown, html = Path(found["markdown"]).read_text(), Path(found["html"]).read_text()
    assert "| stern | 1.0 | GPL-3.0-only | copyleft | classifier |" in markdown
    assert "<td>stern</td><td>1.0</td><td>GPL-3.0-only</td>" in html


def test_a_forbidden_licence_fails_the_audit_and_names_the_package(runtime: Make, environment: Path) -> None:
    one = runtime()
    run, error = failure(one, "licence-audit", {"python": str(environment), "forbid": ["GPL-*", "unknown"]})
    assert error["code"] == "forbidden_licence"
    assert error["message"] == "2 distributions under forbidden licences: mute (unknown), stern (GPL-3.0-only)"
    assert [each["name"] for each in error["details"]] == ["mute", "stern"]
    assert {artifact.name for artifact in one.store.artifacts(run.key)} == {"licences.md", "licences.html"}


def test_the_audit_of_the_running_python_finds_what_is_installed(runtime: Make) -> None:
    found = outputs(runtime(), "licence-audit")
    assert found["packages"] > 20
    assert "| pluggy | " in Path(found["markdown"]).read_text()


def test_an_interpreter_that_is_not_there_fails_the_audit(runtime: Make) -> None:
    _, error = failure(runtime(), "licence-audit", {"python": "/nowhere/python"})
    assert error["code"] == "no_interpreter"


def test_the_audit_from_the_command_line_prints_its_outputs(environment: Path, tmp_path: Path) -> None:
    told = audit(environment, tmp_path)
    assert told.returncode == 0, told.stderr
    assert yaml.safe_load(told.stdout)["packages"] == 3


def test_the_audit_from_the_command_line_tells_what_is_forbidden(environment: Path, tmp_path: Path) -> None:
    told = audit(environment, tmp_path, "-i", 'forbid=["copyleft"]')
    assert told.returncode == 1
    assert told.stdout == ""
    assert "forbidden_licence: 1 distribution under a forbidden licence: stern (GPL-3.0-only)" in told.stderr


def audit(environment: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The audit as a command, run in a folder that is no project."""
    package = ROOT / "workflows" / "licence-audit.yaml"
    given = ["--store", f"sqlite:///{folder}/store.db", "-i", f"python={environment}", *arguments]
    return subprocess.run(
        [sys.executable, "-m", "yamlflow", "run", str(package), *given],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


# -- data ----------------------------------------------------------------------------------------------------------


def test_the_orders_are_loaded_and_summed_by_country(runtime: Make) -> None:
    one = runtime()
    found = outputs(one, "csv-etl")
    report = Path(found.pop("report")).read_text()
    assert found == {
        "files": 2,
        "rows": 6,
        "skipped": 1,
        "totals": [
            {"country": "DE", "orders": 3, "cents": 29870},
            {"country": "FR", "orders": 2, "cents": 5500},
            {"country": "IT", "orders": 1, "cents": 1450},
        ],
    }
    assert report == "country,orders,total\nDE,3,298.70\nFR,2,55.00\nIT,1,14.50\n"


def test_loading_the_orders_twice_loads_each_order_once(runtime: Make) -> None:
    outputs(runtime(), "csv-etl")
    one = runtime()
    outputs(one, "csv-etl")
    assert rows(one, "orders", "select count(*) from orders") == [(6,)]


@pytest.fixture
def shop() -> Iterator[Shop]:
    """The shop of the fixtures, served on a free port."""
    with serving() as open_shop:
        yield open_shop


def test_the_crawl_finds_every_item_and_its_price_behind_the_form(runtime: Make, shop: Shop) -> None:
    pytest.importorskip("selectolax")
    one = runtime()
    assert outputs(one, "crawl", {"site": shop.url}) == {"items": 7, "dearest": {"name": "Globe", "price": "120.50"}}
    assert rows(one, "crawl", "select name, description, price, stock from items order by name")[4:6] == [
        ("Pocket atlas", "432 pages.", "18.40", "40 in stock"),
        ("Reading lamp", "Bends to the page.", "31.00", "12 in stock"),
    ]
    assert shop.asked[:3] == [f"GET /catalogue/{page}.html" for page in (1, 2, 3)]
    assert sorted(shop.asked[3:]) == sorted([*(f"GET /item/{slug}.html" for slug in SLUGS), *["POST /price"] * 7])


SLUGS = ("atlas", "chair", "clock", "globe", "kettle", "lamp", "vase")


def test_the_crawl_tries_a_busy_page_again(runtime: Make, shop: Shop) -> None:
    pytest.importorskip("selectolax")
    shop.busy += ["/item/lamp.html", "/catalogue/2.html"]
    assert outputs(runtime(), "crawl", {"site": shop.url})["items"] == 7
    assert shop.asked.count("GET /item/lamp.html") == 2
    assert shop.asked.count("GET /item/vase.html") == 1


def test_the_crawl_fails_for_a_page_that_is_not_there_without_a_retry(runtime: Make, shop: Shop) -> None:
    pytest.importorskip("selectolax")
    _, error = failure(runtime(), "crawl", {"site": f"{shop.url}/elsewhere"})
    assert error["code"] == "http_status"
    assert shop.asked == ["GET /elsewhere/catalogue/1.html"]


def test_the_walk_counts_what_a_walk_by_hand_counts(runtime: Make, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for folder, size in {"a": 3, "a/b": 5, "a/b/c d": 7, "é[0]": 11}.items():
        (tree / folder).mkdir(parents=True)
        (tree / folder / "file").write_bytes(b"x" * size)
    assert outputs(runtime(), "dynamic-fan-out", {"folder": str(tree)}) == {"folders": 5, "files": 4, "bytes": 26}


# -- control flow --------------------------------------------------------------------------------------------------


def test_the_build_tests_each_combination_and_publishes_once(runtime: Make) -> None:
    found = outputs(runtime(), "build-matrix")
    assert found["said"] == ["HELLO!", "HELLO!", "GOOD NIGHT!", "IT'S!"]
    assert len(found["archive"]) == 64


def test_a_group_recovers_and_the_run_goes_on(runtime: Make) -> None:
    one = runtime()
    assert outputs(one, "try-catch") == {"parsed": False, "said": "kept for later"}
    assert rows(one, "try-catch", "select price from refused") == [("twelve",)]


def test_a_group_that_does_not_fail_skips_its_catch(runtime: Make) -> None:
    assert outputs(runtime(), "try-catch", {"price": "12.5"}) == {"parsed": True, "said": "used 12.5"}


def test_a_saga_that_succeeds_gives_nothing_back(runtime: Make) -> None:
    one = runtime()
    assert outputs(one, "saga") == {"left": 480}
    assert rows(one, "saga", "select key, state from bookings order by key") == [
        ("car", "booked"), ("flight", "booked"), ("hotel", "booked")
    ]  # fmt: skip


def test_a_saga_that_fails_gives_everything_back(runtime: Make) -> None:
    other = runtime()
    run, error = failure(other, "saga", {"budget": 450})
    assert (error["code"], error["step"]) == ("too_expensive", "car/affordable")
    assert rows(other, "saga", "select key, state, refund from bookings order by rowid") == [
        ("flight", "given back", 240), ("hotel", "given back", 0)
    ]  # fmt: skip
    fired = [event.step for event in other.store.events(run.key) if event.kind in ("undo.fired", "handler.fired")]
    assert fired == ["hotel@undo", "flight@undo", "@on_failure"]


def test_a_lock_lets_no_update_get_lost(runtime: Make) -> None:
    assert outputs(runtime(), "locks", {"steps": 12}) == {"total": 12}


def test_a_second_count_counts_only_what_has_changed(runtime: Make, tmp_path: Path) -> None:
    one = runtime()
    package = tmp_path / "here" / "cache.yaml"
    package.parent.mkdir()
    package.write_text((ROOT / "workflows" / "cache.yaml").read_text())
    for name in ("a", "b"):
        (package.parent / f"{name}.txt").write_text(f"{name}\n")
    run = play(one, package, {"files": "*.txt"})
    assert one.result(run.id) == {"files": 2, "lines": 2}
    (package.parent / "b.txt").write_text("b\nb\nb\n")
    run = play(one, package, {"files": "*.txt"})
    assert one.result(run.id) == {"files": 2, "lines": 4}
    kinds = ("step.cached", "step.uncached")
    taken = {event.kind: event.step for event in one.store.events(run.key) if event.kind in kinds}
    assert taken == {"step.cached": "count[0]", "step.uncached": "count[1]"}


def test_a_flaky_step_is_tried_until_it_succeeds(runtime: Make) -> None:
    assert outputs(runtime(), "retry-backoff") == {"attempts": 3}


def test_the_first_mirror_that_answers_wins(runtime: Make) -> None:
    assert outputs(runtime(), "race") == {"winner": "near", "answer": "near"}


def test_a_poll_goes_on_until_all_is_done(runtime: Make) -> None:
    assert outputs(runtime(), "repeat-until", {"parts": 5}) == {"done": 5}


def test_a_kind_made_of_steps_is_used_like_any_other(runtime: Make) -> None:
    assert outputs(runtime(), "kinds-of-steps") == {
        "english": "Hello, Ada!",
        "others": ["Bonjour, Émilie!", "Servus, Hedy!"],
    }


def test_a_secret_reaches_its_process_and_no_file(runtime: Make, tmp_path: Path) -> None:
    secret = "correct-horse-battery"
    one = runtime(secrets={"API_TOKEN": secret}.get)
    expected = subprocess.run(["cksum"], input=secret.encode(), capture_output=True, check=True).stdout.split()[0]
    assert outputs(one, "secrets") == {"checksum": expected.decode()}
    one.close()
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any(b"signing with ***" in file.read_bytes() for file in files)
    assert [file.name for file in files if secret.encode() in file.read_bytes()] == []


def test_the_seed_tutorial_in_python(runtime: Make, tmp_path: Path) -> None:
    """The steps of docs/quickstart.md, as a program."""
    program = """
import json, sys
from yamlflow import Permanent, executor
from yamlflow.runtime import Runtime, load_package

@executor("hello/echo")
def echo(message: str) -> dict:
    if not message:
        raise Permanent("empty_message", "message is required")
    return {"echoed": message}

with Runtime("sqlite:///hello.db", worker_id="hello-worker", max_workers=2) as rt:
    rt.register(echo)
    rt.register(load_package(sys.argv[1]))
    run = rt.start("hello", {"message": "hello workflow"}, run_id="hello-run-1", metadata={"requested_by": "example"})
    cycle = rt.run_once()
    print(json.dumps([run.id, cycle.processed, rt.run("hello-run-1").status, rt.result("hello-run-1", "root")]))
"""
    command = [sys.executable, "-c", program, str(ROOT / "workflows" / "hello.yaml")]
    told = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert told.stderr == ""
    assert json.loads(told.stdout) == ["hello-run-1", 1, "succeeded", {"echoed": "hello workflow"}]


# -- schedules -----------------------------------------------------------------------------------------------------


def test_the_nightly_sum_comes_at_its_times_is_left_out_while_one_goes_on_and_goes_after_a_week(
    runtime: Make, clock: FakeClock
) -> None:
    package = load_package(ROOT / "workflows" / "nightly.yaml")
    one = runtime(clock=clock, schedules=[package])
    # 2026-01-01T00:00Z is one o'clock in Berlin, on a Thursday.
    clock.advance(HOUR + 30 * MINUTE)
    one.run_until_idle()
    (run,) = one.runs()
    assert (run.id, run.status, one.result(run.id)) == ("nightly-2026-01-01T01.30.00Z", "succeeded", {"total": 49.75})
    assert [row[1:] for row in rows(one, "nightly", "select key, what, total from totals")] == [("sales", 49.75)]
    clock.advance(5 * HOUR + 30 * MINUTE)
    assert [fired.run_id for fired in one.timetable.fire()] == ["nightly-2026-01-01T07.00.00Z.1"]
    clock.advance(15 * MINUTE)
    (left_out,) = one.timetable.fire()
    assert left_out.run_id is None
    assert 'run "nightly-2026-01-01T07.00.00Z.1" of "nightly" has the key' in (left_out.note or "")
    one.run_until_idle()
    clock.advance(8 * DAY)
    one.run_until_idle()
    # The night that was missed last, once; all that ended a week ago is gone.
    assert [run.id for run in one.runs()] == ["nightly-2026-01-09T01.30.00Z"]


def test_the_nightly_sum_by_hand(runtime: Make) -> None:
    assert outputs(runtime(), "nightly") == {"total": 49.75}
