"""``docs/security.md`` states nothing that no test is named for, and no test that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from yamlflow import Succeeded
from yamlflow.cli import run as cli
from yamlflow.executors.python import python
from yamlflow.project import open_project
from yamlflow.runtime import Runtime
from yamlflow.secrets import Secrets
from yamlflow.testing import run_executor

from .conftest import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)


def claims() -> list[str]:
    """The statements of the page: every item of a list."""
    return [item.strip() for item in re.split(r"^- ", PAGE, flags=re.MULTILINE)[1:]]


def named(comment: str) -> list[tuple[Path, str]]:
    """The tests that a comment names: ``file: test, test, file: test``."""
    found, file = [], None
    for word in re.split(r"[,\s]+", comment.strip()):
        if word.endswith(":"):
            file = ROOT / word.removesuffix(":")
        elif word:
            assert file is not None, comment
            found.append((file, word))
    return found


def test_every_statement_of_the_page_names_tests_that_are_there() -> None:
    assert len(claims()) > 35
    for claim in claims():
        comments = COMMENT.findall(claim.split("\n\n")[0])
        assert len(comments) == 1, f"no test is named for: {claim[:100]}"
        assert named(comments[0])
    for comment in COMMENT.findall(PAGE):
        for file, test in named(comment):
            assert re.search(rf"^def {test}\(", file.read_text(encoding="utf-8"), re.MULTILINE), (
                f"{file.name} has no {test}"
            )


def test_no_plugins_imports_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plugins").mkdir(0o755)
    (tmp_path / "plugins" / "loud.py").write_text("open('imported', 'w').close()\n")
    (tmp_path / "p.yaml").write_text("yamlflow: 1\nname: p\nsteps: {a: {kind: noop}}\n")
    for words in (["validate"], ["graph"], ["run", "--dry-run"]):
        assert cli([*words, "p.yaml", "--no-plugins"]) == 0
        assert not (tmp_path / "imported").exists()
    assert cli(["validate", "p.yaml"]) == 0
    assert (tmp_path / "imported").exists()


def test_a_secret_that_was_changed_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKEN", raising=False)
    secrets = Secrets(tmp_path, lambda name: f"plugin's {name}")
    assert secrets("TOKEN") == "plugin's TOKEN"
    (tmp_path / ".env").write_text("TOKEN=first value\n")
    assert secrets("TOKEN") == "first value"
    (tmp_path / ".env").write_text("TOKEN=the second value\n")
    assert secrets("TOKEN") == "the second value"
    (tmp_path / ".env").unlink()
    assert secrets("TOKEN") == "plugin's TOKEN"
    monkeypatch.setenv("TOKEN", "of the environment")
    assert secrets("TOKEN") == "of the environment"


def test_arguments_of_a_python_child_lie_in_no_file(tmp_path: Path) -> None:
    code = (
        "import os\nfound = []\nfor folder, _, names in os.walk(where):\n    for name in names:\n"
        "        found.append('rotated' + '-token' in open(os.path.join(folder, name)).read())\nreturn found"
    )
    outcome = run_executor(
        python, {"code": code, "args": {"token": "rotated-token", "where": str(tmp_path)}}, scratch=tmp_path
    )
    assert isinstance(outcome, Succeeded), outcome
    assert True not in outcome.result


@pytest.mark.parametrize(
    ("setting", "reached"),
    [("", True), ("public", False), ("public,+127.0.0.1", True), ("-127.0.0.0/8", False)],
)
def test_the_environment_says_which_addresses_are_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], setting: str, reached: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("YAMLFLOW_HTTP_ADDRESSES", setting)
    # Nobody listens there: an address that may be reached refuses the connection.
    (tmp_path / "p.yaml").write_text(
        "yamlflow: 1\nname: p\nsteps: {a: {kind: http, with: {url: 'http://127.0.0.1:9/'}}}\n"
    )
    assert cli(["run", "p.yaml"]) == 1
    assert ("transport_error" if reached else "address_denied") in capsys.readouterr().err


def test_a_setting_of_addresses_that_means_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("YAMLFLOW_HTTP_ADDRESSES", "private")
    assert cli(["runs"]) == 2
    assert 'YAMLFLOW_HTTP_ADDRESSES: "private" says nothing about addresses' in capsys.readouterr().err
    monkeypatch.delenv("YAMLFLOW_HTTP_ADDRESSES")
    (tmp_path / "yamlflow.toml").write_text('http_addresses = ["public", "-10.0.0.0/8"]\n')
    assert open_project(tmp_path).settings["http_addresses"] == "public,-10.0.0.0/8"
    with pytest.raises(Exception, match="says nothing about addresses"):
        Runtime(addresses="private")


def test_doctor_tells_of_a_store_that_others_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.yaml").write_text("yamlflow: 1\nname: p\nsteps: {a: {kind: noop}}\n")
    assert cli(["run", "p.yaml", "-q"]) == 0
    capsys.readouterr()
    assert cli(["doctor"]) == 0
    assert "other users" not in capsys.readouterr().out
    (tmp_path / ".yamlflow").chmod(0o755)
    (tmp_path / ".yamlflow" / "yamlflow.db").chmod(0o644)
    assert cli(["doctor"]) == 0
    assert "other users of this machine may read" in capsys.readouterr().out
