"""What comes from programs and servers: outputs of commands, answers of HTTP servers, tagged values, files' names."""

from __future__ import annotations

import asyncio
import functools
import gzip
import json
import socket
import socketserver
import tempfile
import threading
import zlib
from pathlib import Path
from random import Random
from typing import Any

from yamlflow.artifacts import FileArtifacts
from yamlflow.context import Limits, Ports, StepContext
from yamlflow.errors import StepFault
from yamlflow.executors import http
from yamlflow.executors.processes import Ended
from yamlflow.executors.shell import failure_of, output_of, result_of
from yamlflow.outcome import Failed
from yamlflow.serializers import Serializer, Serializers
from yamlflow.testing import run_executor
from yamlflow.values import NotJson, plain

from .. import cases
from .target import Target, refusals


def output(rnd: Random) -> str:
    """What a command writes to ``$YAMLFLOW_OUTPUT`` or stdout."""
    kind = rnd.random()
    if kind < 0.3:
        return cases.changed_text(rnd, json.dumps(cases.value(rnd, 4)), "")
    if kind < 0.4:
        return rnd.choice(
            [
                "[" * 100_000,
                '{"a":' * 100_000,
                "[" + "9" * 5000 + "]",
                "NaN",
                "[NaN]",
                '"\\ud800"',
                "1e999",
                "[1e999]",
                "9" * 5000,
            ]
        )
    return "\n".join(f"{cases.text(rnd, 2)}={cases.text(rnd, 3)}" for _ in range(rnd.randint(0, 5)))


def check_output(case: str) -> None:
    """As an output file and as stdout, parsed each way: a value that can be kept, or a typed error."""
    step = StepContext(input={}, ports=Ports())
    content = cases.bytes_of(case)
    text = content.decode("utf-8", "replace")
    ended = Ended(exit_code=0, signal=None, stdout=content, stderr=content, stdout_size=len(content))
    readers = [lambda: output_of(text), lambda: output_of(case)]
    readers += [functools.partial(result_of, ended, parse, step) for parse in (None, "text", "json", "lines")]
    for reader in readers:
        with refusals():
            kept = reader()
            try:
                plain(kept, limit=Limits().result)
            except NotJson as wrong:
                assert len(str(wrong)) <= 4001
    assert isinstance(
        failure_of(Ended(exit_code=3, signal=None, stdout=content, stderr=content, stdout_size=0), step), StepFault
    )


# -- servers -------------------------------------------------------------------------------------------------------

HEADERS = (
    "Content-Type",
    "Content-Encoding",
    "Content-Length",
    "Transfer-Encoding",
    "Location",
    "Retry-After",
    "Set-Cookie",
    "X",
    "Connection",
    "Trailer",
)
VALUES = (
    "text/plain", "application/json", "text/html; charset=nosuch", "application/json; charset=utf-7",
    "text/plain; charset=\x00", "x" * 9000, "gzip", "deflate", "br", "gzip, gzip", "identity", "0", "5", "-1", "1e3",
    "99999999999999999999", "chunked", "chunked, gzip", "/", "/x", "http://[::1", "http://127.0.0.1:1/", "//evil",
    "javascript:x", "Wed, 99 Foo 2026 00:00:00 GMT", "Wed, 01 Jan 9999 00:00:00 GMT",
    "Thu, 01 Jan 1970 00:00:00 +9999", "text/plain; charset=idna", "text/plain; charset=punycode",
    "text/plain; charset=base64", "text/plain; charset=undefined", "text/plain; charset=unicode_escape",
)  # fmt: skip


