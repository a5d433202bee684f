"""The one address under which the gateway is known, whatever a request calls it.

With `PUBLIC_URL` set, a request whose Host ALLOWED_HOSTS lets in goes on under that address's
host. Redirect URIs, ways back after a sign-out, what upstreams are told and what may post here
all follow from it, so a proxy that passes on another Host changes none of them, and neither does
who makes one up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class PublicAddressMiddleware:
    """Stands before whatever asks for the Host."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Pass the request on under the public host. Raises DisallowedHost as Django does."""
        if settings.PUBLIC_URL:
            request.get_host()
            request.META["HTTP_HOST"] = urlsplit(settings.PUBLIC_URL).netloc
        return self.get_response(request)
