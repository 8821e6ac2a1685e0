"""YAML: bytes, changed packages, and packages out of the language's schema, in strange notation."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from yamlflow import document
from yamlflow.errors import InvalidPackage
from yamlflow.executors.formats import READERS, decode

from .. import cases, grammar
from .target import Target, refusals, told


def changed(rnd: Random) -> str:
    """The bytes of a package at hand, changed."""
    examples = grammar.examples()
    return str(cases.mutated(rnd, rnd.choice(examples), rnd.choice(examples)))


def written(rnd: Random) -> str:
    """A value of the schema in YAML, of any notation."""
    value = grammar.of_schema(rnd, grammar.schema()) if rnd.random() < 0.7 else cases.value(rnd, 4)
    return _encoded(rnd, yaml_of(rnd, value))


def _encoded(rnd: Random, text: str) -> str:
    kind = rnd.random()
    if kind < 0.9:
        return text.encode("utf-8", "surrogatepass").decode("latin-1")
    name = rnd.choice(["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7", "cp037"])
    return text.encode(name, "replace").decode("latin-1")


def yaml_of(rnd: Random, value: Any, indent: int = 0) -> str:
    """A value in YAML, block or flow, with anchors, aliases, merges and tags now and then."""
    if rnd.random() < 0.03:
        return rnd.choice(
            [
                "*a",
                "&a x",
                "!!str x",
                "!!python/object:os.system x",
                "<<: *a",
                "? [a]\n: b",
                "- - - x",
                "|\n  x\n y",
                ">+\n\n x",
            ]
        )
    if not isinstance(value, dict | list) or indent > 12 or rnd.random() < 0.2:
        return _scalar(rnd, value) if not isinstance(value, dict | list) else json.dumps(value)
    pad = "\n" + " " * indent
    anchor = "&a " if rnd.random() < 0.04 else ""
    if not value:
        return anchor + ("[]" if isinstance(value, list) else "{}")
    if isinstance(value, list):
        return anchor + "".join(f"{pad}- {yaml_of(rnd, item, indent + 2)}" for item in value)
    merge = f"{pad}<<: *a" if rnd.random() < 0.03 else ""
    return (
        anchor
        + merge
        + "".join(f"{pad}{_key(rnd, key)}: {yaml_of(rnd, item, indent + 2)}" for key, item in value.items())
    )


def _key(rnd: Random, key: str) -> str:
    return key if key.isidentifier() and rnd.random() < 0.97 else json.dumps(key, ensure_ascii=False)


def _scalar(rnd: Random, value: Any) -> str:
    if isinstance(value, str) and rnd.random() < 0.3:
        return value
    text = json.dumps(value, ensure_ascii=rnd.random() < 0.5)
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) and rnd.random() < 0.3 else text


def check_document(case: str) -> None:
    """Reading and checking a package: twice the same, every problem at its place."""
    content = cases.bytes_of(case)
    first, second = problems_of(content), problems_of(content)
    assert first == second, "read twice it is not the same"


def problems_of(content: bytes) -> list[str]:
    """What is said of a document."""
    try:
        read = document.read(content, file="p.yaml")
        found = document.check(read)
    except InvalidPackage as refused:
        told(refused)
        found = list(refused.problems)
        assert found, "refused without a problem"
    else:
        json.dumps(read.data, allow_nan=False)
    for problem in found:
        assert problem.line >= 0
        assert problem.message, "a problem without a message"
        assert len(str(problem)) <= 4001, "a problem of too many characters"
    return list(map(str, found))


def check_tests(case: str) -> None:
    """The same for a file of tests."""
    with refusals():
        read = document.read(cases.bytes_of(case), file="p.test.yaml")
        document.check_tests(read)


def tests_changed(rnd: Random) -> str:
    """A file of tests, changed."""
    examples = [file.read_text("utf-8") for file in sorted((grammar.ROOT / "workflows").glob("*.test.yaml"))]
    if rnd.random() < 0.3:
        return _encoded(
            rnd, yaml_of(rnd, grammar.of_schema(rnd, document.schema_of_tests(), root=document.schema_of_tests()))
        )
    return (
        str(cases.mutated(rnd, rnd.choice(examples), rnd.choice(examples)))
        .encode("utf-8", "surrogatepass")
        .decode("latin-1")
    )


def data_file(rnd: Random) -> dict[str, str]:
    """The content of a file that a step reads: YAML, JSON, CSV, text."""
    text = yaml_of(rnd, cases.value(rnd, 4)) if rnd.random() < 0.6 else cases.text(rnd, 12)
    if rnd.random() < 0.5:
        text = cases.changed_text(rnd, text, "")
    return {"format": rnd.choice(["yaml", "json", "csv", "text"]), "content": _encoded(rnd, text)}


def check_data_file(case: dict[str, str]) -> None:
    """What the ``file`` kind makes of it: a value or a ``Permanent``."""
    if case["format"] not in READERS:
        return
    with refusals():
        value = decode(cases.bytes_of(case["content"]), case["format"], "f")
        from yamlflow.values import NotJson, plain

        try:
            plain(value, limit=2**20)
        except NotJson as wrong:
            assert len(str(wrong)) <= 4001


def latin(content: bytes) -> str:
    """Bytes as a case holds them."""
    return content.decode("latin-1")


TARGETS = (
    Target(name="yaml-changed", make=changed, check=check_document, from_bytes=latin, weight=2),
    Target(name="yaml-written", make=written, check=check_document, weight=2),
    Target(name="test-files", make=tests_changed, check=check_tests),
    Target(
        name="data-files", make=data_file, check=check_data_file,
        from_bytes=lambda content: {
            "format": ["yaml", "json", "csv"][content[0] % 3 if content else 0],
            "content": latin(content[1:]),
        },
    ),
)  # fmt: skip
