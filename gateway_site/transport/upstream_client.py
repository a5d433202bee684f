"""The HTTP client: sends a request over a connection of its owner, and returns the response.

It follows no redirects, stores no cookies, adds no headers, and ignores proxies in the environment.
HTTP/1.1 only: a connection has one call at a time.
"""

import asyncio
import logging
import os
import ssl
from collections.abc import Hashable
from contextlib import suppress
from contextvars import Context
from dataclasses import replace
from functools import cache, partial
from typing import Any

from django.dispatch import receiver

from gateway_site.edge import descriptors
from gateway_site.rules.upstream import Upstream
from gateway_site.transport import connection
from gateway_site.transport.connection import Http1Connection, Response
from gateway_site.transport.failures import ConnectError, ConnectTimeout, Unheard
from gateway_site.transport.messages import Request, Server
from gateway_site.transport.places import Busy
from gateway_site.transport.pool import ConnectionPool, Lease, Limits, Owner
from oauth import is_private_address, tls_context
from sessions_kms.signals import session_cycled, session_ended

logger = logging.getLogger(__name__)

IDLE_SHARE = 4  # a quarter of the idle connections may be one person's

Pool = ConnectionPool[Http1Connection]
_pools: dict[asyncio.AbstractEventLoop, Pool] = {}
os.register_at_fork(after_in_child=_pools.clear)  # their loops are the parent's


def pool() -> Pool:
    """Return the connections of the running event loop; each loop has its own."""
    loop = asyncio.get_running_loop()
    if loop not in _pools:
        for ended in [each for each in _pools.copy() if each.is_closed()]:
            _pools.pop(ended, None)
        # The context of a timer lives as long as the timer, and a call's holds its request.
        call_later = partial(loop.call_later, context=Context())
        _pools[loop] = ConnectionPool(limits(), loop.time, call_later)
    return _pools[loop]


def limits() -> Limits:
    """Return the usual limits, or lower ones if this process has too few file descriptors."""
    found = Limits()
    fitting = descriptors.max_connections(descriptors.descriptor_limit())
    idle = min(found.idle, fitting)
    return replace(
        found,
        in_all=min(found.in_all, fitting),
        per_upstream=min(found.per_upstream, fitting),
        idle=idle,
        idle_per_person=max(1, idle // IDLE_SHARE),
    )


async def close() -> None:
    """Close the connections of the running event loop."""
    if found := _pools.pop(asyncio.get_running_loop(), None):
        found.close()
        await asyncio.sleep(0)  # in which the loop closes their sockets


@receiver(session_ended, dispatch_uid="gateway.session_ended")
def close_those_of_session(session: str, **_: Any) -> None:
    """Close a session's idle connections in all event loops; any thread may call this.

    The signal has the beginning of the session's id. Another session's may be the same; its next
    call then makes a new connection. A call that was admitted just before may connect afterwards:
    its idle connection cannot be used by others, and expires.
    """
    for loop, found in _pools.copy().items():  # A copy: other threads add theirs.
        with suppress(RuntimeError):  # the loop has ended, and so have its connections
            loop.call_soon_threadsafe(found.end, session)


@receiver(session_cycled, dispatch_uid="gateway.session_cycled")
def close_those_of_previous(previous: str, **_: Any) -> None:
    """Close the connections that a session had under its previous key."""
    close_those_of_session(previous)


async def send(owner: Owner, upstream: Upstream, request: Request) -> Response:
    """Send a request and return the response, which the caller closes; its body is still to come.

    An upstream may close an idle connection at the moment of its use: then a request that changes
    nothing is sent again, on a new one. Raises UpstreamFailed, and Busy where all connections
    are in use, or no descriptor is left for one more.
    """
    own, of = pool(), (upstream.name, upstream.origin, upstream.ca_file)
    lease = own.take_idle(of, owner) or await _made(own, of, owner, upstream, request)
    try:
        return await _asked(own, lease, upstream, request)
    except Unheard:
        if not request.is_repeatable:
            raise
    lease = await _made(own, of, owner, upstream, request, anew=True)
    return await _asked(own, lease, upstream, request)


async def _made(
    own: Pool,
    of: Hashable,
    owner: Owner,
    upstream: Upstream,
    request: Request,
    *,
    anew: bool = False,
) -> Lease[Http1Connection]:
    """Return a connection; a new one unless an idle one is allowed."""
    seconds = float(upstream.connect_timeout)
    connect = partial(_connected, upstream, request.server, seconds)
    return await own.take(of, owner, connect, seconds=seconds, anew=anew)


async def _asked(
    own: Pool, lease: Lease[Http1Connection], upstream: Upstream, request: Request
) -> Response:
    give_back = partial(own.give_back, lease)
    try:
        return await lease.connection.send(request, seconds=upstream.read_timeout, ended=give_back)
    except BaseException:
        give_back()
        raise


async def _connected(upstream: Upstream, server: Server, seconds: float) -> Http1Connection:
    try:
        tls = _tls(upstream.ca_file) if server.has_tls else None
        made = await connection.connect(server.host, server.port, tls, seconds=seconds)
    except TimeoutError:
        raise ConnectTimeout from None
    except (OSError, UnicodeError):
        raise (ConnectError if descriptors.is_any_left() else Busy) from None
    if tls is None and not is_private_address(made.peer):
        made.close()
        logger.error("%s has a public address, and is not called without TLS.", upstream.name)
        raise ConnectError
    return made


@cache  # one for each configuration; creating it takes tens of milliseconds
def _tls(ca_file: str | None) -> ssl.SSLContext:
    context = tls_context(ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context
