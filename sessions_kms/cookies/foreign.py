"""Takes out of a request what only passes for a cookie of the site's own.

What is read of the request later, by Django or whoever else, is what is left.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest

from sessions_kms.cookies.decoding import decode_header
from sessions_kms.cookies.names import Rules, sift

logger = logging.getLogger("sessions_kms")

MINUTE = 60.0  # seconds
NAMES_SAID = 4
SIFTED_BY = "_sessions_kms_sifted_by"  # a request's attribute
READ_FROM_META = ("COOKIES", "headers")  # which Django reads once and keeps


@dataclass
class Seldom:
    """Lets one thing a minute be said: whoever sends requests would fill the log."""

    clock: Callable[[], float] = time.monotonic
    _quiet_until: float = float("-inf")

    def may(self) -> bool:
        """Tell whether it may be said now, and take it for said."""
        now = self.clock()
        if now < self._quiet_until:
            return False
        self._quiet_until = now + MINUTE
        return True


seldom = Seldom()


def drop(request: HttpRequest, rules: Rules) -> None:
    """Leave the request those cookies only that count by the rules, decoded."""
    __traceback_hide__ = True
    done: Rules | None = getattr(request, SIFTED_BY, None)
    if done is not None and done.cover(rules):
        return
    header = counting(_header(request), rules)
    if header.decode("latin-1") != request.META.get("HTTP_COOKIE", ""):
        _replace(request, header)
    mark(request, rules)


def mark(request: HttpRequest, rules: Rules) -> None:
    """Note that what a request has of cookies is what counts by the rules.

    They are decoded here, before Django would do it, which may take long (`decoding`); what was
    decoded already stays.
    """
    __traceback_hide__ = True
    setattr(request, SIFTED_BY, rules)
    if "COOKIES" not in vars(request):
        request.COOKIES = decode_header(_text(request))


def counting(header: bytes, rules: Rules) -> bytes:
    """Return what counts of a request's Cookie header; the log tells what came twice."""
    sifted = sift(header, rules)
    if sifted.doubtful and seldom.may():
        logger.warning(
            "Cookies of this site came twice in one request: %s. Those that must come once count "
            "for nothing then, of others the last one counts. Either their domain or path was "
            "changed in the settings, or a sibling host sets one.",
            ", ".join(sorted(sifted.doubtful)[:NAMES_SAID]),
        )
    return sifted.header


def _header(request: HttpRequest) -> bytes:
    if isinstance(request, ASGIRequest):
        return header_in(request.scope["headers"])
    cookies: str = request.META.get("HTTP_COOKIE", "")
    return cookies.encode("latin-1")  # PEP 3333: each character is a byte


def _text(request: HttpRequest) -> str:
    """Return the Cookie header as Django decodes it, from each kind of server in its own way."""
    text: str = request.META.get("HTTP_COOKIE", "")
    if isinstance(request, WSGIRequest):
        return text.encode("latin-1").decode(errors="replace")
    return text


def header_in(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the Cookie headers of an ASGI scope as one (RFC 9113, section 8.2.3).

    Django 5.2 joins them by a comma, as it does other headers.
    """
    found = (value for name, value in headers if _is_cookie(name))
    return b"; ".join(filter(None, (value.strip(b"; ") for value in found)))


def _replace(request: HttpRequest, header: bytes) -> None:
    request.META["HTTP_COOKIE"] = header.decode("latin-1")
    if isinstance(request, ASGIRequest):
        others = [pair for pair in request.scope["headers"] if not _is_cookie(pair[0])]
        request.scope = {**request.scope, "headers": [*others, (b"cookie", header)]}
    for name in READ_FROM_META:
        vars(request).pop(name, None)


def _is_cookie(name: bytes) -> bool:
    return name.lower() == b"cookie"
