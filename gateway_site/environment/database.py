"""The settings of the SQL database at a URL, with bounds on every wait for it."""

from __future__ import annotations

from typing import Any, cast

from environ import Env

from gateway_site.environment.reading import Variables

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


def database(variables: Variables, name: str, default: str) -> dict[str, Any]:
    """Return the settings of the database at a URL."""
    url = variables.text(name) or default
    if url.partition(":")[0] not in Env.DB_SCHEMES:
        raise variables.error(
            name,
            "must be a database URL, such as postgres://user:password@host:5432/name "
            "or sqlite:////var/lib/gateway/db.sqlite3.",
        )
    try:
        found = cast("dict[str, Any]", Env.db_url_config(url))
        if found.get("CONN_MAX_AGE") is not None:
            found["CONN_MAX_AGE"] = int(found["CONN_MAX_AGE"])
    except ValueError:
        raise variables.error(
            name,
            "is not a whole database URL: percent-encode its password, and give numbers "
            "where numbers are expected.",
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
