"""The settings of the SQL database at `DATABASE_URL`, with a limit on every wait for it."""

import re
from collections.abc import Mapping
from typing import Any, cast

from django.core.exceptions import ImproperlyConfigured
from environ import Env

from gateway_site.environment.variable import InvalidValue

# Of a process without `DATABASE_URL`. There is no default: it would be a file somewhere.
NO_DATABASE = {"ENGINE": "gateway_site.environment.no_database"}
POSTGRESQL = "django.db.backends.postgresql"
# https://www.psycopg.org/psycopg3/docs/api/pool.html: connections of a process, and seconds until a
# request gives up waiting for one, since failing fast is better than hanging in an outage. The
# last is the time until the pool gives up connecting. It starts again with the next request;
# otherwise it would try less and less often, and notice the end of an outage minutes later.
POOL = {"min_size": 1, "max_size": 32, "timeout": 3, "reconnect_timeout": 2}
# https://www.postgresql.org/docs/current/libpq-connect.html: seconds to connect, and milliseconds
# until unacknowledged data ends a connection (Linux).
CONNECTION_LIMITS = {
    "connect_timeout": 3,
    "tcp_user_timeout": 5000,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
}


def require_database(databases: Mapping[str, Any]) -> None:
    """Raise ImproperlyConfigured, which names the variable, if there is no database."""
    if databases["default"] == NO_DATABASE:
        raise ImproperlyConfigured("DATABASE_URL is missing: the gateway needs its SQL database.")


def parse_database_url(url: str) -> dict[str, Any]:
    """Return the settings of the database at a URL."""
    if url.partition(":")[0] not in Env.DB_SCHEMES:
        raise InvalidValue(
            "must be a database URL, such as postgres://user:password@host:5432/name "
            "or sqlite:////var/lib/gateway/db.sqlite3."
        )
    if _has_cut_password(url):
        raise InvalidValue("has a password in which / must be written %2F, ? %3F and @ %40.")
    try:
        found = cast("dict[str, Any]", Env.db_url_config(url))
        if found.get("CONN_MAX_AGE") is not None:
            found["CONN_MAX_AGE"] = int(found["CONN_MAX_AGE"])
    except ValueError:
        raise InvalidValue(
            "is not a valid database URL: percent-encode its password, and use numbers where "
            "numbers are expected."
        ) from None
    if found["ENGINE"] != POSTGRESQL:
        return found
    if not found["NAME"] and "service" not in found.get("OPTIONS", {}):
        raise InvalidValue("must name the database, as in postgres://user:password@host:5432/name.")
    return _add_pool({**found, "OPTIONS": {**CONNECTION_LIMITS, **found.get("OPTIONS", {})}})


def _has_cut_password(url: str) -> bool:
    """Return True if the part before the host seems to be cut by a character of the password.

    Otherwise a message would name a part of the password as the host.
    """
    after = url.partition("://")[2]
    authority = re.split("[/?]", after, maxsplit=1)[0]
    rest = after.removeprefix(authority)
    where = rest.partition("?")[0] if rest.startswith("/") else rest
    return not url.startswith("sqlite") and "@" in where and "@" not in authority


def _add_pool(found: dict[str, Any]) -> dict[str, Any]:
    """Use a connection pool, unless the URL sets CONN_MAX_AGE.

    Each call of an upstream reads the caller's user, and connecting takes longer than the query.
    https://docs.djangoproject.com/en/stable/ref/databases/#connection-pool
    """
    if "CONN_MAX_AGE" in found:
        return found
    options = {"pool": dict(POOL), **found["OPTIONS"]}
    if "options" not in options:
        from gateway_site.environment import postgresql  # noqa: PLC0415 - it loads the driver

        options["pool"] |= postgresql.POOL_OPTIONS
        options["options"] = postgresql.SERVER_OPTIONS
    return {**found, "CONN_HEALTH_CHECKS": True, "OPTIONS": options}
