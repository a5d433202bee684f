"""Bodies from outside: a provider's response, and a form posted without a session.

Both are bounded before they are parsed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, parse_qsl

from django.http import HttpRequest

from oauth.codes import Code
from oauth.exceptions import ProviderRefused, ProviderUnavailable

FORM = "application/x-www-form-urlencoded"
DEPTH_MAX = 20  # of JSON
POSTED_FORM_MAX = 32 * 1024  # bytes
FIELDS_MAX = 20


@dataclass(frozen=True, repr=False)
class ProviderResponse:
    """What a provider answered: the status, the media type and the body.

    ``peer`` is the address that gave it, None where a proxy stood between. ``location`` is where
    a redirect, which is not followed, leads; ``date`` is the answer's own, and
    ``certificate_end`` that of the server's certificate (`notAfter`), where there is one.
    ``challenge`` is its WWW-Authenticate, ``dpop_nonce`` the nonce that it asks for from now on
    (RFC 9449). ``cache_control`` tells for how long it may be kept.
    """

    status: int
    media_type: str
    body: bytes
    peer: str | None = None
    location: str | None = None
    date: str | None = None
    certificate_end: str | None = None
    challenge: str = ""
    dpop_nonce: str | None = None
    cache_control: str = ""

    def __repr__(self) -> str:
        """Show the status, never the body."""
        return f"Answer({self.status}, {len(self.body)} bytes)"

    def parse(self) -> dict[str, Any]:
        """Return the members of the body: a JSON object, or a form as GitHub answers.

        Raises ProviderUnavailable when it is neither.
        """
        __traceback_hide__ = True
        try:
            if self.media_type == FORM:
                return dict(parse_qsl(self.body.decode(), strict_parsing=True))
            content = json.loads(self.body)
        except (RecursionError, ValueError):
            raise self._unreadable(
                "HTML" if self.media_type == "text/html" else "no JSON"
            ) from None
        if not isinstance(content, dict):
            raise self._unreadable("no JSON object")
        if not is_shallow(content):
            raise self._unreadable("nested too deeply")
        return content

    def _unreadable(self, what: str) -> ProviderUnavailable:
        return ProviderUnavailable(
            f"The provider's response cannot be parsed: it is {what}, status {self.status}.",
            Code.ANSWER_UNREADABLE,
        )

    def parse_tokens(self) -> dict[str, Any]:
        """Return the members of a token response.

        Raises ProviderUnavailable when there is none to be had now, ProviderRefused when
        the provider gives none.
        """
        __traceback_hide__ = True
        if self.is_overloaded or 300 <= self.status < 400:
            raise ProviderUnavailable(
                "The provider issues no tokens at the moment.", Code.TOKEN_STATUS
            )
        content = self.parse()
        if self.status != 200 or content.get("error") is not None:
            raise ProviderRefused(
                "The provider rejects the token request.",
                Code.of_answer("token", content.get("error")),
            )
        return content

    @property
    def is_overloaded(self) -> bool:
        """Tell whether the provider says that it cannot work now (RFC 9110, RFC 6585)."""
        return self.status >= 500 or self.status == 429


def is_shallow(content: object, levels: int = DEPTH_MAX) -> bool:
    """Tell whether JSON is nested in so many levels at most."""
    if not isinstance(content, dict | list):
        return True
    members = content.values() if isinstance(content, dict) else content
    return levels > 0 and all(is_shallow(each, levels - 1) for each in members)


def read_posted_form(request: HttpRequest) -> dict[str, list[str]]:
    """Return what is posted, by its names. Raises ValueError, with a sentence that says why."""
    if request.content_type != FORM:
        raise ValueError("The request is not a form.")
    body = request.read(POSTED_FORM_MAX + 1)
    if len(body) > POSTED_FORM_MAX:
        raise ValueError("The request is too long.")
    try:
        return parse_qs(body.decode("ascii"), max_num_fields=FIELDS_MAX)
    except ValueError:
        raise ValueError("The request is not a form.") from None
