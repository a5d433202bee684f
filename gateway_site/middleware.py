"""`/livez`, `/healthz` and `/readyz`, answered before anything looks at the Host or a session.

A load balancer asks by address and over plain http, which the middleware after
this one would refuse or redirect.
"""

import asyncio
import re
from collections.abc import Collection, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse

from gateway_site.health import probes
from gateway_site.health.readiness import draining
from gateway_site.health.shared_answer import PATHS, READINESS
from sessions_kms.concurrency.sync_and_async import SyncAndAsyncMiddleware
from sessions_kms.concurrency.waits import Wait

PROBE_TIMEOUT = 5.0  # seconds until what does not answer counts as unavailable
VERBOSE = re.compile(r"(?:\A|&)verbose(?:[=&]|\Z)")  # in a query, which is not parsed
MIGRATIONS = "migrations"

Answers = Mapping[str, Future[bool]]


class HealthMiddleware(SyncAndAsyncMiddleware):
    """Answers these addresses without a session, a Host check or a redirect."""

    def __call__(self, request: HttpRequest) -> Any:
        """Answer, or pass the request on."""
        ours = request.path_info in PATHS
        return super().__call__(request) if ours else self.get_response(request)

    async def process(self, request: HttpRequest) -> HttpResponse:
        """Answer."""
        if answer := _early_answer(request):
            return answer
        asked = _asked(request)
        await _AllOrTimeout(asked.values())
        return _readiness(asked)


@dataclass(frozen=True)
class _AllOrTimeout(Wait):
    """Until all have answered, or for as long as one waits for them."""

    answers: Collection[Future[bool]]

    def block(self) -> None:
        wait(self.answers, PROBE_TIMEOUT)

    async def suspend(self) -> None:
        # Waited for in this way, since a client that leaves must not end what others wait for.
        waited = [asyncio.wrap_future(answer) for answer in self.answers]
        await asyncio.wait(waited, timeout=PROBE_TIMEOUT)


def _early_answer(request: HttpRequest) -> HttpResponse | None:
    if request.method not in {"GET", "HEAD"}:
        return HttpResponseNotAllowed(["GET", "HEAD"])
    if request.path_info != READINESS:
        return _answer({"status": "ok"}, 200)
    if draining.is_set():
        return _answer({"status": "unavailable", "reason": "draining"}, 503)
    return None


def _asked(request: HttpRequest) -> Answers:
    """Return what is being asked for a request."""
    more = probes.shared() if VERBOSE.search(request.META.get("QUERY_STRING", "")) else {}
    asked = {MIGRATIONS: probes.migrations(), **more}
    return {name: probe.answer() for name, probe in asked.items()}


def _readiness(answers: Answers) -> JsonResponse:
    """Answer; what could not be asked in time is no reason not to be ready."""
    migrations = answers[MIGRATIONS]
    shared = {name: _told(answer) for name, answer in answers.items() if name != MIGRATIONS}
    more = {"shared": shared | {"circuit": probes.circuits()}} if shared else {}
    if migrations.done() and not migrations.result():
        return _answer({"status": "unavailable", "reason": MIGRATIONS, **more}, 503)
    return _answer({"status": "ok", **more}, 200)


def _told(answer: Future[bool]) -> str:
    return "ok" if answer.done() and answer.result() else "unavailable"


def _answer(document: Mapping[str, object], status: int) -> JsonResponse:
    response = JsonResponse(document, status=status)
    response["Cache-Control"] = "no-store"
    return response
