"""The HTTP client: one connection pool a process.

A transport, not a client: it follows no redirect, keeps no cookie, adds no header and
knows no proxy of the environment's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from weakref import WeakKeyDictionary

import httpx2

from gateway_site.gateway import paths
from gateway_site.gateway.headers import Headers
from gateway_site.gateway.upstreams import Upstream

MAX_CONNECTIONS = 4096
MAX_IDLE = 64
IDLE_EXPIRY = 4.0  # seconds; uvicorn and Node close after 5, and whoever closes first wins
WRITE_TIMEOUT = 60.0  # seconds in which an upstream must take the next piece of a body

_transports: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx2.AsyncHTTPTransport]
_transports = WeakKeyDictionary()


def transport() -> httpx2.AsyncHTTPTransport:
    """Return the pool of the running event loop, of which a process has one."""
    loop = asyncio.get_running_loop()
    if loop not in _transports:
        limits = httpx2.Limits(
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_IDLE,
            keepalive_expiry=IDLE_EXPIRY,
        )
        _transports[loop] = httpx2.AsyncHTTPTransport(limits=limits)
    return _transports[loop]


async def close() -> None:
    """Close the pool of the running event loop."""
    if pool := _transports.pop(asyncio.get_running_loop(), None):
        await pool.aclose()


class Content(httpx2.AsyncByteStream):
    """A body that is asked for piece by piece."""

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._pieces:
            yield piece


def request(
    upstream: Upstream, method: str, target: str, headers: Headers, content: AsyncIterable[bytes]
) -> httpx2.Request:
    """Return a request, its headers as given and `Host`.

    Raises PathRefused when the client reads the target otherwise than it was meant.
    """
    url = httpx2.URL(target)
    read = str(url.copy_with(fragment=None))
    host = url.host
    if (
        read != target
        or url.userinfo
        or not paths.is_target(upstream, read, scheme=url.scheme, host=host, port=url.port)
    ):
        raise paths.PathRefused("The address cannot be passed on.")
    timeout = {
        "connect": float(upstream.connect_timeout),
        "pool": float(upstream.connect_timeout),
        "write": WRITE_TIMEOUT,
        "read": None,  # whoever reads has deadlines of its own
    }
    named = [(b"host", url.netloc), *headers]
    return httpx2.Request(
        method, url, headers=named, stream=Content(content), extensions={"timeout": timeout}
    )
