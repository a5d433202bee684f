"""`/livez`, `/healthz` and `/readyz`, answered before anything looks at the Host or a session.

A load balancer asks by address and over plain http, which the middleware after
this one would refuse or redirect.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future, wait
from typing import cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.http.response import HttpResponseBase

from gateway_site.health import probes
from gateway_site.health.readiness import draining
from gateway_site.health.shared_answer import PATHS, READINESS

PROBE_TIMEOUT = 5.0  # seconds until what does not answer counts as unavailable
VERBOSE = "verbose"
MIGRATIONS = "migrations"

GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]
Answers = Mapping[str, Future[bool]]


class HealthMiddleware:
    """Answers these addresses without a session, a Host check or a redirect."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer, or pass the request on."""
        if self.is_async:
            return self._acall(request)
        if request.path_info not in PATHS:
            return self.get_response(request)
        if answer := _early_answer(request):
            return answer
        asked = _asked(request)
        wait(asked.values(), PROBE_TIMEOUT)
        return _readiness(asked)

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info not in PATHS:
            return await cast("Awaitable[HttpResponseBase]", self.get_response(request))
        if answer := _early_answer(request):
            return answer
        asked = _asked(request)
        # Waited for in this way, since a client that leaves must not end what others wait for.
        waited = [asyncio.wrap_future(answer) for answer in asked.values()]
        await asyncio.wait(waited, timeout=PROBE_TIMEOUT)
        return _readiness(asked)


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
    more = probes.shared() if VERBOSE in request.GET else {}
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
