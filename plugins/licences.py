"""Kinds that find the licences of a Python environment: ``licences/installed`` lists, ``licences/read`` reads one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

from yamlflow import Permanent, executor

from ._spdx import category_of, named_in

#: Runs in the environment that is audited; of two distributions with one name the first on the path counts.
ASK = """
import importlib.metadata as m, json
found = {}
for d in m.distributions():
    if d.name: found.setdefault(d.name.lower(), {"name": d.name, "version": d.version, "folder": str(d._path)})
print(json.dumps([found[name] for name in sorted(found)]))
"""


@executor("licences/installed")
def installed(python: str | None = None) -> list[dict[str, str]]:
    """The distributions that an interpreter finds (the running one if none): ``[{name, version, folder}]``."""
    try:
        command = [python or sys.executable, "-I", "-c", ASK]
        return list(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    except (OSError, subprocess.CalledProcessError) as wrong:
        raise Permanent("no_interpreter", f"{python} cannot list its distributions: {wrong}") from wrong


@executor("licences/read")
def read(folder: str) -> dict[str, str]:
    """A distribution's licence, from its metadata: ``{licence, category, source}``."""
    place = Path(folder)
    files = [file for file in (place / "METADATA", place / "PKG-INFO", place) if file.is_file()]
    headers = HeaderParser().parsestr(files[0].read_text(encoding="utf-8", errors="replace") if files else "")
    source, licence = next(claims(headers, place), ("nothing", "unknown"))
    return {"licence": licence, "category": category_of(licence), "source": source}


def claims(headers: Message, folder: Path) -> Iterator[tuple[str, str]]:
    """What says the licence, the most exact first: ``(source, SPDX expression)``."""
    if headers["License-Expression"]:
        yield "expression", headers["License-Expression"]
    said = [each.rpartition(" :: ")[2] for each in headers.get_all("Classifier", []) if each.startswith("License ::")]
    if names := [name for each in said if (name := named_in(each))]:
        yield "classifier", " AND ".join(dict.fromkeys(names))
    if name := named_in(headers["License"] or ""):
        yield "field", name
    files = sorted(folder.rglob("*")) if folder.is_dir() else []
    for file in (file for file in files if re.match("licen[sc]e|copying", file.name, re.I) and file.is_file()):
        if name := named_in(file.read_text(encoding="utf-8", errors="replace")[:2000]):
            yield "text", name
