"""Commands that look after a project and its store: init, prune, db, doctor, packages, settings."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from .conftest import FLAKY, HELLO, Cli, Write


def test_a_new_project_runs_and_is_never_overwritten(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "plugins").mkdir()
    (folder / "plugins" / "hello.py").write_text('"""Mine."""\n')
    made = cli("init")
    assert made.status == 0
    assert "kept     plugins/hello.py" in made.err
    assert (folder / "plugins" / "hello.py").read_text() == '"""Mine."""\n'
    (folder / "plugins" / "hello.py").unlink()
    cli("init")
    assert cli("run", "hello", "--who", "Ada").out == "text: |\n  HELLO, ADA!\n"
    assert cli("validate").status == 0


def test_state_is_kept_out_of_version_control(cli: Cli, write: Write, folder: Path) -> None:
    write("hello.yaml", HELLO)
    cli("run", "hello.yaml")
    assert (folder / ".yamlflow" / ".gitignore").read_text() == "*\n"
    assert (folder / ".yamlflow" / "yamlflow.db").is_file()


def test_the_project_is_found_from_below_it(
    cli: Cli, write: Write, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("yamlflow.toml", "")
    write("workflows/hello.yaml", HELLO)
    (folder / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(folder / "deep" / "er")
    assert cli("run", "hello", "-q").status == 0
    assert (folder / ".yamlflow" / "yamlflow.db").is_file()
    assert not (folder / "deep" / "er" / ".yamlflow").exists()


def test_a_flag_goes_before_the_environment_and_that_before_the_file(
    cli: Cli, write: Write, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("hello.yaml", HELLO)
    write("yamlflow.toml", 'store = "from-file.db"\n')
    cli("run", "hello.yaml", "-q")
    monkeypatch.setenv("YAMLFLOW_STORE", "from-environment.db")
    cli("run", "hello.yaml", "-q")
    cli("run", "hello.yaml", "-q", "--store", "sqlite:///from-flag.db")
    cli("--store", "from-group.db", "run", "hello.yaml", "-q")
    for name in ("from-file.db", "from-environment.db", "from-flag.db", "from-group.db"):
        assert (folder / name).is_file(), name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stor = 'x.db'\n", 'yamlflow.toml: there is no setting "stor". Did you mean "store"?'),
        ("workers = 0\n", "yamlflow.toml: workers: this must be a number from 1"),
        ("lease = '30'\n", "has no unit"),
        ("synchronous = 'ful'\n", 'Did you mean "full"?'),
        ("packages = ['nowhere']\n", "there is no folder nowhere"),
        ("store = \n", "this is no TOML"),
    ],
)
def test_a_setting_that_cannot_be_is_named_with_its_place(cli: Cli, write: Write, text: str, words: str) -> None:
    write("yamlflow.toml", text)
    refused = cli("runs")
    assert refused.status == 2
    assert words in refused.err


def test_a_package_is_found_by_name_and_a_name_found_twice_names_both(cli: Cli, write: Write) -> None:
    write("workflows/a.yaml", HELLO)
    assert cli("run", "hello", "-q").status == 0
    write("more/b.yaml", HELLO)
    twice = cli("run", "hello", "--packages", "more")
    assert twice.status == 2
    assert "workflows/a.yaml and more/b.yaml" in twice.err
    assert cli("packages", "--packages", "more").status == 2
    assert 'Did you mean "hello"?' in cli("run", "helo").err


def test_prune_removes_what_ended_with_everything_of_it(cli: Cli, write: Write, folder: Path) -> None:
    write("flaky.yaml", FLAKY)
    cli("run", "flaky.yaml", "--run-id", "gone")
    cli("start", "flaky.yaml", "--run-id", "live")
    assert (folder / ".yamlflow" / "runs" / "gone").is_dir()
    assert cli("prune", "--older-than", "1h", "--json").json == []
    assert cli("prune", "live").status == 2
    assert cli("prune", "--older-than", "0s", "--dry-run", "--json").json == ["gone"]
    assert cli("prune", "--older-than", "0s", "--json").json == ["gone"]
    assert not (folder / ".yamlflow" / "runs" / "gone").exists()
    assert [one["id"] for one in cli("runs", "--json").json] == ["live"]
    assert cli("prune").status == 2


def test_the_store_is_described_checked_copied_and_made_smaller(cli: Cli, write: Write, folder: Path) -> None:
    assert cli("db", "status").status == 4
    write("hello.yaml", HELLO)
    cli("run", "hello.yaml", "-q")
    assert cli("db", "status", "--json").json["runs"] == {"succeeded": 1}
    assert cli("db", "check").status == 0
    assert cli("db", "migrate").status == 0
    assert cli("db", "backup", "copy.db").status == 0
    assert cli("db", "backup", "copy.db").status == 2
    assert cli("runs", "--store", "copy.db", "--json").json[0]["package"] == "hello"
    assert cli("db", "vacuum").status == 0


def test_what_is_no_store_is_refused_and_left_alone(cli: Cli, write: Write, folder: Path) -> None:
    write("hello.yaml", HELLO)
    (folder / "text.db").write_text("no database at all, but long enough to be looked at" * 30)
    other = sqlite3.connect(folder / "other.db")
    other.execute("create table mine (x)")
    other.close()
    for name in ("text.db", "other.db"):
        before = (folder / name).read_bytes()
        for command in (("run", "hello.yaml"), ("runs",), ("db", "check")):
            refused = cli(*command, "--store", name)
            assert (refused.status, "Traceback" in refused.err) == (4, False), (command, name)
        assert (folder / name).read_bytes() == before
    assert cli("runs", "--store", "postgres://localhost/x").status == 4


def test_a_broken_row_is_found_by_check_and_doctor(cli: Cli, write: Write, folder: Path) -> None:
    write("hello.yaml", HELLO)
    cli("run", "hello.yaml", "-q")
    store = sqlite3.connect(folder / ".yamlflow" / "yamlflow.db")
    store.execute("update steps set status = 'ready' where path = 'greet'")
    store.commit()
    store.close()
    checked = cli("db", "check", "--json")
    assert checked.status == 4
    assert "ended runs with live steps" in [fault["name"] for fault in checked.json["faults"]]
    assert cli("doctor").status == 4


def test_doctor_tells_of_broken_plugins_and_unfinished_runs(cli: Cli, write: Write) -> None:
    write("hello.yaml", HELLO)
    cli("start", "hello.yaml", "--run-id", "left")
    findings = cli("doctor", "--json")
    assert findings.status == 0
    assert any("left/greet: no worker is running" in one["message"] for one in findings.json)
    write("plugins/bad.py", "1 / 0\n")
    assert cli("doctor").status == 2
