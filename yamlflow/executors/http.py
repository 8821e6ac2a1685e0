"""``http``: one request, with its redirects, within bounds of time, size and addresses."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import addresses
from ..clock import SECOND
from ..context import StepContext
from ..duration import parse_duration
from ..errors import Permanent, Retryable, StepFault, UserError, shortened
from ..outcome import Json
from ..ports import Masking
from ..values import to_text
from . import executor
from .bodies import json_of, receive, text_of
from .checking import DURATION
from .sizes import SIZE, size_of

if TYPE_CHECKING:
    import httpx

TEXTS: Json = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
SCHEMA: Json = {
    "type": "object",
    "required": ["url"],
    "additionalProperties": False,
    "properties": {
        "url": {"type": "string", "minLength": 1, "description": "An http or https URL."},
        "method": {"type": "string", "pattern": "^[A-Za-z]+$", "description": "Default is GET, with a body POST."},
        "params": {"type": "object", "description": "Added to the URL's query; a list repeats the name."},
        "headers": {**TEXTS, "description": "Header to value."},
        "json": {"description": "A body as JSON."},
        "form": {"type": "object", "description": "A body as an HTML form; a list repeats the name."},
        "body": {"type": "string", "description": "A body as it is."},
        "auth": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "username": {"type": "string"},
                "password": {"type": "string"},
                "bearer": {"type": "string"},
            },
            "description": "`{username, password}` or `{bearer}`; no redirect carries it, or a secret, to another host.",
        },
        "redirects": {
            "type": ["boolean", "integer"],
            "minimum": 0,
            "maximum": 50,
            "default": True,
            "description": "Whether redirects are followed, or how many (true is 10).",
        },
        "proxy": {"type": "string", "description": "The URL of an HTTP proxy; none is taken from the environment."},
        "timeout": {
            "type": "string",
            "format": DURATION,
            "default": "15s",
            "description": "For the whole request, body and redirects.",
        },
        "max_size": {**SIZE, "description": "Bytes of the body, or `10MB`; default 1 MB, with `save_as` 1 GB."},
        "expect": {
            "type": "array",
            "minItems": 1,
            "items": {"type": ["integer", "string"], "pattern": "^[1-5]xx$", "minimum": 100, "maximum": 599},
            "description": "Statuses that are a success, `[200, 404]` or `[2xx]`; default is everything below 400.",
        },
        "save_as": {"type": "string", "minLength": 1, "description": "Keep the body as an artifact of this name."},
        "addresses": {
            "enum": ["default", "public"],
            "default": "default",
            "description": "`public` denies loopback and private addresses; link-local ones only the worker can allow.",
        },
        "verify": {"type": "boolean", "default": True, "description": "Check the server's certificate."},
    },
}
BODIES = ("json", "form", "body")
#: Names of headers that a redirect to another host does not carry along; those whose value holds a secret neither.
CREDENTIALS = re.compile(
    r"authori[sz]ation|cookie|token|secret|passw|credential|session|signature|api-?key|^x-auth|-key$", re.I
)
#: Statuses that another attempt may mend.
PASSING = frozenset({408, 429})
#: Seconds that a server can have us wait at most: it is not to hold a run for years.
LONGEST_WAIT = 24 * 3600.0


@executor("http", schema=SCHEMA, mode="async", origin="built in")
async def http(step: StepContext) -> Json:
    """Send a request; the result is `{status, url, headers, body, json}`, `json` null unless the body is JSON.

    A status of 400 and above fails with `http_status`, retryable for 5xx, 408 and 429; a connection that fails with
    `transport_error`, retryable. `Retry-After` is honoured. With `save_as` the body is an artifact and `body` is null.
    """
    import asyncio

    import httpcore
    import httpx

    seconds = seconds_of(step.input["timeout"])
    try:
        async with asyncio.timeout(seconds):
            return await exchange(step)
    except TimeoutError:
        raise Retryable("transport_error", f"no complete answer within {step.input['timeout']}") from None
    except httpx.TooManyRedirects:
        raise Permanent("transport_error", "more redirects than are followed") from None
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpcore.UnsupportedProtocol, httpcore.LocalProtocolError,
            UnicodeError) as wrong:  # fmt: skip
        raise Permanent("bad_input", f"with: the request cannot be sent: {wrong}") from wrong
    except (httpx.HTTPError, httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError,
            httpcore.ProxyError, OSError) as wrong:  # fmt: skip
        raise Retryable("transport_error", f"{type(wrong).__name__}: {wrong}") from wrong


async def exchange(step: StepContext) -> Json:
    """Send the request and judge the response."""
    import httpx

    from .transport import Way, shared

    given = step.input
    reach = (addresses.reach(step.ports.addresses), addresses.reach(given["addresses"]))
    way = Way(reach=reach, proxy=proxy_of(given), verify=given["verify"])
    follow = given["redirects"]
    async with shared(way) as transport:
        # Not closed: all it holds is the transport, which is shared.
        client = httpx.AsyncClient(
            transport=transport,
            timeout=None,
            trust_env=False,
            max_redirects=10 if follow is True else int(follow),
            headers={"User-Agent": "yamlflow", "Accept-Encoding": "gzip, deflate"},
        )
        request = judged(client.build_request(**request_of(given)))
        client.event_hooks["request"] = [Confined(request, step.ports.masking)]
        response = await client.send(
            request, stream=True, auth=auth_of(given.get("auth") or {}), follow_redirects=bool(follow)
        )
        try:
            return await answer_of(response, step)
        finally:
            await response.aclose()


class Confined:
    """Lets a redirect to another host carry nothing on that is meant for the first one alone."""

    def __init__(self, first: httpx.Request, masking: Masking) -> None:
        self._first, self._masking = first, masking

    async def __call__(self, request: httpx.Request) -> None:
        """Take credentials off a request that goes elsewhere; ``Permanent`` where its body holds a secret."""
        if same_server(self._first.url, request.url):
            return
        for name, value in request.headers.items():
            if CREDENTIALS.search(name) or self._masking.contains(value):
                del request.headers[name]
        if request.stream is self._first.stream and self._masking.contains(
            self._first.content.decode(errors="replace")
        ):
            raise Permanent("transport_error", "a redirect to another host would carry a secret there, in the body")


def same_server(first: httpx.URL, other: httpx.URL) -> bool:
    """Whether two URLs lead to one server, the second no less protected than the first."""
    if first.host != other.host:
        return False
    ports = {"http": 80, "https": 443}
    here, there = (url.port or ports.get(url.scheme) for url in (first, other))
    upgraded = (first.scheme, here, other.scheme, there) == ("http", 80, "https", 443)
    return upgraded or (first.scheme, here) == (other.scheme, there)


def request_of(given: Mapping[str, Json]) -> dict[str, Any]:
    """The arguments of ``httpx.Client.build_request``."""
    bodies = [name for name in BODIES if name in given]
    if len(bodies) > 1:
        raise Permanent("bad_input", f"with: only one of {', '.join(bodies)} can be the body")
    if not re.match(r"https?://", given["url"], re.IGNORECASE):
        raise Permanent("bad_input", f"with.url: {shortened(given['url'], 200)!r} is no http or https URL")
    headers = {header_name(name): header_text(value) for name, value in (given.get("headers") or {}).items()}
    bearer = (given.get("auth") or {}).get("bearer")
    if bearer is not None:
        headers["Authorization"] = f"Bearer {bearer}"
    arguments: dict[str, Any] = {
        "method": (given.get("method") or ("POST" if bodies else "GET")).upper(),
        "url": given["url"],
        "params": given.get("params") or None,
        "headers": headers,
    }
    for name in bodies:
        if name == "form":
            arguments["data"] = given["form"]
        else:
            arguments["content"] = given["body"] if name == "body" else to_text(given["json"]).encode()
    if "json" in given and "content-type" not in map(str.lower, headers):
        headers["Content-Type"] = "application/json"
    return arguments


def judged(request: httpx.Request) -> httpx.Request:
    """A request whose address can be connected to."""
    port = request.url.port
    if not request.url.host or (port is not None and not 0 < port < 65536):
        raise Permanent(
            "bad_input", f"with.url: {shortened(str(request.url), 200)!r} has no host, or no port there can be"
        )
    return request


def header_name(name: str) -> str:
    """A header's name, which is a token (RFC 9110)."""
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        raise Permanent("bad_input", f"with.headers: {shortened(name, 100)!r} is no name for a header")
    return name


