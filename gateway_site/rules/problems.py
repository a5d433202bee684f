"""Errors as problem documents (RFC 9457). Fixed sentences: nothing of an upstream's, no secret."""

import json
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import resolve_url

from sessions_kms.outages import Outage

CONTENT_TYPE = "application/problem+json"
MARK = "X-Gateway-Problem"  # with the problem's code; no response of an upstream has it
SESSION_FULL = "session_full"  # also a code of `oauth`, on pages and in metrics
RETRY_AFTER = 5  # seconds

outage_logger = logging.getLogger("gateway_site.outages")
# Whether the SQL database is out of reach of this process, logged once per outage.
database_outage = Outage(outage_logger, "database", "The database")

# For requests that Django and its middleware reject before the gateway's own rules apply.
DETAILS = {
    400: "The request was not understood.",
    403: "The CSRF token is missing or wrong: GET /gateway/ gives one, with the header it goes in.",
    404: "There is nothing at this address.",
    405: "This method is not accepted here.",
    408: "The request did not arrive in time.",
    413: "The request is too large.",
    500: "The gateway failed.",
    503: "The session store cannot be used at the moment. Try again in a few seconds.",
}


class Problem(Exception):
    """A request that is answered with a problem document.

    `code` names the kind of problem for programs; `members` are more of its members.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: dict[str, str] | None = None,
        **members: str,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers or {}
        self.members = members

    def response(self) -> HttpResponse:
        """Return the problem document."""
        content = document(self.status, self.code, self.detail, **self.members)
        headers = {"Cache-Control": "no-store", MARK: self.code, **self.headers}
        if self.status == HTTPStatus.UNAUTHORIZED:
            # RFC 9110 section 15.5.2 requires a challenge; with this scheme no browser asks for a
            # password.
            headers.setdefault("WWW-Authenticate", 'Cookie realm="gateway"')
        return HttpResponse(content, status=self.status, content_type=CONTENT_TYPE, headers=headers)


def document(status: int, code: str, detail: str, **members: str) -> bytes:
    """Return the text of a problem document (RFC 9457 section 3)."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        **members,
    }
    return json.dumps(content).encode()


def code_of(status: int) -> str:
    """Return the code of a problem that has only a status."""
    return HTTPStatus(status).phrase.lower().replace(" ", "_")


def unavailable(code: str, detail: str, *, status: int = 503) -> Problem:
    """Return a problem that may be solved by trying again later."""
    return Problem(status, code, detail, headers={"Retry-After": str(RETRY_AFTER)})


def unavailable_response(view: object, detail: str) -> HttpResponse | None:
    """Return the 503 in the format of a view for programs; None for any other view."""
    own: Callable[[str], HttpResponse] | None = getattr(view, "not_now", None)
    return None if own is None else own(detail)


def rejection_response(view: object, status: int) -> HttpResponse | None:
    """Return the rejection in the format of a view for programs; None for any other view."""
    own: Callable[[int, str], HttpResponse] | None = getattr(view, "refused", None)
    return None if own is None else own(status, DETAILS[status])


def signed_out() -> Problem:
    """Return the problem of a caller without a session."""
    sign_in = resolve_url(settings.LOGIN_URL)
    return Problem(401, "signed_out", "Nobody is signed in.", sign_in_url=sign_in)


def forbidden(provider: str) -> Problem:
    """Return the problem of a person who is in none of an upstream's groups."""
    detail = (
        f"Your groups at {provider} do not let you call this upstream. If they should, ask the "
        "people who run this gateway, and sign in again after the change."
    )
    return Problem(403, "forbidden_upstream", detail, provider=provider)


def session_full(connection: str | None) -> Problem:
    """Return the problem of a session without room; `connection` takes the most of it."""
    detail = "This session has no room for more tokens. Sign out and in again."
    if connection is None:
        return Problem(409, SESSION_FULL, detail)
    detail = (
        f"This session has no room for more tokens. The largest connection is {connection!r}: "
        "disconnect it or another one, or sign out and in again."
    )
    return Problem(
        409, SESSION_FULL, detail, connection=connection, connections_url=resolve_url("home")
    )


def as_problem(response: HttpResponse) -> HttpResponse:
    """Return a problem document instead of an error page, with its headers."""
    if response.status_code < 400 or MARK in response:
        return response
    status = response.status_code
    problem = Problem(
        status, code_of(status), DETAILS.get(status, HTTPStatus(status).description)
    ).response()
    copy_headers(response, problem)
    return problem


def copy_headers(source: HttpResponseBase, response: HttpResponse) -> None:
    """Copy cookies and headers of a response to another, except those it has."""
    for name, value in source.items():
        if name.lower() not in {"content-length", "content-type"}:
            response.headers.setdefault(name, value)
    response.cookies.update(source.cookies)