def answer(rnd: Random) -> dict[str, Any]:
    """The bytes of an HTTP answer, more or less right; and what the step asked for."""
    body = cases.bytes_of(
        rnd.choice([output(rnd), cases.text(rnd, 5), json.dumps(cases.value(rnd, 2))])
        .encode("utf-8", "surrogatepass")
        .decode("latin-1")
    )
    packed = rnd.random()
    if packed < 0.15:
        body = gzip.compress(body if rnd.random() < 0.5 else b"\0" * 5_000_000)
    elif packed < 0.2:
        body = zlib.compress(body)
    status = rnd.choice([200, 200, 200, 204, 301, 302, 304, 404, 429, 500, 503, 100, 101, 999, "x", -1])
    lines = [f"HTTP/1.1 {status} {cases.text(rnd, 1)}"]
    lines += [f"{rnd.choice(HEADERS)}: {rnd.choice([*VALUES, cases.text(rnd, 2)])}" for _ in range(rnd.randint(0, 4))]
    if packed < 0.15 and rnd.random() < 0.8:
        lines.append("Content-Encoding: gzip")
    if rnd.random() < 0.5:
        lines.append(f"Content-Length: {len(body)}")
    head = "\r\n".join(lines).encode("utf-8", "surrogatepass") + b"\r\n\r\n"
    raw = (head + body).decode("latin-1")
    if rnd.random() < 0.1:
        raw = cases.changed_text(rnd, raw[:3000], "")
    wanted: dict[str, Any] = rnd.choice(
        [{}, {}, {"expect": [200, "3xx"]}, {"redirects": False}, {"method": "HEAD"}, {"max_size": 10}]
    )
    return {"raw": raw, "with": wanted}


class _Answers(socketserver.BaseRequestHandler):
    """Sends whatever the case says, and closes."""

    def handle(self) -> None:
        try:
            self.request.settimeout(1)
            self.request.recv(65536)
            self.request.sendall(_Answers.content)
            self.request.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    content = b""


@functools.cache
def server() -> int:
    """The port of a server on loopback that lives as long as this process."""
    made = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Answers)
    made.daemon_threads = True
    threading.Thread(target=made.serve_forever, daemon=True).start()
    return int(made.server_address[1])


def check_answer(case: dict[str, Any]) -> None:
    """The ``http`` kind gives a result that can be kept, or fails with one of its own errors."""
    _Answers.content = cases.bytes_of(case["raw"])
    asyncio.set_event_loop_policy(None)
    outcome = run_executor(http, {"url": f"http://127.0.0.1:{server()}/", "timeout": "3s", **case["with"]})
    assert_meant(outcome)


def request(rnd: Random) -> dict[str, Any]:
    """What stands in ``with`` of an http step; addresses lead nowhere but to loopback."""
    url = rnd.choice(
        [
            "http://127.0.0.1:9/",
            "http://[::1]:9/",
            "http://0x7f000001:9/",
            "http://①②⑦.⓪.⓪.①:9/",
            "http://a..b:9/",
            "http://" + "a" * 300 + ".invalid/",
            "http://127.0.0.1:99999/",
            "http://127.0.0.1:9/" + cases.text(rnd, 3),
            "http:///x",
            "HTTP://127.0.0.1:9",
            "http://127.0.0.1:9\\@x/",
            "http://u:p@127.0.0.1:9/",
            "ftp://x",
            cases.text(rnd, 3),
        ]
    )
    made: dict[str, Any] = {"url": url, "timeout": "1s"}
    for key in rnd.sample(
        ["headers", "params", "json", "form", "body", "auth", "method", "proxy", "max_size", "expect"],
        rnd.randint(0, 3),
    ):
        made[key] = {
            "headers": {cases.text(rnd, 2): rnd.choice([cases.text(rnd, 2), 1, True])},
            "params": {cases.text(rnd, 2): cases.value(rnd, 1)},
            "json": cases.value(rnd, 2),
            "form": {cases.text(rnd, 1): cases.value(rnd, 1)},
            "body": cases.text(rnd, 3),
            "auth": {"username": cases.text(rnd, 2), "password": cases.text(rnd, 2)},
            "method": rnd.choice(["GET", "x" * 1000, "post"]),
            "proxy": rnd.choice(["http://127.0.0.1:9", "http://[", cases.text(rnd, 2)]),
            "max_size": rnd.choice(["10MB", "9" * 5000, "1 kiB", 5]),
            "expect": [rnd.choice([200, "2xx"])],
        }[key]
    return made


