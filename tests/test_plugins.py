"""Who supplies kinds, and that a bad plugin harms nobody else."""

from __future__ import annotations

import importlib.util
import json
import marshal
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from yamlflow import Succeeded, document, executor, hookspecs
from yamlflow.analysis import analyze
from yamlflow.errors import PluginError
from yamlflow.executors.builtin import KINDS
from yamlflow.packages import loaded
from yamlflow.plugins import Plugins, load
from yamlflow.project import find_root
from yamlflow.template import Expressions
from yamlflow.testing import run_executor

from .conftest import ROOT


def write(folder: Path, **modules: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    return folder


def plugins(folder: Path, **modules: str) -> Plugins:
    return load([write(folder, **modules)], entry_points=False)


ECHO = """
    from yamlflow import executor

    @executor("hello/echo")
    def echo(message: str) -> dict:
        "Say it again."
        return {"echoed": message}
"""


def test_the_built_in_kinds_come_by_the_public_hook() -> None:
    found = load(entry_points=False)
    assert set(found.executors) == set(KINDS)
    assert set(found.origins.values()) == {"built in"}
    assert found.manager.get_plugin("built in") is not None
    assert not found.broken


def test_every_hook_that_is_offered_is_called_somewhere() -> None:
    source = "".join(file.read_text() for file in (ROOT / "yamlflow").rglob("*.py"))
    offered = {name for name in vars(hookspecs) if name.startswith("yamlflow_")}
    assert {name for name in offered if f"manager.hook.{name}" not in source} == set()


def test_a_module_in_a_folder_supplies_its_decorated_functions(tmp_path: Path) -> None:
    found = plugins(tmp_path, hello=ECHO)
    echo = found.executors["hello/echo"]
    assert run_executor(echo, {"message": "hi"}) == Succeeded(result={"echoed": "hi"})
    assert echo.summary == "Say it again."
    assert found.origins["hello/echo"] == f"{tmp_path / 'hello.py'}:4"
    assert found.folders == (tmp_path,)
    assert not found.broken


def test_a_module_may_supply_by_hooks_or_by_both(tmp_path: Path) -> None:
    found = plugins(
        tmp_path,
        both="""
        from yamlflow import executor, hookimpl

        @executor("both/plain")
        def plain() -> int:
            return 1

        @executor("both/hooked")
        def hooked() -> int:
            return 2

        @hookimpl
        def yamlflow_executors():
            return [hooked]

        @hookimpl
        def yamlflow_filters():
            return {"shout": lambda text: text.upper()}

        @hookimpl
        def yamlflow_secrets(name):
            return {"TOKEN": "s3cret"}.get(name)
        """,
    )
    assert {"both/plain", "both/hooked"} <= set(found.executors)
    assert found.filters["shout"]("a") == "A"
    assert found.secret("TOKEN") == "s3cret"
    assert found.secret("OTHER") is None


def test_what_a_module_imported_is_not_supplied_again(tmp_path: Path) -> None:
    found = plugins(tmp_path, hello=ECHO, other="from .hello import echo\nfrom hello import echo as again")
    assert not found.broken
    assert "hello/echo" in found.executors


def test_a_built_in_function_can_be_imported_without_claiming_its_kind(tmp_path: Path) -> None:
    found = plugins(tmp_path, user="from yamlflow.executors.noop import noop")
    assert found.origins["noop"] == "built in"


def test_a_package_folder_is_one_plugin(tmp_path: Path) -> None:
    write(tmp_path / "shop", __init__="from .till import till", till=ECHO.replace("def echo", "def till"))
    (tmp_path / "shop/__init__.py").write_text(
        "from yamlflow import hookimpl\nfrom .till import till\n"
        "@hookimpl\ndef yamlflow_executors():\n    return [till]\n"
    )
    assert "hello/echo" in load([tmp_path], entry_points=False).executors


def test_files_that_begin_with_an_underscore_are_no_plugins(tmp_path: Path) -> None:
    found = plugins(tmp_path, _helper="raise RuntimeError('not to be imported')")
    assert not found.broken


def test_a_kind_claimed_twice_is_nobodys_and_harms_no_other(tmp_path: Path) -> None:
    other = ECHO.replace("hello/echo", "hello/other")
    found = plugins(tmp_path, one=ECHO, three=ECHO, two=ECHO + other.replace("def echo", "def other"))
    assert "hello/echo" not in found.executors
    assert {"hello/other", "http"} <= set(found.executors)
    (broken,) = found.broken
    assert broken.kinds == ("hello/echo",)
    assert (broken.file, broken.line) == (str(tmp_path / "two.py"), 4)
    assert "claimed twice" in broken.cause
    for name in ("one", "two", "three"):
        assert f"{tmp_path / name}.py:4" in broken.cause


def test_a_built_in_kind_that_a_plugin_claims_is_refused(tmp_path: Path) -> None:
    found = plugins(tmp_path, mine=ECHO.replace("hello/echo", "http"), other=ECHO)
    assert "http" not in found.executors
    assert {"hello/echo", "shell"} <= set(found.executors)
    (broken,) = found.broken
    assert broken.kinds == ("http",)
    assert f"by built in and by {tmp_path / 'mine.py'}:4" in broken.cause


def test_only_packages_that_need_a_contested_kind_are_refused(tmp_path: Path) -> None:
    found = plugins(tmp_path, mine=ECHO.replace("hello/echo", "http"))

    def refused(step: str) -> list[str]:
        package = loaded(document.read(f"yamlflow: 1\nname: p\nsteps: {{a: {step}}}", file="p.yaml")).package
        wrong = analyze(package, executors=found.executors, expressions=Expressions(), broken=found.broken)
        return [str(problem) for problem in wrong if not problem.warning]

    assert not refused("{run: 'true'}")
    (problem,) = refused("{kind: http, with: {url: 'http://a'}}")
    assert str(tmp_path / "mine.py") in problem
    assert "claimed twice" in problem


def test_a_filter_claimed_twice_is_nobodys(tmp_path: Path) -> None:
    text = "from yamlflow import hookimpl\n@hookimpl\ndef yamlflow_filters():\n    return {'same': lambda x: x}\n"
    found = plugins(tmp_path, one=text, two=text)
    assert dict(found.filters) == {}
    (broken,) = found.broken
    assert 'the filter "same" is claimed twice' in broken.cause
    assert "one.py" in broken.cause
    assert "two.py" in broken.cause


@pytest.mark.parametrize(
    "name", ["my-plug.py", "my plug.py", "2nd.py", "my-package/__init__.py", "shop.v1/__init__.py"]
)
def test_a_file_that_python_cannot_import_by_its_name_is_broken(tmp_path: Path, name: str) -> None:
    file = write(tmp_path, hello=ECHO) / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(textwrap.dedent(ECHO.replace("hello/echo", "my/kind")))
    found = load([tmp_path], entry_points=False)
    assert "hello/echo" in found.executors
    (broken,) = found.broken
    assert broken.file == str(tmp_path / name.partition("/")[0])
    assert broken.kinds == ("my/kind",)
    assert "rename" in broken.cause


def test_files_that_are_no_modules_are_no_plugins_whatever_their_name(tmp_path: Path) -> None:
    write(tmp_path, hello=ECHO)
    (tmp_path / "read-me.txt").write_text("not code")
    (tmp_path / "some-data").mkdir()
    (tmp_path / ".hidden-one.py").write_text("1/0")
    (tmp_path / "_my-helper.py").write_text("1/0")
    assert not load([tmp_path], entry_points=False).broken


@pytest.mark.parametrize(
    ("text", "line", "cause"),
    [
        ("from yamlflow import executor\n@executor('a')\ndef f(*rest): ...", 2, "*rest cannot be a key of `with`"),
        ("from yamlflow import executor\n@executor('a')\ndef f(x, /): ...", 2, "the positional-only x cannot be a key"),
        ("\n\nimport nosuch_module_at_all", 3, "ModuleNotFoundError"),
        ("x = 1\n1/0", 2, "ZeroDivisionError"),
        ("def f(:\n", 1, "SyntaxError"),
        ("import sys\nsys.exit(3)", 2, "SystemExit"),
        ("from yamlflow import executor\n@executor('a b')\ndef f(): ...", 2, "PluginError"),
        ("from yamlflow import hookimpl\n@hookimpl\ndef yamlflow_of_the_future(x): ...", 0, "yamlflow_of_the_future"),
        ("from yamlflow import hookimpl\n@hookimpl\ndef yamlflow_secrets(name, more): ...", 0, "more"),
        ("from yamlflow import hookimpl\n@hookimpl\ndef yamlflow_executors():\n    return [len]", 0, "no executor"),
        ("from yamlflow import hookimpl\n@hookimpl\ndef yamlflow_executors():\n    1/0", 4, "ZeroDivisionError"),
    ],
)
def test_a_broken_plugin_is_told_of_and_harms_no_other(tmp_path: Path, text: str, line: int, cause: str) -> None:
    found = plugins(tmp_path, hello=ECHO, broken=text)
    assert "hello/echo" in found.executors
    (broken,) = found.broken
    assert broken.file == str(tmp_path / "broken.py")
    assert broken.line == line
    assert cause in broken.cause
    assert cause in str(broken)


def test_a_broken_plugin_names_the_kinds_it_would_have_supplied(tmp_path: Path) -> None:
    (broken,) = plugins(tmp_path, broken=textwrap.dedent(ECHO) + "\n1/0").broken
    assert broken.kinds == ("hello/echo",)


def test_a_folder_or_file_that_anybody_may_write_to_is_refused(tmp_path: Path) -> None:
    open_folder = write(tmp_path / "open", hello=ECHO)
    open_folder.chmod(0o777)
    mixed = write(tmp_path / "mixed", hello=ECHO, other=ECHO.replace("hello/echo", "other"))
    (mixed / "hello.py").chmod(0o666)
    found = load([open_folder, mixed], entry_points=False)
    assert [broken.file for broken in found.broken] == [str(open_folder), str(mixed / "hello.py")]
    assert "anybody may write" in found.broken[0].cause
    assert found.folders == (mixed,)
    assert "other" in found.executors
    assert "hello/echo" not in found.executors


def test_a_folder_that_is_not_there_or_named_twice_is_no_trouble(tmp_path: Path) -> None:
    folder = write(tmp_path / "plugins", hello=ECHO)
    (tmp_path / "link").symlink_to(folder)
    found = load([folder, tmp_path / "nosuch", tmp_path / "link", folder], entry_points=False)
    assert found.folders == (folder,)


def test_siblings_see_one_another_and_nobody_else_sees_them(tmp_path: Path) -> None:
    text = """
        import json
        from . import helper_of_mine
        import helper_of_mine as again
        import parts.inner
        from parts import inner
        from yamlflow import executor

        @executor("s/seen")
        def seen() -> list:
            import helper_of_mine
            return [helper_of_mine.NAME, again.NAME, inner.NAME, parts.inner.NAME, json.dumps(1)]
    """
    write(tmp_path / "a", one=text, helper_of_mine="NAME = 'a'", json="raise RuntimeError('shadows')")
    (tmp_path / "a/json.py").rename(tmp_path / "a/_json.py")
    write(tmp_path / "a/parts", __init__="", inner="NAME = 'inner a'")
    write(tmp_path / "b", one=text, helper_of_mine="NAME = 'b'")
    write(tmp_path / "b/parts", __init__="", inner="NAME = 'inner b'")
    before, path = set(sys.modules), list(sys.path)
    found = [load([tmp_path / name], entry_points=False) for name in "ab"]
    assert not found[0].broken
    results = [run_executor(each.executors["s/seen"]) for each in found]
    assert results == [Succeeded(result=[name, name, f"inner {name}", f"inner {name}", "1"]) for name in "ab"]
    assert {name.partition(".")[0] for name in set(sys.modules) - before} <= {"yamlflow_plugins"}
    assert sys.path == path


def test_a_plugin_never_hides_an_installed_module(tmp_path: Path) -> None:
    found = plugins(
        tmp_path, json="X = 1", user="import json\nassert json.dumps\nfrom . import json as own\nassert own.X"
    )
    assert not found.broken


def test_a_changed_folder_is_read_anew(tmp_path: Path) -> None:
    first = plugins(tmp_path, hello=ECHO)
    second = plugins(tmp_path, hello=ECHO.replace("echoed", "echoed_again"))
    assert run_executor(first.executors["hello/echo"], {"message": "x"}) == Succeeded(result={"echoed": "x"})
    assert run_executor(second.executors["hello/echo"], {"message": "x"}) == Succeeded(result={"echoed_again": "x"})


def test_adding_an_executor_takes_its_kind() -> None:
    @executor("t/added")
    def added() -> int:
        return 1

    found = load(entry_points=False)
    assert found.add(added).kind == "t/added"
    with pytest.raises(PluginError, match="claimed twice"):
        found.add(executor("t/added")(lambda: None))
    with pytest.raises(PluginError, match="is no executor"):
        found.add(len)
    assert "t/added" not in load(entry_points=False).executors


def test_an_installed_package_declares_plugins_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = write(tmp_path / "site", shop_plugin=ECHO)
    metadata = site / "shop-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[yamlflow]\nshop = shop_plugin\ngone = nosuch_plugin\n")
    monkeypatch.syspath_prepend(str(site))
    found = load()
    assert "hello/echo" in found.executors
    assert [broken.file for broken in found.broken] == ["gone = nosuch_plugin"]
    assert "hello/echo" not in load(entry_points=False).executors
    monkeypatch.delitem(sys.modules, "shop_plugin")


