"""The connections of ``http`` steps: pinned to judged addresses, shared by the steps that run at the same time.

A name is resolved by us, judged, and the very address that was judged is connected to; a redirect is a new request and
judged anew. Imports httpx, so it is itself imported only when an http step runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
import weakref
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

import httpcore
import httpx

from ..addresses import DEFAULT, Reach
from ..errors import Permanent


@dataclass(frozen=True, kw_only=True)
class Way:
    """How servers are reached; steps that go the same way share connections."""

    #: Every one of these must allow an address.
    reach: tuple[Reach, ...] = (DEFAULT,)
    proxy: str | None = None
    #: Whether a server's certificate is checked.
    verify: bool = True


async def resolve(host: str, port: int, reach: Iterable[Reach]) -> list[str]:
    """The addresses of a host, all of them allowed; ``Permanent`` (``address_denied``) when any is not.

    Raises ``OSError`` when the name cannot be resolved.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        for rule in reach:
            if reason := rule.refusal(address):
                raise Permanent("address_denied", f"{host}: {reason}")
    return addresses


class PinnedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to addresses that it has resolved and judged itself."""

    def __init__(self, reach: Iterable[Reach]) -> None:
        self._reach = tuple(reach)
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address that answers; ``Permanent`` when any of them is denied."""
        try:
            addresses = await resolve(host, port, self._reach)
        except (OSError, UnicodeError) as wrong:
            raise httpcore.ConnectError(f"{host} cannot be resolved: {wrong}") from wrong
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as wrong:
                failure = wrong
        raise failure

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Never."""
        raise httpcore.ConnectError("unix sockets are not reached from steps")

    async def sleep(self, seconds: float) -> None:
        """Between httpcore's own attempts, of which there are none."""
        await self._network.sleep(seconds)


class Transport(httpx.AsyncBaseTransport):
    """httpx on a pool of pinned connections."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._pool = _pool(way)
        #: Steps that use it just now.
        self.users = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; httpcore's exceptions go through as they are."""
        if self._way.proxy is not None:
            await self._judge_behind_proxy(request.url)
        assert isinstance(request.stream, httpx.AsyncByteStream)
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        sent = httpcore.Request(
            method=request.method,
            url=url,
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        answer = await self._pool.handle_async_request(sent)
        return httpx.Response(
            status_code=answer.status, headers=answer.headers, stream=Body(answer), extensions=answer.extensions
        )

    async def _judge_behind_proxy(self, url: httpx.URL) -> None:
        """The proxy resolves for itself; what we can tell of the target is judged all the same."""
        with contextlib.suppress(OSError, UnicodeError):
            await resolve(url.host, url.port or 80, self._way.reach)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


class Body(httpx.AsyncByteStream):
    """The bytes of a response as they come in."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._answer.aiter_stream():
            yield part

    async def aclose(self) -> None:
        """Give the connection back."""
        await self._answer.aclose()


def _pool(way: Way) -> httpcore.AsyncConnectionPool:
    if way.proxy is None:
        return httpcore.AsyncConnectionPool(
            ssl_context=certificates(way.verify), keepalive_expiry=5.0, network_backend=PinnedNetwork(way.reach)
        )
    proxy = httpx.Proxy(way.proxy)
    url = httpcore.URL(
        scheme=proxy.url.raw_scheme, host=proxy.url.raw_host, port=proxy.url.port, target=proxy.url.raw_path
    )
    return httpcore.AsyncHTTPProxy(
        proxy_url=url,
        proxy_auth=proxy.raw_auth,
        ssl_context=certificates(way.verify),
        keepalive_expiry=5.0,
        network_backend=PinnedNetwork(way.reach),
    )


@functools.cache
def certificates(verify: bool) -> ssl.SSLContext:
    """The context for TLS, made once: loading the certificates takes tens of milliseconds."""
    return httpx.create_ssl_context(verify=verify, trust_env=False)


_shared: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Way, Transport]] = weakref.WeakKeyDictionary()


@contextlib.asynccontextmanager
async def shared(way: Way) -> AsyncIterator[Transport]:
    """The transport of this event loop for a way; closed when the last step that uses it is done."""
    transports = _shared.setdefault(asyncio.get_running_loop(), {})
    transport = transports.get(way) or transports.setdefault(way, Transport(way))
    transport.users += 1
    try:
        yield transport
    finally:
        transport.users -= 1
        if transport.users == 0:
            del transports[way]
            await transport.aclose()