def check_request(case: dict[str, Any]) -> None:
    """A request that cannot be sent says so."""
    # Names would be looked up, and networks reached: this machine only, and what cannot be a name.
    if is_near(case.get("url")) and is_near(case.get("proxy")):
        assert_meant(run_executor(http, case))


def is_near(url: Any) -> bool:
    """Whether an address leads to this machine, or nowhere."""
    import httpx

    try:
        host = httpx.URL(url).host
    except (TypeError, httpx.InvalidURL, UnicodeError):
        return True
    return host in ("", "127.0.0.1", "::1", "a..b") or len(host) > 255


def assert_meant(outcome: Any) -> None:
    """Raises for a failure that nobody meant."""
    if isinstance(outcome, Failed):
        error = outcome.error
        assert error.code != "executor_error", f"{error.type}: {error.message[:200]}"
        assert len(error.message) <= 4001, "a message of too many characters"
        plain(error.details)
    else:
        try:
            plain(outcome.result)
        except NotJson as wrong:
            assert len(str(wrong)) <= 4001


# -- values of people's own types ----------------------------------------------------------------------------------


class Money:
    """A type that a program registers."""

    def __init__(self, amount: Any) -> None:
        self.amount = amount


def tagged(rnd: Random) -> Any:
    """A stored value with tags where tags may be."""
    value = cases.value(rnd, 3)
    return rnd.choice(
        [
            {"$type": rnd.choice(["money", "other", cases.scalar(rnd)]), "amount": value},
            [{"$type": "money", "value": value}],
            {"a": {"$type": "money"}},
            value,
        ]
    )


def check_tagged(case: Any) -> None:
    """Reviving gives a value, or a typed error where a stored form is not the type's own."""
    serializers = Serializers(
        [Serializer("money", Money, lambda money: {"amount": money.amount}, lambda form: Money(form["amount"]))]
    )
    try:
        stored = plain(case)
    except NotJson:
        return
    with refusals():
        serializers.revived(stored)
    try:
        plain(case, tagger=serializers.tagger)
    except NotJson as wrong:
        assert len(str(wrong)) <= 4001


def file_name(rnd: Random) -> dict[str, str]:
    """The name of an artifact and of its run and step."""
    return {
        "run": cases.text(rnd, 3),
        "step": cases.text(rnd, 4),
        "name": rnd.choice([cases.text(rnd, 4), "../" * 5 + "x", "a" * 10_000, "a\0b"]),
    }


def check_file_name(case: dict[str, str]) -> None:
    """A file is kept below its folder and found again, or its name is refused."""
    with tempfile.TemporaryDirectory(prefix="yamlflow-fuzz-") as folder:
        root = Path(folder) / "kept"
        store = FileArtifacts(root)
        with refusals():
            kept = store.put(case["run"], case["step"], case["name"], b"content")
            with store.open(kept) as stream:
                assert stream.read() == b"content"
        outside = [
            path for path in Path(folder).rglob("*") if path.is_file() and not path.resolve().is_relative_to(root)
        ]
        assert not outside, f"kept outside: {outside}"


TARGETS = (
    Target(name="outputs", make=output, check=check_output, from_bytes=lambda content: content.decode("latin-1")),
    Target(
        name="http-answers", make=answer, check=check_answer,
        from_bytes=lambda content: {"raw": content.decode("latin-1"), "with": {}},
    ),
    Target(name="http-requests", make=request, check=check_request, free=True),
    Target(name="tagged-values", make=tagged, check=check_tagged, free=True),
    Target(name="file-names", make=file_name, check=check_file_name),
)  # fmt: skip
