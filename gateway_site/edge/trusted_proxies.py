"""Whose word on the client's address counts: that of the proxies in `TRUSTED_PROXIES`, no other's.

A request's peer and its `X-Forwarded-For` enter; the client's address leaves. Each proxy adds the
address that it was called from on the right, so the list is read from there, for as long as who
wrote an entry is trusted: what stands further left is the client's own invention.
https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/X-Forwarded-For
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from django.conf import settings

Address = IPv4Address | IPv6Address
Networks = Sequence[IPv4Network | IPv6Network]
ASGIApplication = Callable[[Any, Any, Any], Awaitable[None]]

FORWARDED_FOR = b"x-forwarded-for"
# In a request's ASGI scope: whether a trusted proxy passed it on. What else such a proxy says of a
# request (an id of its own, say) may be believed where this is true.
TRUSTED = "gateway.trusted_proxy"
# Some proxies add the port: 192.0.2.1:4711, [2001:db8::1]:4711.
LENGTH_MAX = 64  # characters of an address, port and zone included
PROXIES_MAX = 32  # entries of X-Forwarded-For that are read
WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]+)?|([0-9.]+):[0-9]+")


def address(text: str) -> Address | None:
    """Return the address that a text is, without port and zone; None for another text."""
    if len(text) > LENGTH_MAX:
        return None
    if match := WITH_PORT.fullmatch(text):
        text = match[1] or match[2]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(found, IPv6Address) and found.ipv4_mapped) or found


def declared() -> Networks:
    """Return `TRUSTED_PROXIES`; the server may run another project, which has no such setting."""
    found: Networks = getattr(settings, "TRUSTED_PROXIES", ())
    return found


def is_trusted(found: Address | None, networks: Networks) -> bool:
    """Tell whether an address is a trusted proxy's."""
    return found is not None and any(found in network for network in networks)


def client(peer: Address, forwarded_for: Iterable[bytes], networks: Networks) -> Address:
    """Return the client's address: the first from the right that is no trusted proxy's.

    An entry that is no address ends the list: whoever wrote it is the last that is known. So does
    the number of entries that are read.
    """
    entries = b",".join(forwarded_for).decode("latin-1").rsplit(",", PROXIES_MAX)
    found = peer
    for entry in entries[: -PROXIES_MAX - 1 : -1]:
        if not is_trusted(found, networks) or (before := address(entry.strip())) is None:
            break
        found = before
    return found


def client_of(peer: str | None, headers: Iterable[tuple[bytes, bytes]]) -> Address | None:
    """Return the client that a trusted proxy names; None where the peer is none."""
    networks = declared()
    if not peer or not networks:  # Asked of every request: no address is parsed for nothing.
        return None
    found = address(peer)
    if found is None or not is_trusted(found, networks):
        return None
    return client(found, [value for name, value in headers if name == FORWARDED_FOR], networks)


def counted_under(found: Address) -> str:
    """Return whom an address is counted under: an IPv6 client has a whole /64 to choose from."""
    return found.packed[:8].hex() if isinstance(found, IPv6Address) else str(found)


def asgi(application: ASGIApplication) -> ASGIApplication:
    """Return an application that sees the client's address in place of a trusted proxy's.

    The scope itself is changed, as uvicorn's own middleware does, so that its access log tells
    the client, too. From others, `PROXY_SCHEME_HEADER` is dropped where proxies are declared.
    """

    def seeing(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        if scope["type"] == "http" and declared():
            peer = (scope.get("client") or (None,))[0]
            found = client_of(peer, scope["headers"])
            scope[TRUSTED] = found is not None
            if found is not None:
                scope["client"] = (str(found), 0)
            else:
                scope["headers"] = [
                    pair for pair in scope["headers"] if pair[0] != _scheme_header()
                ]
        return application(scope, receive, send)

    return seeing


def _scheme_header() -> bytes | None:
    """Return the header by which a proxy tells the scheme, as ASGI spells it."""
    if settings.SECURE_PROXY_SSL_HEADER is None:
        return None
    name: str = settings.SECURE_PROXY_SSL_HEADER[0]
    return name.removeprefix("HTTP_").replace("_", "-").lower().encode("ascii")
