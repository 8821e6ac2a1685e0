"""``http`` against a server on loopback that behaves well, badly, or worse."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import socket
import ssl
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from yamlflow import Succeeded
from yamlflow.addresses import DEFAULT, PUBLIC, reach
from yamlflow.clock import to_datetime
from yamlflow.context import Limits, Ports
from yamlflow.errors import UserError
from yamlflow.executors import http
from yamlflow.executors import http as http_module
from yamlflow.executors.bodies import decoder_for
from yamlflow.outcome import Failed, Outcome
from yamlflow.ports import Masking
from yamlflow.testing import T0, run_executor

Answer = Callable[["Handler"], None]
ANSWERS: dict[str, Answer] = {}


def answer(path: str) -> Callable[[Answer], Answer]:
    def add(function: Answer) -> Answer:
        ANSWERS[path] = function
        return function

    return add


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    body = b""

    def do(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with contextlib.suppress(OSError):
            ANSWERS["/" + self.path.partition("?")[0].split("/", 3)[-1].lstrip("/")](self)

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = do

    def log_message(self, *_: Any) -> None: ...

    def say(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@answer("/echo")
def echo(it: Handler) -> None:
    told = {"method": it.command, "path": it.path, "headers": dict(it.headers), "body": it.body.decode()}
    it.say(200, json.dumps(told).encode(), Content_Type="application/json")


@answer("/text")
def text(it: Handler) -> None:
    it.say(200, "grüße".encode("latin-1"), Content_Type="text/plain; charset=iso-8859-1")


@answer("/binary")
def binary(it: Handler) -> None:
    it.say(200, b"\x89PNG\xff", Content_Type="image/png")


@answer("/broken-json")
def broken_json(it: Handler) -> None:
    it.say(200, b'{"a": NaN}', Content_Type="application/json")


@answer("/gzip")
def zipped(it: Handler) -> None:
    it.say(200, gzip.compress(b"small"), Content_Encoding="gzip")


@answer("/deflate")
def deflated(it: Handler) -> None:
    squeezer = zlib.compressobj(wbits=-15)
    it.say(200, squeezer.compress(b"raw") + squeezer.flush(), Content_Encoding="deflate")


@answer("/bomb")
def bomb(it: Handler) -> None:
    squeezer = zlib.compressobj(9, wbits=31)
    body = b"".join(squeezer.compress(bytes(1_000_000)) for _ in range(300)) + squeezer.flush()
    it.say(200, body, Content_Encoding="gzip")


@answer("/twice")
def twice(it: Handler) -> None:
    it.say(200, gzip.compress(gzip.compress(b"x")), Content_Encoding="gzip, gzip")


@answer("/not-gzip")
def not_gzip(it: Handler) -> None:
    it.say(200, b"plain", Content_Encoding="gzip")


@answer("/endless")
def endless(it: Handler) -> None:
    it.send_response(200)
    it.end_headers()
    while True:
        it.wfile.write(b"x" * 65536)


@answer("/drip")
def drip(it: Handler) -> None:
    it.send_response(200)
    it.send_header("Content-Length", "1000")
    it.end_headers()
    while True:
        it.wfile.write(b"x")
        it.wfile.flush()
        if threading.Event().wait(0.05):
            return


@answer("/short")
def short(it: Handler) -> None:
    it.send_response(200)
    it.send_header("Content-Length", "1000")
    it.end_headers()
    it.wfile.write(b"x")
    it.close_connection = True


@answer("/hop")
def hop(it: Handler) -> None:
    it.say(302, b"", Location="/echo")


@answer("/round")
def round_(it: Handler) -> None:
    it.say(302, b"", Location="/round")


@answer("/to-metadata")
def to_metadata(it: Handler) -> None:
    it.say(302, b"", Location="http://169.254.169.254/latest/meta-data")


@answer("/to-file")
def to_file(it: Handler) -> None:
    it.say(302, b"", Location="file:///etc/passwd")


for _status in (204, 400, 404, 408, 429, 500, 503):

    @answer(f"/{_status}")
    def status(it: Handler, code: int = _status) -> None:
        it.say(code, b"" if code == 204 else b'{"why": "so"}', Content_Type="application/json")


@answer("/later")
def later(it: Handler) -> None:
    it.say(503, b"", Retry_After="7")


@answer("/at")
def at(it: Handler) -> None:
    it.say(429, b"", Retry_After=format_datetime(to_datetime(T0) + timedelta(seconds=90), usegmt=True))


@answer("/soon")
def soon(it: Handler) -> None:
    it.say(429, b"", Retry_After="soon")


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def run(url: str, ports: Ports | None = None, scratch: Path | None = None, **given: Any) -> Outcome:
    return run_executor(http, {"url": url, **given}, ports=ports, scratch=scratch)


def result(outcome: Outcome) -> Any:
    assert isinstance(outcome, Succeeded), outcome
    return outcome.result


def error(outcome: Outcome) -> Any:
    assert isinstance(outcome, Failed), outcome
    return outcome.error


def told(outcome: Outcome) -> Any:
    return result(outcome)["json"]


def test_the_result_is_status_url_headers_body_and_json(site: str) -> None:
    found = result(run(f"{site}/echo"))
    assert set(found) == {"status", "url", "headers", "body", "json"}
    assert found["status"] == 200
    assert found["url"] == f"{site}/echo"
    assert found["headers"]["content-type"] == "application/json"
    assert json.loads(found["body"]) == found["json"]
    assert found["json"]["headers"]["User-Agent"] == "yamlflow"


def test_params_headers_and_auth_are_sent(site: str) -> None:
    found = told(run(f"{site}/echo?x=1", params={"q": "a b", "n": [1, 2]}, headers={"X-A": 1, "X-B": True}))
    assert found["path"] == "/echo?x=1&q=a+b&n=1&n=2" or found["path"] == "/echo?q=a+b&n=1&n=2"
    assert (found["headers"]["X-A"], found["headers"]["X-B"]) == ("1", "true")
    assert told(run(f"{site}/echo", auth={"bearer": "t"}))["headers"]["Authorization"] == "Bearer t"
    basic = told(run(f"{site}/echo", auth={"username": "u", "password": "p"}))["headers"]["Authorization"]
    assert basic == "Basic dTpw"


@pytest.mark.parametrize(
    ("given", "body", "content_type"),
    [
        ({"json": {"a": [1]}}, '{"a":[1]}', "application/json"),
        ({"json": None}, "null", "application/json"),
        ({"form": {"a": "x y", "b": [1, 2]}}, "a=x+y&b=1&b=2", "application/x-www-form-urlencoded"),
        ({"body": "raw"}, "raw", None),
    ],
)
def test_a_body_makes_it_a_post(site: str, given: Any, body: str, content_type: str | None) -> None:
    found = told(run(f"{site}/echo", **given))
    assert found["method"] == "POST"
    assert found["body"].replace(" ", "") == body.replace(" ", "")
    assert found["headers"].get("Content-Type") == content_type


def test_the_method_can_be_named(site: str) -> None:
    assert told(run(f"{site}/echo", method="put", json=1))["method"] == "PUT"
    head = result(run(f"{site}/echo", method="HEAD"))
    assert (head["status"], head["body"]) == (200, "")
    assert result(run(f"{site}/204"))["body"] == ""


def test_a_body_is_text_in_its_charset_and_json_only_where_it_says_so(site: str) -> None:
    assert result(run(f"{site}/text"))["body"] == "grüße"
    assert result(run(f"{site}/text"))["json"] is None
    assert result(run(f"{site}/broken-json"))["json"] is None
    assert result(run(f"{site}/gzip"))["body"] == "small"
    assert result(run(f"{site}/deflate"))["body"] == "raw"


def test_a_body_that_is_no_text_is_kept_as_an_artifact_only(site: str, tmp_path: Path) -> None:
    found = error(run(f"{site}/binary"))
    assert (found.code, found.permanent) == ("bad_result", True)
    assert "save_as" in found.message
    outcome = run(f"{site}/binary", save_as="pic.png", scratch=tmp_path)
    assert isinstance(outcome, Succeeded)
    assert outcome.artifacts[0].content_type == "image/png"
    assert outcome.result["artifact"]["size"] == 5
    assert outcome.result["body"] is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("status", "permanent"), [(400, True), (404, True), (408, False), (429, False), (500, False)])
def test_a_status_of_400_and_above_fails_and_keeps_the_body(site: str, status: int, permanent: bool) -> None:
    found = error(run(f"{site}/{status}"))
    assert (found.code, found.permanent) == ("http_status", permanent)
    assert found.details["status"] == status
    assert found.details["json"] == {"why": "so"}
    assert f"answered {status}" in found.message


def test_expected_statuses_succeed_and_others_fail(site: str) -> None:
    assert result(run(f"{site}/404", expect=[200, 404]))["status"] == 404
    assert result(run(f"{site}/503", expect=["5xx"]))["status"] == 503
    assert error(run(f"{site}/echo", expect=[404])).code == "http_status"


def test_retry_after_is_honoured_in_seconds_and_as_a_date(site: str) -> None:
    for path, after in (("later", 7000), ("at", 90_000), ("soon", None)):
        outcome = run(f"{site}/{path}")
        assert isinstance(outcome, Failed)
        assert outcome.after == after


def test_redirects_are_followed_within_bounds(site: str) -> None:
    assert result(run(f"{site}/hop"))["url"] == f"{site}/echo"
    assert result(run(f"{site}/hop", redirects=False))["status"] == 302
    assert "redirects" in error(run(f"{site}/round")).message
    assert result(run(f"{site}/hop", redirects=0))["status"] == 302
    assert error(run(f"{site}/to-file")).code == "bad_input"


def test_a_proxy_is_asked_where_one_is_named(site: str) -> None:
    assert told(run("http://127.0.0.1:1/echo", proxy=site))["path"] == "http://127.0.0.1:1/echo"


def test_credentials_do_not_follow_to_another_host(site: str) -> None:
    other = site.replace("127.0.0.1", "localhost")

    @answer("/away")
    def away(it: Handler) -> None:
        it.say(302, b"", Location=f"{other}/echo")

    headers = told(run(f"{site}/away", auth={"bearer": "t"}))["headers"]
    assert "Authorization" not in headers


@answer("/carry")
def carry(it: Handler) -> None:
    it.say(307, b"", Location=ELSEWHERE["url"])


ELSEWHERE = {"url": ""}
KEYS = [
    "Authorization",
    "Cookie",
    "X-Api-Key",
    "Api-Key",
    "X-Auth-Token",
    "Ocp-Apim-Subscription-Key",
    "X-Secret",
    "X-Plain",
]


@pytest.mark.parametrize("name", KEYS)
def test_no_header_that_is_a_credential_or_holds_a_secret_follows_to_another_host(site: str, name: str) -> None:
    ELSEWHERE["url"] = site.replace("127.0.0.1", "localhost") + "/echo"
    masking = Masking()
    masking.add("hunter2hunter2")
    headers = {name: "hunter2hunter2" if name == "X-Plain" else "value", "Accept": "text/x", "X-Request": "7"}
    sent = headers_sent(run(f"{site}/carry", headers=headers, ports=Ports(masking=masking)))
    assert name.lower() not in sent
    assert (sent["accept"], sent["x-request"]) == ("text/x", "7")
    ELSEWHERE["url"] = f"{site}/echo"
    here = headers_sent(run(f"{site}/carry", headers={**headers, name: "value"}))
    # httpx keeps cookies by itself, and takes given ones along nowhere.
    assert here.get(name.lower()) == (None if name == "Cookie" else "value")


def headers_sent(outcome: Outcome) -> dict[str, str]:
    return {name.lower(): value for name, value in told(outcome)["headers"].items()}


def test_a_body_with_a_secret_does_not_follow_to_another_host(site: str) -> None:
    ELSEWHERE["url"] = site.replace("127.0.0.1", "localhost") + "/echo"
    masking = Masking()
    masking.add("hunter2hunter2")
    ports = Ports(masking=masking)
    assert told(run(f"{site}/carry", body="plain", ports=ports))["body"] == "plain"
    found = error(run(f"{site}/carry", json={"password": "hunter2hunter2"}, ports=ports))
    assert (found.code, found.permanent) == ("transport_error", True)
    assert "another host would carry a secret" in found.message


@pytest.mark.parametrize(
    ("first", "other", "same"),
    [
        ("http://a/", "http://a/x", True),
        ("http://a/", "http://a:80/", True),
        ("http://a/", "https://a/", True),
        ("https://a/", "http://a/", False),
        ("http://a/", "http://a:8080/", False),
        ("http://a:8080/", "https://a/", False),
        ("http://a/", "http://a.evil/", False),
        ("http://a/", "http://a@evil/", False),
    ],
)
def test_what_counts_as_another_host(first: str, other: str, same: bool) -> None:
    assert http_module.same_server(httpx.URL(first), httpx.URL(other)) is same


# Bounds.


@answer("/years")
def years(it: Handler) -> None:
    it.say(503, b"", Retry_After="999999999")


@answer("/many-headers")
def many_headers(it: Handler) -> None:
    it.send_response(200)
    for number in range(100_000):
        it.send_header(f"X-{number}", "x" * 1000)
    it.end_headers()


@answer("/long-header")
def long_header(it: Handler) -> None:
    it.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        it.wfile.write(b"x" * 65536)


@answer("/continues")
def continues(it: Handler) -> None:
    while True:
        it.wfile.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)


@answer("/wrong-length")
def wrong_length(it: Handler) -> None:
    it.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nabcdefg")
    it.close_connection = True


def test_a_server_cannot_have_us_wait_for_years(site: str) -> None:
    outcome = run(f"{site}/years")
    assert isinstance(outcome, Failed)
    assert outcome.after == 24 * 3600 * 1000


@pytest.mark.parametrize("path", ["many-headers", "long-header", "wrong-length", "continues"])
def test_headers_without_end_or_sense_are_a_transport_error(site: str, path: str) -> None:
    found = error(run(f"{site}/{path}", timeout="500ms"))
    assert (found.code, found.permanent) == ("transport_error", False)


def test_an_endless_body_is_cut_off(site: str) -> None:
    assert "more than 1,048,576 bytes" in error(run(f"{site}/endless")).message
    assert "more than 2,048 bytes" in error(run(f"{site}/endless", max_size="2kB", save_as="x")).message


def test_a_gzip_bomb_is_cut_off(site: str) -> None:
    assert "more than 1,048,576 bytes" in error(run(f"{site}/bomb")).message
    assert error(run(f"{site}/twice")).code == "bad_result"
    assert error(run(f"{site}/not-gzip")).code == "bad_result"


def test_decompression_gives_no_more_than_is_asked_for() -> None:
    bomb_ = gzip.compress(bytes(10_000_000))
    assert len(decoder_for("gzip").feed(bomb_, 1000)) == 1000


def test_a_slow_drip_ends_at_the_timeout(site: str) -> None:
    found = error(run(f"{site}/drip", timeout="300ms"))
    assert (found.code, found.permanent) == ("transport_error", False)
    assert "within 300ms" in found.message


def test_a_body_shorter_than_it_says_is_a_transport_error(site: str) -> None:
    assert error(run(f"{site}/short")).code == "transport_error"


def test_nobody_there_is_a_transport_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = error(run(f"http://127.0.0.1:{port}/"))
    assert (found.code, found.permanent) == ("transport_error", False)
    found = error(run("http://nosuch.invalid/"))
    assert (found.code, found.permanent) == ("transport_error", False)
    assert "cannot be resolved" in found.message


@pytest.mark.parametrize(
    ("url", "given"),
    [
        ("", {}),
        ("ftp://127.0.0.1/", {}),
        ("file:///etc/passwd", {}),
        ("http://", {}),
        ("http://[::1", {}),
        ("http://a:b:c/", {}),
        ("http://x:99999/", {}),
        ("http://127.0.0.1/", {"headers": {"A": "b\r\nC: d"}}),
        ("http://127.0.0.1/", {"headers": {"A\n": "b"}}),
        ("http://127.0.0.1/", {"json": 1, "body": "x"}),
        ("http://127.0.0.1/", {"timeout": "5"}),
        ("http://127.0.0.1/", {"expect": [700]}),
        ("http://127.0.0.1/", {"max_size": "many"}),
        ("http://127.0.0.1/", {"proxy": "socks5://x"}),
    ],
)
def test_a_request_that_cannot_be_is_bad_input(url: str, given: Any) -> None:
    found = error(run(url, **given))
    assert (found.code, found.permanent) == ("bad_input", True), found


# Addresses.

LOOPBACK = ["127.0.0.1", "localhost", "0", "0x7f000001", "2130706433", "127.1", "017700000001", "[::1]",
            "[::ffff:127.0.0.1]", "①②⑦.⓪.⓪.①"]  # fmt: skip


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_in_any_spelling_is_denied_where_only_public_addresses_are_allowed(site: str, host: str) -> None:
    port = site.rpartition(":")[2]
    found = error(run(f"http://{host}:{port}/echo", addresses="public"))
    assert found.code in ("address_denied", "bad_input")
    assert found.permanent


def test_the_worker_can_deny_what_the_package_allows(site: str) -> None:
    assert error(run(f"{site}/echo", ports=Ports(addresses="public"))).code == "address_denied"


def test_the_worker_can_allow_and_deny_networks(site: str) -> None:
    port = site.rpartition(":")[2]

    def code(setting: str, host: str = "127.0.0.1", **given: Any) -> str:
        outcome = run(f"http://{host}:{port}/text", ports=Ports(addresses=setting), **given)
        return "reached" if isinstance(outcome, Succeeded) else outcome.error.code  # type: ignore[union-attr]

    assert code("default") == "reached"
    assert code("public") == "address_denied"
    assert code("public,+127.0.0.0/8") == "reached"
    assert code("public,+127.0.0.0/8", "[::ffff:127.0.0.1]") == "reached"
    assert code("public,+127.0.0.0/8,-127.0.0.1") == "address_denied"
    assert code("-127.0.0.0/8", "localhost") == "address_denied"
    # What the package itself asks for, nobody widens.
    assert code("public,+127.0.0.0/8", addresses="public") == "address_denied"
    assert reach("+169.254.169.254").refusal("169.254.169.254") is None
    assert reach("+169.254.169.254").refusal("169.254.169.253")


@pytest.mark.parametrize("text", ["private", "+nonsense", "-", "+", "10.0.0.0/8", "public;default", "+10.0.0.0/99"])
def test_a_setting_that_says_nothing_about_addresses_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="says nothing about addresses"):
        reach(text)


def test_a_proxy_is_judged_like_any_other_server(site: str) -> None:
    assert error(run("http://example.com/", proxy="http://169.254.169.254:3128")).code == "address_denied"
    assert error(run("http://1.1.1.1/", proxy=site, addresses="public")).code == "address_denied"


SPELLINGS = ["169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "169.16689662",
             "①⑥⑨.②⑤④.①⑥⑨.②⑤④",
             "169.254.169.254.", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::]",
             "[fe80::1%25lo]", "[fe80::1]", "[fd00:ec2::254]", "user:pw@169.254.169.254", "example.com@169.254.169.254",
             "169。254。169。254", "100.100.100.200"]  # fmt: skip


@pytest.mark.parametrize("host", SPELLINGS)
def test_a_metadata_address_is_denied_however_it_is_written(host: str) -> None:
    found = error(run(f"http://{host}/latest/", timeout="2s"))
    # A spelling that no resolver takes for an address is refused as none, or not found.
    assert found.code in ("address_denied", "bad_input") or "cannot be resolved" in found.message, found


def test_nothing_is_taken_from_the_environment_or_netrc(
    site: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login u password p\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    assert "Authorization" not in told(run(f"{site}/echo"))["headers"]


@pytest.mark.parametrize(
    "given",
    [
        {"url": "http://127.0.0.1:1/a\r\nHost: evil"},
        {"url": "http://127.0.0.1:1\r\n.evil/"},
        {"method": "GET\r\nX: y"},
        {"method": "GET / HTTP/1.1"},
        {"headers": {"A": "b\nC: d"}},
        {"headers": {"A": "b\0"}},
        {"headers": {"A: b\r\nC": "d"}},
        {"headers": {"": "d"}},
    ],
)
def test_no_value_adds_a_line_to_a_request(given: Any) -> None:
    assert error(run(**{"url": "http://127.0.0.1:1/", **given})).code == "bad_input"


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate),
         "-subj", "/CN=localhost", "-days", "1"],
        capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode and not os.environ.get("CI"):
        pytest.skip("openssl is missing")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    url = f"https://localhost:{server.server_port}/text"
    found = error(run(url))
    assert found.code == "transport_error"
    assert "certificate" in found.message
    assert result(run(url, verify=False))["status"] == 200
    server.shutdown()
    server.server_close()
    thread.join()


def test_metadata_is_denied_by_default_also_behind_a_redirect(site: str) -> None:
    assert error(run("http://169.254.169.254/")).code == "address_denied"
    assert error(run("http://[fe80::1]/")).code == "address_denied"
    assert error(run(f"{site}/to-metadata")).code == "address_denied"
    assert error(run("http://169.254.169.254/", proxy=site)).code == "address_denied"


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "127.8.8.8", "0.0.0.0", "::", "::1", "fd00::1", "240.0.0.1",
     "192.0.2.1", "::ffff:10.0.0.1", "::10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "224.0.0.1", "ff02::1",
     "255.255.255.255", "fec0::1", "::ffff:0:10.0.0.1", "100::1", "2001:db8::1", "nonsense"],
)  # fmt: skip
def test_private_addresses_are_not_public(address: str) -> None:
    assert PUBLIC.refusal(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert DEFAULT.refusal(address) is None
    if not address.startswith("64"):
        assert PUBLIC.refusal(address) is None


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "100.100.100.200",
     "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "64:ff9b:1::a9fe:a9fe", "::169.254.169.254",
     "::ffff:0:169.254.169.254", "febf::1", "168.63.129.16", "fd20:ce::254"],
)  # fmt: skip
def test_link_local_and_metadata_addresses_are_always_denied(address: str) -> None:
    assert DEFAULT.refusal(address)


def test_a_name_is_resolved_once_and_that_address_is_connected_to(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    really = socket.getaddrinfo

    def rebinding(host: Any, *rest: Any, **more: Any) -> Any:
        if host != "rebind.test":
            return really(host, *rest, **more)
        asked.append(host)
        return really("127.0.0.1" if len(asked) == 1 else "169.254.169.254", *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    port = site.rpartition(":")[2]
    assert told(run(f"http://rebind.test:{port}/echo"))["headers"]["Host"] == f"rebind.test:{port}"
    assert asked == ["rebind.test"]


# Secrets.


def test_a_secret_is_masked_in_url_and_error_and_refused_in_a_result(site: str) -> None:
    masking = Masking()
    masking.add("hunter2hunter2")
    ports = Ports(masking=masking)
    assert result(run(f"{site}/text?token=hunter2hunter2", ports=ports))["url"].endswith("token=***")
    found = error(run(f"{site}/echo?token=hunter2hunter2", ports=ports))
    assert found.code == "secret_in_result"
    assert "hunter2" not in str(error(run(f"{site}/404?token=hunter2hunter2", ports=ports)))


def test_limits_bound_what_an_error_keeps(site: str) -> None:
    found = error(run(f"{site}/404", ports=Ports(limits=Limits(tail=4))))
    assert found.details["body"] == '{"wh…'


def test_moments_compare() -> None:
    assert datetime.fromtimestamp(T0 / 1000, UTC) == to_datetime(T0)
