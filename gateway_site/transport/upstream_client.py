"""The HTTP client: a request enters, goes over a connection of its owner's, an answer leaves.

It follows no redirect, keeps no cookie, adds no header and knows no proxy of the
environment's. HTTP/1.1 only: one call at a time is on a connection.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any

import httpx2
from django.dispatch import receiver

from gateway_site.edge import descriptors
from gateway_site.rules import url_rules
from gateway_site.rules.headers import Headers
from gateway_site.rules.upstream import Upstream
from gateway_site.transport import wire
from gateway_site.transport.connections import Connections, Limits, Owner
from gateway_site.transport.http1 import Http1Connection
from oauth import is_private
from sessions_kms.signals import session_cycled, session_ended

logger = logging.getLogger(__name__)

Pool = Connections[Http1Connection]
_pools: dict[asyncio.AbstractEventLoop, Pool] = {}
os.register_at_fork(after_in_child=_pools.clear)  # their loops are the parent's


def pool() -> Pool:
    """Return the connections of the running event loop, which are in it alone."""
    loop = asyncio.get_running_loop()
    if loop not in _pools:
        for ended in [each for each in _pools.copy() if each.is_closed()]:
            _pools.pop(ended, None)
        _pools[loop] = Connections(_limits(), loop.time, loop.call_later)
    return _pools[loop]


def _limits() -> Limits:
    """Return the usual limits, or what the descriptors of this process leave for upstreams."""
    found = Limits()
    fitting = descriptors.each_way(descriptors.allowed())
    return replace(found, in_all=min(found.in_all, fitting), idle=min(found.idle, fitting))


async def close() -> None:
    """Close the connections of the running event loop."""
    if found := _pools.pop(asyncio.get_running_loop(), None):
        found.close()
        await asyncio.sleep(0)  # in which the loop lets go of their sockets


@receiver(session_ended, dispatch_uid="gateway.session_ended")
def close_those_of_session(session: str, **_: Any) -> None:
    """Close what a session has idle in any event loop; it is called in whichever thread.

    The signal tells the beginning of the session's id. That may be another's too, whose next
    call then makes a connection anew. A call that was admitted just before may connect just
    after: what it leaves idle nobody can take, and it expires.
    """
    for loop, found in _pools.copy().items():  # A copy: other threads add theirs.
        with suppress(RuntimeError):  # the loop has ended, and so have its connections
            loop.call_soon_threadsafe(found.end, session)


@receiver(session_cycled, dispatch_uid="gateway.session_cycled")
def close_those_of_previous(previous: str, **_: Any) -> None:
    """Close what a session had under the key that it had before."""
    close_those_of_session(previous)


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
        or not url_rules.is_target(upstream, read, scheme=url.scheme, host=host, port=url.port)
    ):
        raise url_rules.PathRefused("The address cannot be passed on.")
    named = [(b"host", url.netloc), *headers]
    return httpx2.Request(method, url, headers=named, stream=Content(content))


async def ask(owner: Owner, upstream: Upstream, request: httpx2.Request) -> httpx2.Response:
    """Send a request and return the answer, which the caller closes; its body is still to come.

    Raises httpx2.HTTPError, and Busy where all connections are in use.
    """
    patience = float(upstream.connect_timeout)
    own = pool()
    lease = await own.take(
        upstream, owner, lambda: _connected(upstream, request.url, patience), patience=patience
    )
    try:
        return await lease.connection.ask(request, ended=lambda: own.give_back(lease))
    except BaseException:
        own.give_back(lease)
        raise


async def _connected(upstream: Upstream, url: httpx2.URL, patience: float) -> Http1Connection:
    tls = _tls(upstream.ca_file) if url.scheme == "https" else None
    host, port = url.raw_host.decode("ascii"), url.port or (443 if tls else 80)
    try:
        made = await wire.connected(host, port, tls, patience=patience)
        if tls is None and not is_private(made.peer):
            made.close()
            logger.error("%s is in the Internet, and is not asked without TLS.", upstream.name)
            raise httpx2.ConnectError("The upstream was not reached.")
        return Http1Connection(made)
    except TimeoutError:
        raise httpx2.ConnectTimeout("The upstream was not reached in time.") from None
    except (OSError, UnicodeError):
        raise httpx2.ConnectError("The upstream was not reached.") from None


@cache  # there are as many as are configured
def _tls(ca_file: str | None) -> ssl.SSLContext:
    if ca_file is not None:
        context = ssl.create_default_context(cafile=ca_file)
    else:
        context = httpx2.create_ssl_context()  # takes tens of milliseconds to make
    context.set_alpn_protocols(["http/1.1"])
    return context
