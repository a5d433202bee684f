"""The body of a program's request, of a bounded size: text leaves."""

from __future__ import annotations

from django.http import HttpRequest

from oauth.clients.rules.parameters import pairs_of
from oauth.clients.rules.refusal import INVALID_REQUEST, Refused

SIZE_MAX = 8 * 1024  # bytes
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


def form_of(request: HttpRequest) -> list[tuple[str, str]]:
    """Return the fields of a form in their order. Raises Refused."""
    __traceback_hide__ = True
    return pairs_of(text_of(request, FORM))


def text_of(request: HttpRequest, kind: str) -> str:
    """Return the body, which must be of a kind. Raises Refused."""
    __traceback_hide__ = True
    if request.content_type != kind:
        raise Refused(INVALID_REQUEST, f"The request must be {kind}.")
    body = request.read(SIZE_MAX + 1)
    if len(body) > SIZE_MAX:
        raise Refused(INVALID_REQUEST, f"The request is over {SIZE_MAX:,} bytes long.")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Refused(INVALID_REQUEST, "The request is no text in UTF-8.") from None
