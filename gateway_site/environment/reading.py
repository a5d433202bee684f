"""Read the gateway's variables, each with an error that names the variable.

What enters is text from the environment; what leaves are the values of
`settings.py`. A value is never repeated in an error, since it may be a secret.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, cast

from django.core.exceptions import ImproperlyConfigured
from environ import Env

from gateway_site.environment.names import SERVICE_LINK, nearest

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"", "0", "false", "no", "off"})
POSTGRESQL = "django.db.backends.postgresql"
# https://www.psycopg.org/psycopg3/docs/api/pool.html: connections of a process, and seconds
# until a request gives up waiting for one: in an outage, failing fast beats hanging. The last
# is until the pool gives up making one; it begins anew with the next request, where otherwise
# it would try ever more seldom, and find out minutes later that an outage is over.
POOL = {"min_size": 1, "max_size": 32, "timeout": 3, "reconnect_timeout": 2}
# https://www.postgresql.org/docs/current/libpq-connect.html: seconds to connect, and
# milliseconds until what was sent and not received ends a connection (Linux).
BOUNDS = {
    "connect_timeout": 3,
    "tcp_user_timeout": 5000,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
}
HOST = re.compile(r"\*|\.?[A-Za-z0-9_-][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\]")
HOST_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]"
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})


def text(name: str, default: str = "", *, environment: Mapping[str, str] = os.environ) -> str:
    """Return the variable without surrounding blanks, or the default where it is unset.

    Not read by django-environ, to which a value that starts with "$" is another variable's name.
    """
    return environment.get(name, default).strip()


def flag(name: str) -> bool:
    """Return whether the variable is on; a misspelt value is an error, not "off"."""
    value = text(name).lower()
    if value in TRUE:
        return True
    if value in FALSE:
        return False
    raise ImproperlyConfigured(f"{name} must be 1 or 0 (also true/false, yes/no, on/off).")


def whole_number(
    name: str, default: int | None = None, *, minimum: int = 0, maximum: int | None = None
) -> int | None:
    """Return a whole number, or the default where the variable is empty."""
    value = text(name)
    if not value:
        return default
    is_number = value.isascii() and value.isdigit()
    if not is_number or int(value) < minimum or (maximum is not None and int(value) > maximum):
        bounds = f"{minimum} or more, such as 604800"
        if maximum is not None:
            bounds = f"from {minimum} to {maximum}"
        raise ImproperlyConfigured(f"{name} must be a whole number, {bounds}.")
    return int(value)


def items(
    name: str, default: Iterable[str] = (), *, environment: Mapping[str, str] = os.environ
) -> list[str]:
    """Return a comma-separated list, without blanks and empty entries."""
    found = [item.strip() for item in text(name, environment=environment).split(",")]
    return [item for item in found if item] or list(default)


def hosts(name: str, default: Iterable[str] = ()) -> list[str]:
    """Return a list for `ALLOWED_HOSTS`: with a scheme or a port an entry would match no request.

    See https://docs.djangoproject.com/en/stable/ref/settings/#allowed-hosts
    """
    found = items(name, default)
    if not all(HOST.fullmatch(item) for item in found):
        raise ImproperlyConfigured(
            f"{name} must be names without scheme, port or path, such as gateway.example.com."
        )
    return found


def database(
    name: str, default: str, *, environment: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """Return the settings of the database at a URL."""
    url = text(name, environment=environment) or default
    if url.partition(":")[0] not in Env.DB_SCHEMES:
        raise ImproperlyConfigured(
            f"{name} must be a database URL, such as postgres://user:password@host:5432/name "
            "or sqlite:////var/lib/gateway/db.sqlite3."
        )
    try:
        found = cast("dict[str, Any]", Env.db_url_config(url))
        if found.get("CONN_MAX_AGE") is not None:
            found["CONN_MAX_AGE"] = int(found["CONN_MAX_AGE"])
    except ValueError:
        raise ImproperlyConfigured(
            f"{name} is not a whole database URL: percent-encode its password, and give numbers "
            "where numbers are expected."
        ) from None
    return _bounded(found) if found["ENGINE"] == POSTGRESQL else found


def _bounded(found: dict[str, Any]) -> dict[str, Any]:
    """Let no server, and no way there, hold up a process without end; the URL's options win."""
    return _pooled({**found, "OPTIONS": {**BOUNDS, **found.get("OPTIONS", {})}})


