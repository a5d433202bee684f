"""The language of a page: by the visitor's cookie, or else by Accept-Language.

Neither the session nor the account has a language, so an error page is in the visitor's language
also if the session cannot be loaded. Calls of upstreams and responses for programs have none.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import translation
from django.utils.cache import patch_vary_headers

from gateway_site.edge import own_cookies
from gateway_site.edge.middleware import UPSTREAMS
from sessions_kms.concurrency.sync_and_async import SyncAndAsyncMiddleware

HEADER = b"accept-language"


class LocaleMiddleware(SyncAndAsyncMiddleware):
    """Django's, except that it leaves calls of upstreams alone, and no language behind.

    Django's leaves the language active: the thread's next request would have it.
    """

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        # Loads the catalogs now: later there may be no free file descriptor.
        for code, _ in settings.LANGUAGES:
            with translation.override(code):
                pass

    def __call__(self, request: HttpRequest) -> Any:
        """Pass the request on; a page is made in the visitor's language."""
        if request.path_info.startswith(UPSTREAMS):
            return self.get_response(request)
        return super().__call__(request)

    async def process(self, request: HttpRequest) -> HttpResponseBase:
        """Set the language, and on pages the headers that name it."""
        with of_request(request):
            request.LANGUAGE_CODE = translation.get_language()  # as Django's does
            response: HttpResponseBase = await self.await_response(request)
        if _is_page(response):
            patch_vary_headers(response, ("Accept-Language", "Cookie"))
            response.headers.setdefault("Content-Language", request.LANGUAGE_CODE)
        return response


def _is_page(response: HttpResponseBase) -> bool:
    is_html: bool = response.get("Content-Type", "").startswith("text/html")
    return is_html and (response.streaming or bool(getattr(response, "content", b"")))


def of_request(request: HttpRequest) -> AbstractContextManager[None]:
    """Return a block in the language of a request."""
    return translation.override(translation.get_language_from_request(request))


def of_scope(scope: Mapping[str, Any]) -> AbstractContextManager[None]:
    """Return a block in the language of a request that Django has not seen."""
    request = HttpRequest()
    request.COOKIES = own_cookies.decode_cookies(own_cookies.keep_own_cookies(scope["headers"]))
    accepted = [value for name, value in scope["headers"] if name.lower() == HEADER]
    request.META["HTTP_ACCEPT_LANGUAGE"] = b",".join(accepted).decode("latin-1")
    return of_request(request)
