"""Answers `/livez`, `/healthz` and `/readyz` before anything looks at the Host or a session.

A load balancer calls them by address and over plain http, which the other middlewares would reject
or redirect. With `?verbose` `/readyz` reports the shared services as well, and waits for them.
"""

import asyncio
import re
from collections.abc import Collection, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse

from gateway_site.health.dependencies import MIGRATIONS, migrations_probe, shared_probes
from gateway_site.health.probes import Outcome
from gateway_site.health.readiness import Outcomes, draining, readiness, replaced
from sessions_kms import open_circuits
from sessions_kms.concurrency.sync_and_async import SyncAndAsyncMiddleware
from sessions_kms.concurrency.waits import Wait

LIVENESS = "/livez"
HEALTH = "/healthz"
READINESS = "/readyz"
PATHS = frozenset({LIVENESS, HEALTH, READINESS})
PROBE_TIMEOUT = 5.0  # seconds that a request waits for outcomes
VERBOSE = re.compile(r"(?:\A|&)verbose(?:[=&]|\Z)")  # in a query, which is not parsed


class HealthMiddleware(SyncAndAsyncMiddleware):
    """Answers these addresses without a session, a Host check or a redirect."""

    def __call__(self, request: HttpRequest) -> Any:
        """Answer, or pass the request on."""
        ours = request.path_info in PATHS
        return super().__call__(request) if ours else self.get_response(request)

    async def process(self, request: HttpRequest) -> HttpResponse:
        """Answer."""
        if response := _response_without_probes(request):
            return response
        is_verbose = VERBOSE.search(request.META.get("QUERY_STRING", "")) is not None
        needed = {MIGRATIONS: migrations_probe().latest(), **readiness().start()}
        shown = {name: each.outcome() for name, each in shared_probes().items() if is_verbose}
        await _AllOrTimeout((needed | shown).values())
        return _readiness_response(needed, shown)


@dataclass(frozen=True)
class _AllOrTimeout(Wait):
    """Waits for all results, or until the timeout."""

    outcomes: Collection[Future[Outcome]]

    def block(self) -> None:
        wait(self.outcomes, PROBE_TIMEOUT)

    async def suspend(self) -> None:
        # Not awaited directly: a client that disconnects must not cancel a shared probe.
        waited = [asyncio.wrap_future(outcome) for outcome in self.outcomes]
        await asyncio.wait(waited, timeout=PROBE_TIMEOUT)


def _response_without_probes(request: HttpRequest) -> HttpResponse | None:
    if request.method not in {"GET", "HEAD"}:
        return HttpResponseNotAllowed(["GET", "HEAD"])
    if request.path_info != READINESS:
        return _respond({"status": "ok"}, 200)
    if draining.is_set() and not replaced.is_set():
        return _respond({"status": "unavailable", "reason": "draining"}, 503)
    return None


def _readiness_response(needed: Outcomes, shown: Outcomes) -> JsonResponse:
    obstacle = readiness().find_obstacle(needed)
    if needed[MIGRATIONS].done() and not _is_ok(needed[MIGRATIONS]):
        obstacle = MIGRATIONS
    shared = {name: "ok" if _is_ok(each) else "unavailable" for name, each in shown.items()}
    more = {"shared": shared | {"circuit": _describe_circuits()}} if shared else {}
    if obstacle is not None:
        return _respond({"status": "unavailable", "reason": obstacle, **more}, 503)
    readiness().settle()
    return _respond({"status": "ok", **more}, 200)


def _is_ok(outcome: Future[Outcome]) -> bool:
    return outcome.done() and outcome.result() is Outcome.OK


def _describe_circuits() -> str:
    """Return the AWS services whose circuit breaker is open."""
    return ", ".join(f"open: {name}" for name in open_circuits()) or "closed"


def _respond(document: Mapping[str, object], status: int) -> JsonResponse:
    response = JsonResponse(document, status=status)
    response["Cache-Control"] = "no-store"
    return response