def _pooled(found: dict[str, Any]) -> dict[str, Any]:
    """Let the process keep its connections, unless the URL says for how long they last.

    Each call of an upstream reads who calls, and a connection costs more than all the rest.
    https://docs.djangoproject.com/en/stable/ref/databases/#connection-pool
    """
    if "CONN_MAX_AGE" in found:
        return found
    options = {"pool": dict(POOL), **found["OPTIONS"]}
    if "options" not in options:
        from gateway_site.environment import postgresql  # noqa: PLC0415 - it loads the driver

        options["pool"] |= postgresql.POOL_BOUNDS
        options["options"] = postgresql.SERVER_OPTIONS
    return {**found, "CONN_HEALTH_CHECKS": True, "OPTIONS": options}


def proxy_header(name: str) -> tuple[str, str] | None:
    """Return `SECURE_PROXY_SSL_HEADER` for the named header; None trusts no proxy.

    See https://docs.djangoproject.com/en/stable/ref/settings/#secure-proxy-ssl-header
    """
    header = text(name)
    if not header:
        return None
    if not header.isascii() or not header.replace("-", "").isalnum():
        raise ImproperlyConfigured(f"{name} must be a header's name, such as X-Forwarded-Proto.")
    return "HTTP_" + header.upper().replace("-", "_"), "https"


def public_url(name: str, *, local: bool) -> str:
    """Return an origin, such as `https://gateway.example.com`; http on loopback for a local run."""
    value = text(name).removesuffix("/")
    scheme = "http" if local else "https"
    if value and not re.fullmatch(rf"{scheme}://({HOST_NAME})(:[0-9]{{1,5}})?", value):
        raise ImproperlyConfigured(
            f"{name} must be {scheme}:// and the name under which the gateway is reached, with a "
            f"port where it is not the usual one, and without a path: {scheme}://"
            + ("127.0.0.1:8000." if local else "gateway.example.com.")
        )
    return value.lower()


def networks(name: str) -> list[IPv4Network | IPv6Network]:
    """Return a list of networks, each as an address or in CIDR notation (RFC 4632)."""
    try:
        found = [ip_network(item) for item in items(name)]
    except ValueError:
        raise ImproperlyConfigured(
            f"{name} must be addresses or networks, such as 10.0.0.0/8,192.0.2.7 (a network's "
            "address has no bit set behind the slash)."
        ) from None
    if any(network.prefixlen == 0 for network in found):
        raise ImproperlyConfigured(f"{name} must not hold every address there is.")
    return found


def folder(name: str) -> list[Path]:
    """Return a folder that there is, in a list; an empty one where the variable is empty."""
    value = text(name)
    if value and not Path(value).is_dir():
        raise ImproperlyConfigured(f"{name} names no folder that there is.")
    return [Path(value)] if value else []


def refuse_unknown(
    environment: Mapping[str, str], kind: str, names: Iterable[str], suffixes: Sequence[str]
) -> None:
    """Raise ImproperlyConfigured for a variable that begins with one of the names and is not its.

    It may be that of another, longer name, whose first variable is at least mentioned.
    """
    first = f"_{suffixes[0]}"
    mentioned = [
        variable.removesuffix(first)
        for variable in environment
        if variable.startswith(f"{kind}_") and variable.endswith(first)
    ]
    known = {f"{owner}_{suffix}" for owner in mentioned for suffix in suffixes}
    owners = tuple(f"{kind}_{name}_" for name in names)
    for variable in sorted(environment):
        if (
            variable.startswith(owners)
            and variable not in known
            and not SERVICE_LINK.fullmatch(variable)
        ):
            raise ImproperlyConfigured(
                f"{variable} is no variable that is known: those of {kind}_<NAME> end in "
                f"{', '.join(suffixes)}, right after a name that has the first of them. "
                f"The nearest is {nearest(variable, known, 0)}."
            )


def check_ca_file(name: str, path: str) -> None:
    """Raise ImproperlyConfigured, with the variable's name, for what is no file of certificates."""
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ValueError):  # an SSLError is an OSError
        raise ImproperlyConfigured(
            f"{name} must be a readable PEM file with the certificates of one or more authorities."
        ) from None


def missing(names: Iterable[str], environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the names that are unset or empty."""
    return [name for name in names if not text(name, environment=environment)]
