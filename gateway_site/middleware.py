"""`/healthz` and `/readyz`, answered before anything looks at the Host, the scheme or a session.

A load balancer asks by address and over plain http, which the middleware after
this one would refuse or redirect.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import cache
from typing import cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.http.response import HttpResponseBase

from gateway_site.health import HEALTH, READINESS, Readiness
from sessions_kms.services import services

PROBE_TIMEOUT = 10.0  # seconds until the store counts as unavailable

GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


def probe() -> None:
    """Ask the session store. Raises StoreUnavailable when sessions cannot be kept."""
    services().probe()


@cache
def readiness() -> Readiness:
    """Return this process's readiness."""
    return Readiness(probe)


class HealthMiddleware:
    """Answers both addresses without a session, a Host check or a redirect."""

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
        if answer := _early_answer(request):
            return answer
        if request.path_info != READINESS:
            return self.get_response(request)
        try:
            return _status(readiness().answer().result(PROBE_TIMEOUT))
        except TimeoutError:
            return _status(False)

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        if answer := _early_answer(request):
            return answer
        if request.path_info != READINESS:
            return await cast("Awaitable[HttpResponseBase]", self.get_response(request))
        try:
            # Shielded, since a client that leaves must not cancel what others wait for.
            ready = asyncio.shield(asyncio.wrap_future(readiness().answer()))
            return _status(await asyncio.wait_for(ready, PROBE_TIMEOUT))
        except TimeoutError:
            return _status(False)


def _early_answer(request: HttpRequest) -> HttpResponse | None:
    if request.path_info not in {HEALTH, READINESS}:
        return None
    if request.method not in {"GET", "HEAD"}:
        return HttpResponseNotAllowed(["GET", "HEAD"])
    return _status(True) if request.path_info == HEALTH else None


def _status(ready: bool) -> JsonResponse:
    body, status = ({"status": "ok"}, 200) if ready else ({"status": "unavailable"}, 503)
    response = JsonResponse(body, status=status)
    response["Cache-Control"] = "no-store"
    return response
