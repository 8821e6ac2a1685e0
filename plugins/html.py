"""Kinds that read HTML pages with CSS selectors: ``html/select`` and ``html/links``.

A field is ``SELECTOR`` (the text of its first match) or ``SELECTOR@ATTRIBUTE``; a field that matches nothing is null.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin

from selectolax.lexbor import LexborHTMLParser, LexborNode

from yamlflow import Permanent, executor

#: Attributes that hold an address, made absolute where ``base`` is given.
ADDRESSES = frozenset({"href", "src", "action"})


@executor("html/select")
def select(html: str, fields: dict[str, str], rows: str = "", base: str = "") -> Any:
    """Read fields from a page: a mapping, or with ``rows`` a list of mappings.

    Args:
        html: The page.
        fields: Name to SELECTOR or SELECTOR@ATTRIBUTE; an empty selector is the row itself.
        rows: A selector; the fields are then read within each of its matches.
        base: The page's own address, against which the addresses in it are resolved.
    """
    page = LexborHTMLParser(html).root
    if page is None:
        raise Permanent("empty_page", "the page is empty")
    found = [{name: field(node, wanted, base) for name, wanted in fields.items()} for node in matches(page, rows)]
    return found if rows else found[0]


@executor("html/links")
def links(pages: list[str], base: str = "", within: str = "a[href]") -> list[dict[str, str | None]]:
    """Every link of some pages, in order, each address once: ``[{href, title}]``."""
    rows = [row for page in pages for row in select(page, {"href": "@href", "title": ""}, within, base)]
    return list({row["href"]: row for row in rows}.values())


def field(node: LexborNode, wanted: str, base: str) -> str | None:
    """The text or the attribute that ``SELECTOR@ATTRIBUTE`` names."""
    selector, _, attribute = wanted.rpartition("@") if "@" in wanted else (wanted, "", "")
    first = next(iter(matches(node, selector)), None)
    if first is None:
        return None
    if not attribute:
        return " ".join(first.text().split())
    value = first.attributes.get(attribute)
    return urljoin(base, value) if value is not None and attribute in ADDRESSES else value


def matches(node: LexborNode, selector: str) -> list[LexborNode]:
    """What a selector finds, in the order of the page; the empty one is the node itself."""
    try:
        return node.css(selector) if selector else [node]
    except Exception as wrong:
        raise Permanent("bad_selector", f"{selector!r} is no CSS selector: {wrong}") from wrong