def header_text(value: Json) -> str:
    """A header's value as text; line ends are refused before they reach the wire."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if re.search(r"[\r\n\0]", text):
        raise Permanent("bad_input", "with.headers: a value holds a line end or NUL")
    return text


def auth_of(auth: Mapping[str, str]) -> httpx.BasicAuth | None:
    """Basic authentication, where it was asked for."""
    import httpx

    if "username" not in auth and "password" not in auth:
        return None
    return httpx.BasicAuth(auth.get("username", ""), auth.get("password", ""))


def proxy_of(given: Mapping[str, Json]) -> str | None:
    """The proxy's URL."""
    proxy = given.get("proxy")
    if proxy is not None and not re.match(r"https?://", proxy):
        raise Permanent("bad_input", "with.proxy: the URL of an http or https proxy is expected")
    return str(proxy) if proxy is not None else None


async def answer_of(response: httpx.Response, step: StepContext) -> Json:
    """The result that a response makes, or the failure."""
    given = step.input
    if not expected(response.status_code, given.get("expect")):
        raise await failure_of(response, step)
    head = head_of(response, step)
    save_as = given.get("save_as")
    limits = step.ports.limits
    limit = size_of(given.get("max_size"), limits.artifact if save_as else limits.result)
    encoding = response.headers.get("content-encoding", "")
    content_type = response.headers.get("content-type", "")
    if save_as:
        artifact = await saved(response, step, save_as, limit)
        return {**head, "body": None, "json": None, "artifact": {"name": save_as, **artifact}}
    kept = io.BytesIO()
    await receive(response.aiter_raw(), encoding, limit, kept, cut=False)
    text = text_of(kept.getvalue(), content_type, response.charset_encoding)
    return {**head, "body": text, "json": json_of(text, content_type)}


