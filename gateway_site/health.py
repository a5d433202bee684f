"""Liveness and readiness: `/livez`, `/healthz` and `/readyz`.

They are answered before anything looks at the Host or a session: a load balancer calls them by
address and over plain http, which the other middlewares would reject or redirect.

Readiness depends on what belongs to this process only. If an outage of the database, the table or
KMS made every process unready at once, the load balancer would have nowhere to send requests;
instead the processes answer 503 where needed, and requests that do not need the failed service are
served. With `?verbose` `/readyz` reports the shared services as well.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse

from sessions_kms import open_circuits
from sessions_kms.concurrency.sync_and_async import SyncAndAsyncMiddleware
from sessions_kms.concurrency.waits import Wait
from sessions_kms.services import services

logger = logging.getLogger(__name__)

LIVENESS = "/livez"
HEALTH = "/healthz"
READINESS = "/readyz"
PATHS = frozenset({LIVENESS, HEALTH, READINESS})
MAX_AGE = 5.0  # seconds for which a result is reused


class SharedProbe:
    """The last result of a probe, renewed in its own thread when it is old."""

    def __init__(
        self,
        name: str,
        probe: Callable[[], None],
        max_age: float = MAX_AGE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._probe = probe
        self._max_age = max_age
        self._clock = clock
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"health-{name}")
        self._answer: Future[bool] | None = None
        self._answered_at = 0.0

    def answer(self) -> Future[bool]:
        """Return the current result, or the pending one; waiting for it occupies no thread."""
        with self._lock:
            answer = self._answer
            if answer is None or (answer.done() and self._age() >= self._max_age):
                answer = self._answer = self._executor.submit(self._ask)
            return answer

    def close(self) -> None:
        """End the thread."""
        self._executor.shutdown(wait=True)

    def _age(self) -> float:
        return self._clock() - self._answered_at

    def _ask(self) -> bool:
        try:
            self._probe()
        except Exception as error:  # noqa: BLE001  (any failure counts)
            # Only the type: a message may repeat what a service answered.
            logger.warning("Health check of %s failed: %s.", self._name, type(error).__name__)
            well = False
        else:
            well = True
        self._answered_at = self._clock()
        return well


draining = threading.Event()  # set when this process is about to stop
replaced = threading.Event()  # set when others go on serving its port, so that it stays ready


class NotMigratedError(Exception):
    """The database lacks migrations of this release."""


class MigrationsProbe:
    """A probe that fails while migrations are missing, and checks until none is."""

    def __init__(self) -> None:
        self._are_applied = False

    def __call__(self) -> None:
        """Raise NotMigratedError. An unavailable database is no reason."""
        if not self._are_applied:
            try:
                missing = _missing_migrations()
            except DatabaseError:
                return
            if missing:
                raise NotMigratedError
            self._are_applied = True


def _missing_migrations() -> bool:
    connection = connections[DEFAULT_DB_ALIAS]
    try:
        executor = MigrationExecutor(connection)
        return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    finally:
        connection.close()


@cache
def migrations_probe() -> SharedProbe:
    """Return this process's probe of the migrations."""
    return SharedProbe("migrations", MigrationsProbe())


def open_circuit_names() -> str:
    """Return the AWS services whose circuit breaker is open."""
    return ", ".join(f"open: {name}" for name in open_circuits()) or "closed"


def _query_database() -> None:
    connection = connections[DEFAULT_DB_ALIAS]
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()


SHARED_CHECKS: Mapping[str, Callable[[], None]] = {
    "sql": _query_database,
    "table": lambda: services().probe_table(),
    "kms": lambda: services().probe_data_key(),
}


@cache
def shared_probes() -> Mapping[str, SharedProbe]:
    """Return this process's probes of shared services, by name."""
    return {name: SharedProbe(name, probe) for name, probe in SHARED_CHECKS.items()}


for _cached in (migrations_probe, shared_probes):
    os.register_at_fork(after_in_child=_cached.cache_clear)  # their threads are the parent's


PROBE_TIMEOUT = 5.0  # seconds until a probe counts as failed
VERBOSE = re.compile(r"(?:\A|&)verbose(?:[=&]|\Z)")  # in a query, which is not parsed
MIGRATIONS = "migrations"

ProbeAnswers = Mapping[str, Future[bool]]


class HealthMiddleware(SyncAndAsyncMiddleware):
    """Answers these addresses without a session, a Host check or a redirect."""

    def __call__(self, request: HttpRequest) -> Any:
        """Answer, or pass the request on."""
        ours = request.path_info in PATHS
        return super().__call__(request) if ours else self.get_response(request)

    async def process(self, request: HttpRequest) -> HttpResponse:
        """Answer."""
        if answer := _response_without_probes(request):
            return answer
        probes = _start_probes(request)
        await _AllOrTimeout(probes.values())
        return _readiness_response(probes)


@dataclass(frozen=True)
class _AllOrTimeout(Wait):
    """Waits for all results, or until the timeout."""

    answers: Collection[Future[bool]]

    def block(self) -> None:
        wait(self.answers, PROBE_TIMEOUT)

    async def suspend(self) -> None:
        # Not awaited directly: a client that disconnects must not cancel a shared probe.
        waited = [asyncio.wrap_future(answer) for answer in self.answers]
        await asyncio.wait(waited, timeout=PROBE_TIMEOUT)


def _response_without_probes(request: HttpRequest) -> HttpResponse | None:
    if request.method not in {"GET", "HEAD"}:
        return HttpResponseNotAllowed(["GET", "HEAD"])
    if request.path_info != READINESS:
        return _respond({"status": "ok"}, 200)
    if draining.is_set() and not replaced.is_set():
        return _respond({"status": "unavailable", "reason": "draining"}, 503)
    return None


def _start_probes(request: HttpRequest) -> ProbeAnswers:
    """Start the probes of a request."""
    more = shared_probes() if VERBOSE.search(request.META.get("QUERY_STRING", "")) else {}
    probes = {MIGRATIONS: migrations_probe(), **more}
    return {name: probe.answer() for name, probe in probes.items()}


def _readiness_response(answers: ProbeAnswers) -> JsonResponse:
    """Answer; an unknown result is no reason not to be ready."""
    migrations = answers[MIGRATIONS]
    shared = {name: _status_word(answer) for name, answer in answers.items() if name != MIGRATIONS}
    more = {"shared": shared | {"circuit": open_circuit_names()}} if shared else {}
    if migrations.done() and not migrations.result():
        return _respond({"status": "unavailable", "reason": MIGRATIONS, **more}, 503)
    return _respond({"status": "ok", **more}, 200)


def _status_word(answer: Future[bool]) -> str:
    return "ok" if answer.done() and answer.result() else "unavailable"


def _respond(document: Mapping[str, object], status: int) -> JsonResponse:
    response = JsonResponse(document, status=status)
    response["Cache-Control"] = "no-store"
    return response
