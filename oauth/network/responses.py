"""Untrusted bodies: a provider's response, and a form posted without a session.

Both are limited in size before they are parsed.
"""

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, parse_qsl

from django.http import HttpRequest

from oauth.codes import Code
from oauth.exceptions import ProviderRefused, ProviderUnavailable
from oauth.formats import InvalidJSON, parse_json

FORM = "application/x-www-form-urlencoded"
DEPTH_MAX = 20  # levels of JSON
POSTED_FORM_MAX = 32 * 1024  # bytes
FIELDS_MAX = 20
JSON = re.compile(r"application/(?:[a-z0-9.-]+\+)?json")  # RFC 6839 section 3.1


@dataclass(frozen=True, repr=False)
class ProviderResponse:
    """A provider's response: the status, the media type and the body.

    ``peer`` is the IP address of the server, None behind a proxy. ``location`` is the target of a
    redirect, which is not followed; ``date`` is the Date header, and ``certificate_end`` the
    `notAfter` of the server's certificate, if any. ``challenge`` is the WWW-Authenticate header,
    ``dpop_nonce`` the nonce to use from now on (RFC 9449), ``cache_control`` the Cache-Control
    header.
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
        return f"ProviderResponse({self.status}, {len(self.body)} bytes)"

    def parse(self) -> dict[str, Any]:
        """Return the members of the body: a JSON object, or a form, which GitHub returns.

        Raises ProviderUnavailable if it is neither.
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

    def parse_document(self) -> dict[str, Any]:
        """Return the members of a JSON object from a stranger, which all parsers read alike.

        Raises ProviderUnavailable.
        """
        if not JSON.fullmatch(self.media_type):
            raise self._unreadable("no JSON")
        try:
            content = parse_json(self.body)
        except InvalidJSON:
            raise self._unreadable("no valid JSON") from None
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

        Raises ProviderUnavailable if the provider issues no tokens now, ProviderRefused if it
        rejects the request.
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
                Code.of_error("token", content.get("error")),
            )
        return content

    @property
    def is_overloaded(self) -> bool:
        """Return True if the provider reports a temporary failure (RFC 9110, RFC 6585)."""
        return self.status >= 500 or self.status == 429


def is_shallow(content: object, levels: int = DEPTH_MAX) -> bool:
    """Return True if JSON is nested at most ``levels`` deep."""
    if not isinstance(content, dict | list):
        return True
    members = content.values() if isinstance(content, dict) else content
    return levels > 0 and all(is_shallow(each, levels - 1) for each in members)


def read_posted_form(request: HttpRequest) -> dict[str, list[str]]:
    """Return the posted fields. Raises ValueError with a sentence that gives the reason."""
    if request.content_type != FORM:
        raise ValueError("The request is not a form.")
    body = request.read(POSTED_FORM_MAX + 1)
    if len(body) > POSTED_FORM_MAX:
        raise ValueError("The request is too long.")
    try:
        return parse_qs(body.decode("ascii"), max_num_fields=FIELDS_MAX)
    except ValueError:
        raise ValueError("The request is not a form.") from None
