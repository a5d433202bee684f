"""The id of a request, by which what a person reports is found in the log.

Whoever gives requests their ids puts them into the attribute, before anything here asks; without
that one is made at the first question, and kept for the request.
"""

from __future__ import annotations

import secrets

from django.http import HttpRequest

ATTRIBUTE = "request_id"


def request_id(request: HttpRequest) -> str:
    """Return the id of a request."""
    if not hasattr(request, ATTRIBUTE):
        setattr(request, ATTRIBUTE, secrets.token_hex(8))
    return str(getattr(request, ATTRIBUTE))
