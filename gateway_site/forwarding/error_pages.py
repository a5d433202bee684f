"""Errors as pages: a browser that shows the response to a person gets one, a program does not.

Pages are rendered in a page thread, since the event loop serves everybody. The 503 page was
rendered before (`prepared_pages`): it is needed when no thread is free.
"""

import json
import logging
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.core.exceptions import RequestDataTooBig
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils import translation

from gateway_site.edge import languages, own_cookies
from gateway_site.edge.client import Client, ClientGone, Scope
from gateway_site.forwarding.prepared_pages import (
    SAFE_METHODS,
    is_shown,
    prepared_pages,
    render_page,
    request_id,
)
from gateway_site.forwarding.thread_pools import QueueTimeout, ThreadPool
from gateway_site.rules import problems
from gateway_site.rules.opened_address import continue_url
from oauth.mcp.servers import find_server
from oauth.provider.config import find_provider

logger = logging.getLogger(__name__)

SECONDS_SHOWN = 120  # until when a page says seconds, not minutes


class ErrorPages:
    """The pages for the gateway's own errors, for browsers that show the response to a person."""

    def __init__(self, threads: ThreadPool) -> None:
        """Render the prepared pages, if this process has not."""
        self._threads = threads
        self._prepared = prepared_pages()

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
            code, retry_after = response.get(problems.MARK, ""), response.get("Retry-After", "")
            page = self._prepared.unavailable(scope, code, retry_after)
            problems.copy_headers(response, page)
            page.headers.pop("Refresh", None)  # The page reloads itself, which a person can stop.
            return page
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
        return self._prepared.complete(scope, page)

    def unavailable(self, scope: Scope, view: object, detail: str) -> HttpResponse:
        """Return a 503 in the format of a view for programs, or else the page."""
        if (own := problems.unavailable_response(view, detail)) is not None:
            return _with_length(own)
        return self._prepared.unavailable(scope)


def body_rejection(view: object, error: RequestDataTooBig | TimeoutError) -> HttpResponse:
    """Return a 413 or a 408 in the format of a view for programs, or else as plain text."""
    status = HTTPStatus(413 if isinstance(error, RequestDataTooBig) else 408)
    own = problems.rejection_response(view, status) if settings.AUTHORIZATION_SERVER else None
    text = f"{status} {status.phrase}"
    return _with_length(own or HttpResponse(text, status=status, content_type="text/plain"))


def label_of(name: str) -> str:
    """Return what people call a provider or an MCP server; the name if there is none."""
    found = find_server(name) or find_provider(name)
    return name if found is None else found.label


def _needs_page(scope: Scope, response: HttpResponse) -> bool:
    """Return True for an error that is not a page, though a browser shows it to a person."""
    is_page = response.get("Content-Type", "").startswith("text/html") and response.content
    if response.status_code < HTTPStatus.BAD_REQUEST or is_page:
        return False
    return is_shown(scope)


def _render(scope: Scope, response: HttpResponse) -> HttpResponse:
    """Return the page for an error."""
    __traceback_hide__ = True
    status, problem = response.status_code, _read_problem(response)
    cookies = own_cookies.decode_cookies(own_cookies.keep_own_cookies(scope["headers"]))
    context = {
        "request_id": request_id(scope),
        "has_session": settings.SESSION_COOKIE_NAME in cookies,
        "is_repeatable": scope["method"] in SAFE_METHODS,
        "problem": problem,
        "name": label_of(problem.get("provider") or problem.get("connection") or ""),
        "connect_url": _connect_url(scope, problem),
        **_describe_wait(response.get("Retry-After", "")),
    }
    with languages.of_scope(scope):
        content = render_page(status, context)
        headers = {"Cache-Control": "no-store", "Content-Language": translation.get_language()}
        return HttpResponse(content, status=status, headers=headers)


def _read_problem(response: HttpResponse) -> Mapping[str, Any]:
    """Return the members of a problem document; of any other response only the code, if any."""
    found: dict[str, Any] = {"code": response.get(problems.MARK, "")}
    if response.get("Content-Type") == problems.CONTENT_TYPE:
        found |= json.loads(response.content)
    return found


def _connect_url(scope: Scope, problem: Mapping[str, Any]) -> str | None:
    """Return the address that connects an account, and then leads to the call."""
    address: str | None = problem.get("connect_url")
    back = continue_url(scope) if scope["method"] in SAFE_METHODS else None
    if address is None or back is None:
        return address
    return f"{address}{'&' if '?' in address else '?'}{urlencode({REDIRECT_FIELD_NAME: back})}"


def _describe_wait(retry_after: str) -> dict[str, int]:
    """Return after how many seconds, or minutes, a request may be repeated."""
    if not (retry_after.isdecimal() and len(retry_after) <= 6):
        return {}
    seconds = int(retry_after)
    return {"seconds": seconds} if seconds <= SECONDS_SHOWN else {"minutes": -(-seconds // 60)}


def _with_length(response: HttpResponse) -> HttpResponse:
    response.headers["Content-Length"] = str(len(response.content))
    return response
