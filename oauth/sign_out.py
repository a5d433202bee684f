"""The end of a request that let token sets go: they are revoked once it is known that it did."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from oauth.logout import released
from sessions_kms.services import services

GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class SignOutMiddleware:
    """Revokes what a request let go, once the session's middleware has saved that it did.

    Holds no thread while a response is streamed.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Pass the request on, and look at what it left behind."""
        if self.is_async:
            return self._acall(request)
        response = cast("HttpResponseBase", self.get_response(request))
        if released.has_let_go(request):
            released.settle(services(), request, response)
        return response

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        response = await cast("Awaitable[HttpResponseBase]", self.get_response(request))
        if released.has_let_go(request):
            await sync_to_async(released.settle)(services(), request, response)
        return response
