"""Errors as pages: a browser that shows the response to a person gets one, a program does not.

Pages are rendered in a page thread, since the event loop serves everybody. The 503 page is rendered
at start: it is needed when no thread is free.
"""

import json
import logging
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, cast

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.template import loader
from django.utils import translation
from django.utils.cache import patch_vary_headers

from gateway_site.edge import access_log, languages, oauth_errors, own_cookies
from gateway_site.edge.client import Client, ClientGone, Scope
from gateway_site.forwarding.fixed_headers import fixed_headers
from gateway_site.forwarding.thread_pools import QueueTimeout, ThreadPool
from gateway_site.rules import origin, problems
from sessions_kms.middleware import unavailable

logger = logging.getLogger(__name__)

SAFE_METHODS = frozenset({"GET", "HEAD"})
TEMPLATE = "error.html"  # for each status without a template of its own
ID_MARK = "request-id-of-this-page"  # in the prepared pages, in place of the id
DECIDED_BY = ("Accept", "Accept-Language", "Cookie", "Sec-Fetch-Dest")


class ErrorPages:
    """The pages for the gateway's own errors, for browsers that show the response to a person."""

    def __init__(self, threads: ThreadPool) -> None:
        """Render the 503 page in each language, with and without a reload."""
        self._threads = threads
        self._headers = fixed_headers()
        self._unavailable = {
            (code, is_repeatable): _render_unavailable(code, is_repeatable=is_repeatable)
            for code, _ in settings.LANGUAGES
            for is_repeatable in (True, False)
        }

    async def choose(
        self, scope: Scope, client: Client, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Return the page for an error that a person would otherwise get in a program's format.

        Other responses are returned as they are, and an error for which no thread becomes free in
        time, or whose page fails. Status, cookies and headers stay.
        """
        if not isinstance(response, HttpResponse) or not _needs_page(scope, response):
            return response
        if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            page = self._prepared(scope)
            if "Retry-After" in response:
                del page.headers["Retry-After"]
        else:
            try:
                made = await self._threads.run(client, partial(_render, scope, response))
            except (QueueTimeout, ClientGone):
                return response
            except Exception:
                # A template of the operator's, for example: the call may have been made.
                logger.exception("The page for an error could not be rendered.")
                return response
            page = cast("HttpResponse", made)
        problems.copy_headers(response, page)
        if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            page.headers.pop("Refresh", None)  # The page reloads itself, which a person can stop.
        return self._complete(scope, page)

    def unavailable(self, scope: Scope, view: object, detail: str) -> HttpResponse:
        """Return a 503 in the format of a view for programs, or else the page."""
        if (own := problems.unavailable_response(view, detail)) is not None:
            return _with_length(own)
        return self._complete(scope, self._prepared(scope))

    def _prepared(self, scope: Scope) -> HttpResponse:
        """Return the 503 page in the language of a request, with its id."""
        with languages.of_scope(scope):
            language = translation.get_language()
        # An authorization code is valid for one request (RFC 6749 section 4.1.2).
        query = scope.get("query_string", b"")
        is_repeatable = scope["method"] in SAFE_METHODS and b"code=" not in query
        page = self._unavailable[language, is_repeatable]
        content = page.content.replace(ID_MARK.encode(), _request_id(scope).encode())
        return HttpResponse(content, status=page.status_code, headers=page.headers)

    def _complete(self, scope: Scope, page: HttpResponse) -> HttpResponse:
        """Add what Django's middleware adds to pages: none sees this one."""
        for name, value in self._headers[scope["scheme"] == "https"].pairs:
            page.headers.setdefault(name, value)
        patch_vary_headers(page, DECIDED_BY)
        return _with_length(page)


def body_rejection(view: object, error: RequestDataTooBig | TimeoutError) -> HttpResponse:
    """Return a 413 or a 408 in the format of a view for programs, or else as plain text."""
    status = HTTPStatus(413 if isinstance(error, RequestDataTooBig) else 408)
    own = problems.rejection_response(view, status) if settings.AUTHORIZATION_SERVER else None
    text = f"{status} {status.phrase}"
    return _with_length(own or HttpResponse(text, status=status, content_type="text/plain"))


def _needs_page(scope: Scope, response: HttpResponse) -> bool:
    """Return True for an error that is not a page, though a browser shows it to a person."""
    is_page = response.get("Content-Type", "").startswith("text/html") and response.content
    if response.status_code < HTTPStatus.BAD_REQUEST or is_page:
        return False
    return origin.shows_page(scope["headers"]) and not oauth_errors.is_for_client(scope)


def _render(scope: Scope, response: HttpResponse) -> HttpResponse:
    """Return the page for an error. It takes no session: what failed may be what that needs."""
    __traceback_hide__ = True
    status, document = response.status_code, _read_document(response)
    cookies = own_cookies.decode_cookies(own_cookies.keep_own_cookies(scope["headers"]))
    context = {
        "request_id": _request_id(scope),
        "has_session": settings.SESSION_COOKIE_NAME in cookies,
        "is_repeatable": scope["method"] in SAFE_METHODS,
        "status": status,
        "problem": document,
    }
    with languages.of_scope(scope):
        content = loader.render_to_string([f"{status}.html", TEMPLATE], context)
        headers = {"Cache-Control": "no-store", "Content-Language": translation.get_language()}
        return HttpResponse(content, status=status, headers=headers)


def _read_document(response: HttpResponse) -> Mapping[str, Any]:
    """Return the members of a problem document; none of any other response."""
    if response.get("Content-Type") != problems.CONTENT_TYPE:
        return {}
    found: dict[str, Any] = json.loads(response.content)
    return found


def _render_unavailable(language: str, *, is_repeatable: bool) -> HttpResponse:
    with translation.override(language):
        page = unavailable(is_repeatable=is_repeatable, request_id=ID_MARK)
        page.headers["Content-Language"] = language
        return page


def _request_id(scope: Scope) -> str:
    entry = access_log.entry_of(scope)
    return "" if entry is None else entry.id


def _with_length(response: HttpResponse) -> HttpResponse:
    response.headers["Content-Length"] = str(len(response.content))
    return response
