"""A form that somebody without a session posts: bounded, and each field once."""

from __future__ import annotations

from urllib.parse import parse_qs

from django.http import HttpRequest

BODY_MAX = 32 * 1024  # bytes
FIELDS_MAX = 20
FORM = "application/x-www-form-urlencoded"


def fields_of(request: HttpRequest) -> dict[str, list[str]]:
    """Return what is posted, by its names. Raises ValueError, with a sentence that says why."""
    if request.content_type != FORM:
        raise ValueError("The request is not a form.")
    body = request.read(BODY_MAX + 1)
    if len(body) > BODY_MAX:
        raise ValueError("The request is too long.")
    try:
        return parse_qs(body.decode("ascii"), max_num_fields=FIELDS_MAX)
    except ValueError:
        raise ValueError("The request is not a form.") from None
