"""Requests to addresses that somebody else named, kept out of this machine's own networks.

Takes a URL and the networks it may lead to. The name is looked up once, every address is checked,
and a checked one is connected to: no second lookup can say otherwise. The server name (SNI) and the
certificate remain those of the host name.

Names are looked up by the system's resolver, in few threads. `getaddrinfo` cannot be cancelled: a
thread that waits for a silent resolver hangs for half a minute, whatever its caller's timeout. So
the number of threads is bounded, concurrent lookups of one name share a thread, and when all hang
another name fails at once.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from itertools import zip_longest
from typing import Any

import httpx2

from sessions_kms.concurrency.threads import BoundedPool

LOOKUPS_MAX = 8  # names that one process looks up at once

AddressInfo = list[tuple[Any, ...]]  # as `socket.getaddrinfo` returns them
Resolver = Callable[..., AddressInfo]

ATTEMPTS_MAX = 3  # addresses of one name
FIRST_CONNECT_TIMEOUT = 1.0  # seconds for an address that is not the last one to try
LOOPBACK_NAMES = ("127.0.0.1", "::1", "localhost")

# What is neither global unicast (RFC 4291 section 2.4) nor carries an IPv4 address reaches
# nothing that a stranger could name.
_THIS_HOST = IPv4Network("0.0.0.0/8")  # RFC 1122 section 3.2.1.3; Linux connects it to itself
UNICAST = IPv6Network("2000::/3")
COMPATIBLE = IPv6Network("::/96")  # RFC 4291 section 2.5.5.1, deprecated
NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052; networks with IPv6 alone reach IPv4 by it


class Lookups:
    """The lookups that are running, up to a limit."""

    def __init__(self, resolver: Resolver | None = None, at_once: int = LOOKUPS_MAX) -> None:
        self._resolver = resolver
        self._pool: BoundedPool[AddressInfo] = BoundedPool(at_once)

    def start(self, *asked: Any) -> Future[AddressInfo]:
        """Start a lookup, or join a running one; takes the arguments of `getaddrinfo`.

        Raises Refused if too many are running. Cancelling the future does not end the lookup for
        other callers.
        """
        return self._pool.begin(asked, partial(self._resolver or socket.getaddrinfo, *asked))


class BoundedLoop(asyncio.SelectorEventLoop):
    """An event loop that looks names up here, and not in threads of its own."""

    def __init__(self) -> None:
        try:
            super().__init__()
        except OSError:  # No descriptor is left.
            self._closed = True  # else Python fails to close it, and writes a traceback
            raise

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the base class's name
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """Look a name up. Raises OSError, Refused among them."""
        return await asyncio.wrap_future(_lookups.start(host, port, family, type, proto, flags))


async def resolve_host(host: str) -> list[str]:
    """Return the addresses of a name, in the resolver's order.

    Raises OSError, Refused among them, and ValueError for what is no name.
    """
    if _is_address(host):
        return [host]
    rows = await asyncio.wrap_future(_lookups.start(host, None, 0, socket.SOCK_STREAM))
    return list(dict.fromkeys(str(row[4][0]) for row in rows))


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _replace_lookups() -> None:
    global _lookups  # noqa: PLW0603 - a forked child has none of the threads
    _lookups = Lookups()


_lookups = Lookups()
os.register_at_fork(after_in_child=_replace_lookups)


class Network(Enum):
    """Where an address is. Whatever is not reachable from everywhere is at least private."""

    GLOBAL = "global"
    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"
    PRIVATE = "private"


@dataclass(frozen=True)
class Reach:
    """Where requests may go: the networks, and who vouches for the names of the hosts there.

    ``ca_file`` is a PEM file whose certificates count in place of the public authorities'.
    """

    networks: frozenset[Network]
    ca_file: str | None = None

    def with_network_of(self, address: str) -> Reach:
        """Return this reach, and the kind of network where an address is."""
        return replace(self, networks=self.networks | {network_of(address)})


PUBLIC = Reach(frozenset({Network.GLOBAL}))
ANYWHERE = Reach(frozenset(Network))
Resolve = Callable[[str], Awaitable[list[str]]]


class AddressRejected(OSError):
    """The host is, by one of its addresses, in a network that may not be reached."""


def network_of(address: str) -> Network:
    """Return where an address is, by what it carries if it carries another.

    Raises ValueError when it is none.
    """
    found = ip_address(address)
    if isinstance(found, IPv4Address):
        return _network_of_ipv4(found)
    if found.is_loopback or found.is_unspecified:  # Linux connects both to itself
        return Network.LOOPBACK
    if found.is_link_local:
        return Network.LINK_LOCAL
    carried = _embedded_ipv4(found)
    if carried is not None:
        network = _network_of_ipv4(carried)
        # Nobody is reached over 6to4 any more (RFC 7526).
        return Network.PRIVATE if found.sixtofour and network is Network.GLOBAL else network
    return Network.GLOBAL if found in UNICAST and found.is_global else Network.PRIVATE


def is_private_address(address: str) -> bool:
    """Tell whether an address is in no network of the whole world's; what is none is not."""
    try:
        return network_of(address) is not Network.GLOBAL
    except ValueError:
        return False


