"""What `/readyz` asks: the migrations; and, where more is wanted, what all processes share."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache

from django.db import DEFAULT_DB_ALIAS, connections

from gateway_site.health.readiness import Migrations
from gateway_site.health.shared_answer import Health
from sessions_kms import hanging
from sessions_kms.services import services


@cache
def migrations() -> Health:
    """Return this process's probe of the migrations."""
    return Health("migrations", Migrations())


def circuits() -> str:
    """Return which services of AWS are not waited for at the moment."""
    return ", ".join(f"open: {name}" for name in hanging()) or "closed"


def _ask_database() -> None:
    connection = connections[DEFAULT_DB_ALIAS]
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()


SHARED: Mapping[str, Callable[[], None]] = {
    "sql": _ask_database,
    "table": lambda: services().probe_table(),
    "kms": lambda: services().probe_data_key(),
}


@cache
def shared() -> Mapping[str, Health]:
    """Return this process's probes of what is shared, by name."""
    return {name: Health(name, probe) for name, probe in SHARED.items()}


for _kept in (migrations, shared):
    os.register_at_fork(after_in_child=_kept.cache_clear)  # their threads are the parent's
