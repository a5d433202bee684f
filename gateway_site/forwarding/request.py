"""Requests as this gateway has Django make them, for pages and for calls."""

import asyncio
from collections.abc import Mapping
from typing import Any, Never

from django.core.cache import close_caches
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.core.handlers.base import reset_urlconf
from django.db import close_old_connections, reset_queries
from django.dispatch import Signal
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParserError
from django.utils.http import parse_header_parameters

from sessions_kms.concurrency.threads import executor, in_thread

# Without these headers, Django does not look for a body, which stays in the ASGI channel.
BODY_HEADERS = frozenset({b"content-length", b"content-type", b"transfer-encoding"})
# Attributes that refer back to the request: its user, and its messages.
SELF_REFERENCES = ("user", "auser", "_messages")
# Attributes of the body, raw and parsed, up to megabytes.
BODY_ATTRIBUTES = ("_body", "_post", "_files")
# What Django's header parser raises for parameters that it cannot decode (RFC 2231).
UNREADABLE_HEADER = (LookupError, TypeError, ValueError)


class GatewayRequest(ASGIRequest):
    """A request that accepts any `Content-Type`; an unreadable one counts as absent.

    Its forms are UTF-8, like the pages that contain them. Django would trust the charset, and
    answer an unknown or impossible one with a server error. It remembers the host that was checked:
    several parts ask for it in every request.
    """

    content_type: str | None
    content_params: dict[str, str] | None
    _allowed: tuple[str | None, ...] | None = None

    def get_host(self) -> str:
        """Return the host. Raises DisallowedHost."""
        named = self.META.get("HTTP_HOST"), self.META.get("HTTP_X_FORWARDED_HOST")
        if named[0] is None or self._allowed is None or self._allowed[:2] != named:
            self._allowed = (*named, super().get_host())
        return str(self._allowed[2])

    def _set_content_type_params(self, meta: Mapping[str, str]) -> None:
        try:
            kind, parameters = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
        except UNREADABLE_HEADER:
            kind, parameters = "", {}
        self.content_type, self.content_params = kind, parameters

    def parse_file_upload(self, META: Mapping[str, Any], post_data: Any) -> Any:  # noqa: N803 - as Django
        """Parse a multipart form. Raises MultiPartParserError, which is a 400."""
        try:
            return super().parse_file_upload(META, post_data)
        except UNREADABLE_HEADER as error:
            raise MultiPartParserError("A part's header cannot be read.") from error


def never_called(request: HttpRequest) -> Never:
    """Stand for the view, where Django's middleware is used without its chain."""
    raise NotImplementedError


def release_request(request: HttpRequest) -> None:
    """Remove the body and self-references from a finished request.

    Otherwise it waits for the garbage collector, which runs rarely, with its session and tokens.
    Django's templates keep requests of pages, so anybody could fill the memory with what they send.
    """
    for name in SELF_REFERENCES + BODY_ATTRIBUTES:
        vars(request).pop(name, None)


RECEIVER_THREADS = 4
# Django's own receivers of request_started and request_finished. They clean up connections of a
# thread, of which the event loop's has none, and variables that end with the request's context.
DJANGO_RECEIVERS = frozenset(
    map(id, (reset_queries, close_old_connections, close_caches, reset_urlconf))
)


async def send_signal(signal: Signal, **arguments: Any) -> None:
    """Send request_started or request_finished for a call, if a project listens.

    Its receivers may block: they run in threads of their own, since with `asend` all of them, and
    all else that Django runs in one thread, would wait for each other. They get the signal even if
    the call is cancelled meanwhile: a project may count on both.
    """
    if not DJANGO_RECEIVERS.issuperset([found[0][0] for found in signal.receivers]):
        sending = in_thread(
            executor("gateway-receivers", RECEIVER_THREADS), _call_receivers, signal, arguments
        )
        await asyncio.shield(asyncio.ensure_future(sending))


def _call_receivers(signal: Signal, arguments: Mapping[str, Any]) -> None:
    try:
        signal.send(sender=ASGIHandler, **arguments)
    finally:
        close_old_connections()  # the other signal may be sent in another thread