def _network_of_ipv4(address: IPv4Address) -> Network:
    if address.is_loopback or address in _THIS_HOST:
        return Network.LOOPBACK
    if address.is_link_local:
        return Network.LINK_LOCAL
    usable = address.is_global and not address.is_multicast
    return Network.GLOBAL if usable else Network.PRIVATE


def _embedded_ipv4(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 one leads to."""
    if address in NAT64 or address in COMPATIBLE:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _alternate_families(addresses: list[str]) -> list[str]:
    """Return addresses so that both kinds come in turn, as RFC 8305 section 4 has it.

    Some names have more IPv6 addresses than are tried, and many a network none that leads on.
    """
    versions = [ip_address(each).version for each in addresses]
    pairs = list(zip(addresses, versions, strict=True))
    first = [address for address, version in pairs if version == versions[0]]
    second = [address for address, version in pairs if version != versions[0]]
    return [each for pair in zip_longest(first, second) for each in pair if each is not None]


class VettedTransport(httpx2.AsyncBaseTransport):
    """Sends requests of `httpx2` to addresses within reach only.

    ``resolve`` returns the addresses of a name. Raises AddressRejected, besides what
    `httpx2` and ``resolve`` raise. Each answer's extension `peer` is the address that gave it.
    Without TLS none but private networks are within reach: anybody between would read the
    secrets, and answer.
    """

    def __init__(
        self, reach: Reach, *, verify: ssl.SSLContext, resolve: Resolve = resolve_host
    ) -> None:
        self._reach = reach
        self._resolve = resolve
        self._transport = httpx2.AsyncHTTPTransport(verify=verify, trust_env=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send to the first address that can be connected to."""
        __traceback_hide__ = True
        # As it goes over the network: Python's own encoding would make another name of some.
        host = request.url.raw_host.decode("ascii")
        *others, last = await self._vetted(host, is_plain=request.url.scheme == "http")
        for address in others:
            try:
                return await self._send(request, address, FIRST_CONNECT_TIMEOUT)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue  # nothing was sent yet
        return await self._send(request, last, None)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def _vetted(self, host: str, *, is_plain: bool) -> list[str]:
        if not host:
            raise AddressRejected("The address names no host.")
        addresses = await self._resolve(host)
        if not addresses:
            raise OSError("The host has no address.")
        for address in addresses:
            if (network := network_of(address)) not in self._reach.networks:
                raise AddressRejected(f"The host is at a {network.value} address.")
            if is_plain and network is Network.GLOBAL:
                raise AddressRejected(
                    "The host is in the Internet, and would be asked without TLS."
                )
        return _alternate_families(addresses)[:ATTEMPTS_MAX]

    async def _send(
        self, request: httpx2.Request, address: str, connect: float | None
    ) -> httpx2.Response:
        __traceback_hide__ = True
        timeout = dict(request.extensions.get("timeout", {}))
        if connect is not None:
            timeout["connect"] = connect
        name = request.url.raw_host.decode("ascii")
        response = await self._transport.handle_async_request(
            httpx2.Request(
                method=request.method,
                url=request.url.copy_with(host=address),
                headers=request.headers,  # `Host` among them, as it was
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": name, "timeout": timeout},
            )
        )
        response.extensions["peer"] = address
        return response
