"""``template``: a file from a full Jinja template, kept as an artifact."""

from __future__ import annotations

from pathlib import PurePosixPath

from ..artifacts import open_regular
from ..context import StepContext
from ..errors import Permanent
from ..outcome import Json
from . import executor

SCHEMA: Json = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "text": {"type": "string", "description": "The template itself: `{{ }}`, `{% for %}`, `{% if %}`."},
        "file": {"type": "string", "description": "A file that holds it, from the package file's folder."},
        "values": {"type": "object", "default": {}, "description": "Names for the template, besides those in scope."},
        "name": {
            "type": "string",
            "description": "The artifact's name; default is the file's without `.j2`, or `document.txt`.",
        },
        "content_type": {"type": "string", "description": "Its MIME type; default is what the name suggests."},
    },
    "oneOf": [{"required": ["text"]}, {"required": ["file"]}],
}


@executor("template", schema=SCHEMA, mode="thread", stores_input=True, code=["text"], origin="built in")
def template(step: StepContext) -> Json:
    """Render a template (`text` or `file`) with the step's scope and `values`; the result is the artifact."""
    given = step.input
    text = given["text"] if "text" in given else read(step, given["file"])
    name = given.get("name") or default_name(given.get("file"))
    rendered = step.ports.render_document(text, given["values"])
    if step.ports.masking.contains(rendered):
        raise Permanent("secret_in_result", "the rendered text contains a secret, which is never stored")
    kept = step.artifact(name, rendered, content_type=given.get("content_type"))
    return {"name": name, **kept.to_json()}


def read(step: StepContext, file: str) -> str:
    """The template in a file."""
    limit = step.ports.limits.result * 10
    with open_regular(step.cwd / file, "the template", code="bad_input") as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise Permanent("bad_input", f"the template {file} has more than {limit:,} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        raise Permanent("bad_input", f"the template {file} is not UTF-8 text: {wrong}") from None


def default_name(file: str | None) -> str:
    """``report.html`` for ``templates/report.html.j2``."""
    if file is None:
        return "document.txt"
    name = PurePosixPath(file).name
    for ending in (".j2", ".jinja", ".jinja2"):
        name = name.removesuffix(ending)
    return name