async def saved(response: httpx.Response, step: StepContext, name: str, limit: int) -> Json:
    """The body as an artifact, through a file."""
    import asyncio

    partial = Path(step.dir) / f".body-{os.urandom(8).hex()}"
    encoding = response.headers.get("content-encoding", "")
    content_type = response.headers.get("content-type", "").partition(";")[0].strip() or None
    metadata = {"url": step.ports.masking.mask(str(response.url)), "status": str(response.status_code)}
    try:
        with partial.open("wb") as stream:
            await receive(response.aiter_raw(), encoding, limit, stream, cut=False)
        kept = await asyncio.to_thread(
            step.store_artifact, name, partial.absolute(), content_type=content_type, metadata=metadata
        )
    finally:
        partial.unlink(missing_ok=True)
    return kept.to_json()


def head_of(response: httpx.Response, step: StepContext) -> dict[str, Json]:
    """Status, final URL (secrets in it masked) and headers by lower-case name."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return {"status": response.status_code, "url": step.ports.masking.mask(str(response.url)), "headers": headers}


async def failure_of(response: httpx.Response, step: StepContext) -> StepFault:
    """The error of a status that was not expected; the start of the body is in its details."""
    status, limit = response.status_code, step.ports.limits.tail
    kept = io.BytesIO()
    encoding = response.headers.get("content-encoding", "")
    cut = False
    try:
        cut = await receive(response.aiter_raw(), encoding, limit, kept, cut=True)
    except Permanent as unreadable:
        kept = io.BytesIO(f"({unreadable.message})".encode())
    text = replaced_text(kept.getvalue(), response.charset_encoding)
    if cut:
        text = text.rstrip("\ufffd") + "…"
    details = {**head_of(response, step), "body": text}
    details["json"] = json_of(text, response.headers.get("content-type", ""))
    message = f"{step.input.get('method') or response.request.method} {details['url']} answered {status}"
    passing = status >= 500 or status in PASSING
    if not passing:
        return Permanent("http_status", message, details=details)
    after = retry_after(response.headers.get("retry-after"), step)
    return Retryable("http_status", message, details=details, after=after)


def replaced_text(content: bytes, charset: str | None) -> str:
    """Bytes for people, in their charset where that is one that Python reads text by."""
    try:
        return content.decode(charset or "utf-8", "replace")
    except (ValueError, LookupError):
        return content.decode("utf-8", "replace")


def expected(status: int, wanted: list[int | str] | None) -> bool:
    """Whether a status is a success."""
    if wanted is None:
        return status < 400
    return status in wanted or f"{status // 100}xx" in wanted


def retry_after(value: str | None, step: StepContext) -> float | None:
    """Seconds that ``Retry-After`` asks for, a day at most: a number, or an HTTP date; None when it says nothing readable."""
    if value is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}\s*", value):
        return min(float(value), LONGEST_WAIT)
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    return min(max(0.0, moment.timestamp() - step.now.timestamp()), LONGEST_WAIT)


def seconds_of(text: str) -> float:
    """Seconds of a duration."""
    try:
        return parse_duration(text) / SECOND
    except (ValueError, UserError) as wrong:
        raise Permanent("bad_input", f"with.timeout: {wrong}") from None