def test_events_reach_every_plugin(tmp_path: Path) -> None:
    text = (
        "from yamlflow import hookimpl\nseen = []\n@hookimpl\ndef yamlflow_on_event(event):\n    seen.append(event)\n"
    )
    found = plugins(tmp_path, one=text)
    found.on_event({"kind": "run.started"})
    module: Any = found.manager.get_plugin(str(tmp_path / "one.py"))
    assert module.seen == [{"kind": "run.started"}]


HEAVY = ["asyncio", "subprocess", "httpx", "httpcore", "pydantic", "jsonschema", "yaml", "jinja2", "sqlite3", "rich"]


def test_loading_the_built_ins_imports_nothing_heavy() -> None:
    code = f"""
import json, sys
from yamlflow.plugins import load
found = load()
first = [name for name in {HEAVY!r} + ["importlib.metadata"] if name in sys.modules]
for kind in ("shell", "noop", "set", "log", "sleep", "fail", "cancel", "record", "template", "python", "file", "http"):
    assert found.executors[kind].schema
print(json.dumps([first, [name for name in {HEAVY!r} if name in sys.modules]]))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == [[], []]


def test_what_is_public_is_imported_when_it_is_named() -> None:
    import yamlflow

    assert yamlflow.executor is executor
    assert "Permanent" in dir(yamlflow)
    for name in yamlflow.PUBLIC:
        if yamlflow.PUBLIC[name] in ("errors", "outcome", "artifacts", "context", "executors", "hookspecs"):
            assert getattr(yamlflow, name) is not None
    with pytest.raises(AttributeError, match="nosuch"):
        _ = yamlflow.nosuch


ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")


@pytest.mark.parametrize(
    ("what", "mode", "words"),
    [
        ("", 0o777, "anybody may write to it (mode 777)"),
        ("", 0o1777, "anybody may write to it (mode 1777)"),
        ("", 0o775, "its group may write to it (mode 775)"),
        ("hello.py", 0o646, "anybody may write to it (mode 646)"),
        ("hello.py", 0o664, "its group may write to it (mode 664)"),
    ],
)
def test_nothing_is_imported_that_others_may_write_to(tmp_path: Path, what: str, mode: int, words: str) -> None:
    folder = write(tmp_path / "plugins", hello=ECHO)
    os.chown(folder / what, -1, 0 if os.geteuid() == 0 else os.getegid())
    (folder / what).chmod(mode)
    found = load([folder], entry_points=False)
    if os.geteuid() == 0 or mode & 0o002:
        assert "hello/echo" not in found.executors
        assert [(one.file, words in one.cause) for one in found.broken] == [(str(folder / what), True)]
    (folder / what).chmod(0o755)
    assert "hello/echo" in load([folder], entry_points=False).executors


@ROOT_ONLY
@pytest.mark.parametrize("what", ["plugins", "plugins/hello.py"])
def test_nothing_is_imported_that_belongs_to_another_user(tmp_path: Path, what: str) -> None:
    folder = write(tmp_path / "plugins", hello=ECHO)
    os.chown(tmp_path / what, 12345, 12345)
    found = load([folder], entry_points=False)
    assert "hello/echo" not in found.executors
    assert "it belongs to another user (number 12345)" in found.broken[0].cause
    # Where the whole project is theirs we run their package, and with it their plugins.
    os.chown(tmp_path, 12345, 12345)
    os.chown(folder, 12345, 12345)
    os.chown(folder / "hello.py", 12345, 12345)
    assert "hello/echo" in load([folder], entry_points=False).executors


def test_a_helper_that_others_may_write_to_is_not_imported_either(tmp_path: Path) -> None:
    folder = write(tmp_path, uses="import _words\n", _words="SAID = 1\n")
    (folder / "_words.py").chmod(0o666)
    found = load([folder], entry_points=False)
    assert [one.cause for one in found.broken] == [
        f"ImportError: {folder / '_words.py'}: anybody may write to it (mode 666), so it is not imported; "
        "chmod o-w mends that"
    ]
    inner = write(tmp_path / "pack", __init__="from . import part\n", part="")
    inner.chmod(0o777)
    causes = [one.cause for one in load([folder], entry_points=False).broken if one.file == str(inner)]
    assert ["anybody may write to it" in cause for cause in causes] == [True]


def test_compiled_code_is_neither_believed_nor_left(tmp_path: Path) -> None:
    folder = write(tmp_path, hello=ECHO)
    source = folder / "hello.py"
    cached = Path(importlib.util.cache_from_source(str(source)))
    cached.parent.mkdir()
    forged = compile("raise SystemExit('forged')", str(source), "exec")
    found = source.stat()
    head = importlib.util.MAGIC_NUMBER + b"\0\0\0\0" + int(found.st_mtime).to_bytes(4, "little")
    cached.write_bytes(head + found.st_size.to_bytes(4, "little") + marshal.dumps(forged))
    before = cached.read_bytes()
    loaded = load([folder], entry_points=False)
    assert not loaded.broken
    assert "hello/echo" in loaded.executors
    assert cached.read_bytes() == before
    fresh = write(tmp_path / "fresh", again=ECHO.replace("hello/echo", "again/echo"))
    assert "again/echo" in load([fresh], entry_points=False).executors
    assert not (fresh / "__pycache__").exists()


def test_a_plugin_named_like_a_module_of_pythons_hides_it_from_nobody(tmp_path: Path) -> None:
    folder = write(tmp_path, json=ECHO, uses="import json\nassert json.dumps(1) == '1'\n")
    before = list(sys.path)
    found = load([folder], entry_points=False)
    assert not found.broken
    assert "hello/echo" in found.executors
    assert sys.path == before
    assert sys.modules["json"] is json


@ROOT_ONLY
def test_a_project_is_not_found_by_a_mark_that_another_user_left_above(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / ".yamlflow").mkdir()
    assert find_root(below) == tmp_path
    os.chown(tmp_path / ".yamlflow", 12345, 12345)
    assert find_root(below) != tmp_path
    os.chown(below, 12345, 12345)
    assert find_root(below) == tmp_path
