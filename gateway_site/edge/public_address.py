"""The one address under which the gateway is known, whatever a request calls it.

With `PUBLIC_URL` set, a request whose Host ALLOWED_HOSTS lets in goes on under that address's
host. Redirect URIs, ways back after a sign-out, what upstreams are told and what may post here
all follow from it, so a proxy that passes on another Host changes none of them, and neither does
who makes one up.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest

from sessions_kms.concurrency.sync_and_async import SyncAndAsyncMiddleware


class PublicAddressMiddleware(SyncAndAsyncMiddleware):
    """Stands before whatever asks for the Host."""

    def __call__(self, request: HttpRequest) -> Any:
        """Pass the request on under the public host. Raises DisallowedHost as Django does."""
        if settings.PUBLIC_URL:
            request.get_host()
            request.META["HTTP_HOST"] = urlsplit(settings.PUBLIC_URL).netloc
        return self.get_response(request)  # or what is awaited for it
