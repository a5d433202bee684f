"""Variables that hold hosts, origins and networks: where the gateway is, and whom it believes."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network

from gateway_site.environment.reading import Variables

HOST = re.compile(r"\*|\.?[A-Za-z0-9_-][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\]")
HOST_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]"
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})


def hosts(variables: Variables, name: str) -> list[str]:
    """Return a list for `ALLOWED_HOSTS`: with a scheme or a port an entry would match no request.

    See https://docs.djangoproject.com/en/stable/ref/settings/#allowed-hosts
    """
    found = variables.items(name)
    if not all(HOST.fullmatch(item) for item in found):
        raise variables.error(
            name, "must be names without scheme, port or path, such as gateway.example.com."
        )
    return found


def proxy_header(variables: Variables, name: str) -> tuple[str, str] | None:
    """Return `SECURE_PROXY_SSL_HEADER` for the named header; None trusts no proxy.

    See https://docs.djangoproject.com/en/stable/ref/settings/#secure-proxy-ssl-header
    """
    header = variables.text(name)
    if not header:
        return None
    if not header.isascii() or not header.replace("-", "").isalnum():
        raise variables.error(name, "must be a header's name, such as X-Forwarded-Proto.")
    return "HTTP_" + header.upper().replace("-", "_"), "https"


def public_url(variables: Variables, name: str, *, local: bool) -> str:
    """Return an origin, such as `https://gateway.example.com`; http on loopback for a local run."""
    value = variables.text(name).removesuffix("/")
    scheme = "http" if local else "https"
    if value and not re.fullmatch(rf"{scheme}://({HOST_NAME})(:[0-9]{{1,5}})?", value):
        raise variables.error(
            name,
            f"must be {scheme}:// and the name under which the gateway is reached, with a "
            f"port where it is not the usual one, and without a path: {scheme}://"
            + ("127.0.0.1:8000." if local else "gateway.example.com."),
        )
    return value.lower()


def networks(variables: Variables, name: str) -> list[IPv4Network | IPv6Network]:
    """Return a list of networks, each as an address or in CIDR notation (RFC 4632)."""
    try:
        found = [ip_network(item) for item in variables.items(name)]
    except ValueError:
        raise variables.error(
            name,
            "must be addresses or networks, such as 10.0.0.0/8,192.0.2.7 (a network's "
            "address has no bit set behind the slash).",
        ) from None
    if any(network.prefixlen == 0 for network in found):
        raise variables.error(name, "must not hold every address there is.")
    return found
