"""Django's request, as this gateway makes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.handlers import wsgi
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParserError
from django.utils.http import parse_header_parameters

# Attributes by which Django has a request refer to itself: its person, and its messages.
REFERRING = ("user", "auser", "_messages")
# Those of its body, up to megabytes, as it came and as it was read.
OF_BODY = ("_body", "_post", "_files")


# What Django's parser of headers raises for parameters that it cannot decode (RFC 2231).
UNREADABLE = (LookupError, TypeError, ValueError)


class UTF8Forms(HttpRequest):
    """A request that takes any `Content-Type`: one that cannot be read counts as absent.

    Its forms are UTF-8, as the pages are that they come from. Django would believe the charset,
    and answer an unknown or an impossible one with a server error.
    """

    content_type: str | None
    content_params: dict[str, str] | None

    def _set_content_type_params(self, meta: Mapping[str, str]) -> None:
        try:
            kind, parameters = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
        except UNREADABLE:
            kind, parameters = "", {}
        self.content_type, self.content_params = kind, parameters

    def parse_file_upload(self, META: Mapping[str, Any], post_data: Any) -> Any:  # noqa: N803 - as Django
        """Parse a multipart form. Raises MultiPartParserError, which is a 400."""
        try:
            return super().parse_file_upload(META, post_data)
        except UNREADABLE as error:
            raise MultiPartParserError("A part's header cannot be read.") from error


class WSGIRequest(UTF8Forms, wsgi.WSGIRequest):
    """The same under a server without ASGI."""


class Request(UTF8Forms, ASGIRequest):
    """Remembers which host it was found to be allowed for: several ask, for each request."""

    _allowed: tuple[str | None, ...] | None = None

    def get_host(self) -> str:
        """Return the host. Raises DisallowedHost."""
        named = self.META.get("HTTP_HOST"), self.META.get("HTTP_X_FORWARDED_HOST")
        if named[0] is None or self._allowed is None or self._allowed[:2] != named:
            self._allowed = (*named, super().get_host())
        return str(self._allowed[2])


def finish(request: HttpRequest) -> None:
    """Have a request that nobody asks any more hold no body, and not refer to itself.

    It would wait for the collector, which looks seldom, with its session and tokens; with those of
    pages, which Django's templates keep, anybody could fill the memory by what they send.
    """
    for name in REFERRING + OF_BODY:
        vars(request).pop(name, None)
