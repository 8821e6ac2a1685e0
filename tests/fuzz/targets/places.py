"""Names of places: URLs of stores, and the files of a folder of plugins."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

from yamlflow.plugins import load
from yamlflow.store.sqlite import SqliteStore

from .. import cases
from .target import MESSAGE, Target, refusals

URLS = (
    "sqlite:///", "sqlite:", "sqlite://", "", "postgres://", "file:", "sqlite:///:memory:", "sqlite:///x.db", "x.db", "a/b/c.db",
    "sqlite:///x.db?mode=ro", "sqlite:///%2e%2e", "file:x.db?mode=memory", ":memory:", "sqlite:///a" + "b" * 300,
)  # fmt: skip
#: What stands in the files; none of it reaches beyond the process.
CONTENTS = (
    "", "raise ValueError('x' * 10**6)",
    "import no_such_module", "def broken(:", "\0", "\xff\xfe", "x = " + "(" * 300, "raise SystemExit(3)",
    "from yamlflow import executor\n@executor('a/b')\ndef f(x: int) -> int:\n    return x\n",
    "from yamlflow import executor\n@executor('../x')\ndef f() -> None: ...\n",
    "from yamlflow import executor\n@executor('shell')\ndef f() -> None: ...\n",
    "from yamlflow import executor\n@executor('a' * 10_000)\ndef f() -> None: ...\n",
    "from yamlflow import executor\n@executor('s', schema={'$ref': 'http://127.0.0.1:9/'})\ndef f(x) -> None: ...\n",
    "from yamlflow import executor\n@executor('t')\ndef f(x: 'NoSuchType', *args, **named) -> None: ...\n",
    "import yamlflow.hookspecs as h\ndef yamlflow_filters(): return {'upper': len}\n",
    "class E(Exception):\n    def __str__(self): raise ValueError\nraise E\n", "x = 1\n" * 10_000,
)  # fmt: skip


def store_url(rnd: Random) -> str:
    """The URL of a store, more or less."""
    return (
        rnd.choice(URLS) + cases.text(rnd, 2) if rnd.random() < 0.7 else cases.changed_text(rnd, rnd.choice(URLS), "")
    )


def check_store_url(case: str) -> None:
    """A store opens there, or the reason is told; nothing is made outside of the folder."""
    path = case.removeprefix("sqlite:///") if case.startswith("sqlite:") else case
    if os.path.isabs(path) or ".." in path:
        return
    before = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="yamlflow-fuzz-") as folder:
        os.chdir(folder)
        try:
            with refusals(), contextlib.closing(SqliteStore(case)) as store:
                assert store.package("x") is None
        finally:
            os.chdir(before)


def plugin_folder(rnd: Random) -> list[list[str]]:
    """Files of a folder of plugins."""
    return [
        [
            rnd.choice(
                ["a.py", "b.py", "_c.py", "d e.py", "if.py", "yamlflow.py", "json.py", cases.text(rnd, 2) + ".py"]
            ),
            rnd.choice(CONTENTS),
        ]
        for _ in range(rnd.randint(1, 4))
    ]


def check_plugin_folder(case: Any) -> None:
    """What can be loaded is, and the rest is told of in few words."""
    folder = Path(tempfile.mkdtemp(prefix="yamlflow-fuzz-"))
    known = set(sys.modules)
    try:
        for name, content in case:
            with contextlib.suppress(OSError, ValueError):
                (folder / name.replace("/", "_")).write_bytes(cases.bytes_of(content) if content in CONTENTS else b"")
        with refusals():
            found = load([folder], entry_points=False)
            assert "noop" in found.executors
            assert all(len(str(broken)) <= MESSAGE for broken in found.broken), "a broken plugin told at length"
            for kind in found.executors:
                assert isinstance(found.executors[kind].schema, dict)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for name in set(sys.modules) - known:
            if name.startswith("yamlflow_plugins."):
                del sys.modules[name]


TARGETS = (
    Target(name="store-urls", make=store_url, check=check_store_url),
    Target(name="plugin-folders", make=plugin_folder, check=check_plugin_folder),
)
