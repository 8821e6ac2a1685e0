"""Kinds that find the licences of a Python environment: ``licences/installed`` lists, ``licences/read`` reads one."""

from __future__ import annotations

import json
import subprocess
import sys
from email.parser import HeaderParser
from pathlib import Path

from yamlflow import Permanent, executor

from ._licence_claims import claims, text_of
from ._licence_words import refines
from ._spdx import category_of

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
    said = [*claims(HeaderParser().parsestr(text_of(files[0]) if files else ""), place), ("nothing", "unknown")]
    source, licence = next((each for each in said if refines(each[1], said[0][1])), said[0])
    return {"licence": licence, "category": category_of(licence), "source": source}
