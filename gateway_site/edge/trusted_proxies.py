"""The client's address behind trusted proxies: only those in `TRUSTED_PROXIES` are trusted.

Takes a request's peer and its `X-Forwarded-For`; returns the client's address. Each proxy appends
the address that called it on the right. The list is read from the right while the writer of an
entry is trusted: entries further left may be forged by the client.
https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/X-Forwarded-For
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from django.conf import settings

Address = IPv4Address | IPv6Address
Networks = Sequence[IPv4Network | IPv6Network]
ASGIApplication = Callable[[Any, Any, Any], Awaitable[None]]

FORWARDED_FOR = b"x-forwarded-for"
# In a request's ASGI scope: whether a trusted proxy passed it on. Then its other statements about
# the request, such as an id, may be believed too.
TRUSTED = "gateway.trusted_proxy"
# Some proxies add the port: 192.0.2.1:4711, [2001:db8::1]:4711.
LENGTH_MAX = 64  # characters of an address, port and zone included
PROXIES_MAX = 32  # entries of X-Forwarded-For that are read
WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]+)?|([0-9.]+):[0-9]+")


def parse_address(text: str) -> Address | None:
    """Return the address in a text, without port and zone; None for any other text."""
    return None if len(text) > LENGTH_MAX else _parse(text)


@lru_cache(maxsize=1024)  # every request names its proxy and its client
def _parse(text: str) -> Address | None:
    if match := WITH_PORT.fullmatch(text):
        text = match[1] or match[2]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(found, IPv6Address) and found.ipv4_mapped) or found


def trusted_networks() -> Networks:
    """Return `TRUSTED_PROXIES`; another project under this server has no such setting."""
    found: Networks = getattr(settings, "TRUSTED_PROXIES", ())
    return found


def is_trusted(found: Address | None, networks: Networks) -> bool:
    """Return True if an address is a trusted proxy."""
    return found is not None and any(found in network for network in networks)


def client_address(peer: Address, forwarded_for: Iterable[bytes], networks: Networks) -> Address:
    """Return the client's address: the first from the right that is not a trusted proxy.

    An invalid entry ends the list: its writer is the last known address. So does the maximum number
    of entries.
    """
    entries = b",".join(forwarded_for).decode("latin-1").rsplit(",", PROXIES_MAX)
    found = peer
    for entry in entries[: -PROXIES_MAX - 1 : -1]:
        if not is_trusted(found, networks) or (before := parse_address(entry.strip())) is None:
            break
        found = before
    return found


def forwarded_client(peer: str | None, headers: Iterable[tuple[bytes, bytes]]) -> Address | None:
    """Return the client that a trusted proxy names; None if the peer is not one."""
    networks = trusted_networks()
    if not peer or not networks:  # Runs for every request: no address is parsed unnecessarily.
        return None
    found = parse_address(peer)
    if found is None or not is_trusted(found, networks):
        return None
    return client_address(
        found, [value for name, value in headers if name == FORWARDED_FOR], networks
    )


def counting_key(found: Address) -> str:
    """Return the key under which an address is counted: an IPv6 client has a whole /64."""
    return found.packed[:8].hex() if isinstance(found, IPv6Address) else str(found)


def asgi(application: ASGIApplication) -> ASGIApplication:
    """Return an application that sees the client's address instead of a trusted proxy's.

    The scope itself is changed, as uvicorn's own middleware does, so that its access log has the
    client, too. From other peers `PROXY_SCHEME_HEADER` is dropped if proxies are declared.
    """

    def serve(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        if scope["type"] == "http" and trusted_networks():
            peer = (scope.get("client") or (None,))[0]
            found = forwarded_client(peer, scope["headers"])
            scope[TRUSTED] = found is not None
            if found is not None:
                scope["client"] = (str(found), 0)
            else:
                scope["headers"] = [
                    pair for pair in scope["headers"] if pair[0] != _scheme_header()
                ]
        return application(scope, receive, send)

    return serve


def _scheme_header() -> bytes | None:
    """Return the header with which a proxy states the scheme, as ASGI spells it."""
    if settings.SECURE_PROXY_SSL_HEADER is None:
        return None
    name: str = settings.SECURE_PROXY_SSL_HEADER[0]
    return name.removeprefix("HTTP_").replace("_", "-").lower().encode("ascii")
