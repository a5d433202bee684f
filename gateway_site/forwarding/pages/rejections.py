"""Responses to requests for pages that are rejected in the event loop, before Django sees them.

Nothing is rendered here: the event loop serves everybody. The 503 page is rendered at start, since
it is needed when no thread is free.
"""

from http import HTTPStatus

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpResponse
from django.utils import translation

from gateway_site.edge import languages
from gateway_site.edge.client import Scope
from gateway_site.rules import problems
from sessions_kms.middleware import unavailable


class UnavailablePage:
    """The 503 page, rendered in each language when this is created."""

    def __init__(self) -> None:
        self._pages = {code: _render(code) for code, _ in settings.LANGUAGES}

    def response(self, scope: Scope, view: object, detail: str) -> HttpResponse:
        """Return the 503 in the format of a view for programs, or else the page."""
        if (own := problems.unavailable_response(view, detail)) is not None:
            return _with_length(own)
        page = self._pages[_language_of(scope)]
        response = HttpResponse(page.content, status=page.status_code, headers=page.headers)
        return _with_length(response)


def body_rejection(view: object, error: RequestDataTooBig | TimeoutError) -> HttpResponse:
    """Return a 413 or a 408 in the format of a view for programs, or else as plain text."""
    status = HTTPStatus(413 if isinstance(error, RequestDataTooBig) else 408)
    own = problems.rejection_response(view, status) if settings.AUTHORIZATION_SERVER else None
    text = f"{status} {status.phrase}"
    return _with_length(own or HttpResponse(text, status=status, content_type="text/plain"))


def _render(language: str) -> HttpResponse:
    with translation.override(language):
        return unavailable()


def _language_of(scope: Scope) -> str:
    """Return one of `LANGUAGES`."""
    with languages.of_scope(scope):
        return translation.get_language()


def _with_length(response: HttpResponse) -> HttpResponse:
    response.headers["Content-Length"] = str(len(response.content))
    return response
