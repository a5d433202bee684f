"""Requests to URLs from untrusted documents, kept out of this machine's private networks.

Takes a URL and the networks it may lead to. The host name is resolved once, every address is
checked, and the connection goes to a checked address, so a second lookup cannot return a different
one. The server name (SNI) and the certificate remain those of the host name.

Names are resolved by the system's resolver, in few threads. `getaddrinfo` cannot be cancelled: a
thread that waits for a silent resolver hangs for half a minute, regardless of its caller's timeout.
So the number of threads is limited, concurrent lookups of one name share a thread, and while all
threads hang, a lookup of another name fails at once.
"""

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

LOOKUPS_MAX = 8  # concurrent lookups of one process

AddressInfo = list[tuple[Any, ...]]  # as `socket.getaddrinfo` returns them
Resolver = Callable[..., AddressInfo]

ATTEMPTS_MAX = 3  # addresses of one name
FIRST_CONNECT_TIMEOUT = 1.0  # seconds for an address that is not the last one to try
LOOPBACK_NAMES = ("127.0.0.1", "::1", "localhost")

# No other IPv6 address can be global: it must be global unicast (RFC 4291 section 2.4) or contain
# an IPv4 address.
_THIS_HOST = IPv4Network("0.0.0.0/8")  # RFC 1122 section 3.2.1.3; Linux connects it to itself
UNICAST = IPv6Network("2000::/3")
COMPATIBLE = IPv6Network("::/96")  # RFC 4291 section 2.5.5.1, deprecated
NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052; how IPv6-only networks reach IPv4


class Lookups:
    """The lookups that are running, up to a limit."""

    def __init__(self, resolver: Resolver | None = None, maximum: int = LOOKUPS_MAX) -> None:
        self._resolver = resolver
        self._pool: BoundedPool[AddressInfo] = BoundedPool(maximum)

    def start(self, *args: Any) -> Future[AddressInfo]:
        """Start a lookup, or join a running one; takes the arguments of `getaddrinfo`.

        Raises Refused if too many are running. Cancelling the future does not end the lookup for
        other callers.
        """
        return self._pool.begin(args, partial(self._resolver or socket.getaddrinfo, *args))


class BoundedLoop(asyncio.SelectorEventLoop):
    """An event loop that resolves names with `Lookups` instead of its own thread pool."""

    def __init__(self) -> None:
        try:
            super().__init__()
        except OSError:  # No descriptor is left.
            self._closed = True  # otherwise Python fails to close it and prints a traceback
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
        """Resolve a name. Raises OSError, including its subclass Refused."""
        return await asyncio.wrap_future(_lookups.start(host, port, family, type, proto, flags))


async def resolve_host(host: str) -> list[str]:
    """Return the addresses of a name, in the resolver's order.

    Raises OSError, including its subclass Refused, and ValueError for an invalid name.
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
    """The network of an address. An address that is not globally reachable counts as private."""

    GLOBAL = "global"
    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"
    PRIVATE = "private"


@dataclass(frozen=True)
class Reach:
    """Where requests may go: the allowed networks, and the certificate authorities to trust.

    ``ca_file`` is a PEM file of authorities to trust instead of the public ones.
    """

    networks: frozenset[Network]
    ca_file: str | None = None

    def with_network_of(self, address: str) -> "Reach":
        """Return a copy that also allows the network of an address."""
        return replace(self, networks=self.networks | {network_of(address)})


PUBLIC = Reach(frozenset({Network.GLOBAL}))
ANYWHERE = Reach(frozenset(Network))
Resolve = Callable[[str], Awaitable[list[str]]]


class AddressRejected(OSError):
    """One of the host's addresses is in a network that is not allowed."""


def network_of(address: str) -> Network:
    """Return the network of an address, or that of the IPv4 address embedded in it.

    Raises ValueError for an invalid address.
    """
    found = ip_address(address)
    if isinstance(found, IPv4Address):
        return _network_of_ipv4(found)
    if found.is_loopback or found.is_unspecified:  # Linux connects both to itself
        return Network.LOOPBACK
    if found.is_link_local:
        return Network.LINK_LOCAL
    embedded = _embedded_ipv4(found)
    if embedded is not None:
        network = _network_of_ipv4(embedded)
        # 6to4 relays no longer exist (RFC 7526).
        return Network.PRIVATE if found.sixtofour and network is Network.GLOBAL else network
    return Network.GLOBAL if found in UNICAST and found.is_global else Network.PRIVATE


def is_private_address(address: str) -> bool:
    """Return True if an address is not globally reachable; False if it is not an address."""
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
    """Return the addresses with IPv6 and IPv4 alternating (RFC 8305 section 4).

    Some names have more IPv6 addresses than are tried, and many networks have no IPv6 route.
    """
    versions = [ip_address(each).version for each in addresses]
    pairs = list(zip(addresses, versions, strict=True))
    first = [address for address, version in pairs if version == versions[0]]
    second = [address for address, version in pairs if version != versions[0]]
    return [each for pair in zip_longest(first, second) for each in pair if each is not None]


class VettedTransport(httpx2.AsyncBaseTransport):
    """Sends `httpx2` requests only to addresses within reach.

    ``resolve`` returns the addresses of a name. Raises AddressRejected, and the errors of `httpx2`
    and ``resolve``. Each response has the server's address in its extension `peer`. Without TLS
    only private networks are within reach: on the Internet, others could read the secrets and forge
    the response.
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
        # The encoded form that is sent: Python's own encoding turns some names into others.
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
                raise AddressRejected("The host is on the Internet, and the request has no TLS.")
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
                headers=request.headers,  # including the original `Host`
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": name, "timeout": timeout},
            )
        )
        response.extensions["peer"] = address
        return response
