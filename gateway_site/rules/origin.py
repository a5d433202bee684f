"""Which requests may have been meant by the person: those of our own pages, and of programs.

Fetch metadata (https://www.w3.org/TR/fetch-metadata/) and Origin (RFC 6454) decide, for safe
methods too, since an attacker wants their responses. Unsafe methods also need Django's CSRF token.
"""

import re
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.utils.http import is_same_domain

from gateway_site.rules.headers import Headers, joined_values
from gateway_site.rules.problems import Problem

OWN_SITES = frozenset({"same-origin", "none", None})  # None: not a browser, or a very old one
# What a page of this origin may load from an upstream. A script or a worker would run as
# the gateway itself, and a frame would show what it did not write.
DESTINATIONS = frozenset({"empty", "document", "image", "audio", "video", "track"})

# The formats of errors, beside pages, and the ranges that contain these.
DOCUMENT_TYPES = frozenset({"application/problem+json", "application/json", "application/*", "*/*"})
ACCEPT_MAX = 1000  # characters of `Accept` that are read
WEIGHT = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")  # RFC 9110 section 12.4.2


def check_origin(request: HttpRequest) -> None:
    """Raise Problem unless the person may have meant the request.

    An origin in CSRF_TRUSTED_ORIGINS counts like our own.
    """
    if not _is_same_origin(request):
        raise Problem(
            403,
            "cross_site",
            "Requests from other sites, or redirected through them, are not accepted.",
        )
    if request.META.get("HTTP_SEC_FETCH_DEST", "empty") not in DESTINATIONS:
        raise Problem(
            403, "destination", "An upstream's response cannot be a script, a style or a frame."
        )


def is_navigation(request: HttpRequest) -> bool:
    """Return True if a person is waiting for a page."""
    if request.method != "GET":
        return False
    mode = request.META.get("HTTP_SEC_FETCH_MODE")
    return mode == "navigate" if mode else "text/html" in request.META.get("HTTP_ACCEPT", "")


def shows_page(headers: Headers) -> bool:
    """Return True if a browser shows the response to a person, who can read pages alone.

    That is a top-level navigation by any method (`Sec-Fetch-Dest`). Without this header, the client
    has to prefer HTML to every other type in `Accept` (RFC 9110 section 12.5.1).
    """
    found = joined_values(headers, b"sec-fetch-dest")
    if found:
        return found == "document"
    return _prefers_html(joined_values(headers, b"accept"))


def _prefers_html(accept: str) -> bool:
    html, other = 0.0, 0.0
    for part in accept[:ACCEPT_MAX].split(","):
        media_type, _, parameters = part.partition(";")
        weight = _weight(parameters)
        if media_type.strip().lower() == "text/html":
            html = max(html, weight)
        elif media_type.strip().lower() in DOCUMENT_TYPES:
            other = max(other, weight)
    return html > other


def _weight(parameters: str) -> float:
    """Return the weight of a media range: 1 without one, 0 if it is malformed."""
    name, _, value = parameters.rpartition(";")[2].partition("=")
    if name.strip().lower() != "q":
        return 1.0
    return float(value) if WEIGHT.fullmatch(value.strip()) else 0.0


def is_browser(request: HttpRequest) -> bool:
    """Return True if a browser sent the request: Node's fetch sends the mode, but no site."""
    return "HTTP_SEC_FETCH_SITE" in request.META


def _is_same_origin(request: HttpRequest) -> bool:
    """Check both headers; a redirect through another site shows only in Sec-Fetch-Site."""
    # From META: building `headers` would convert all of it.
    origin = request.META.get("HTTP_ORIGIN")
    if origin is not None and _is_trusted(origin):
        return True
    if origin is not None and origin != f"{request.scheme}://{request.get_host()}":
        return False
    return request.META.get("HTTP_SEC_FETCH_SITE") in OWN_SITES


def _is_trusted(origin: str) -> bool:
    """Return True if CSRF_TRUSTED_ORIGINS has it, with Django's meaning of `*.`."""
    try:
        given = urlsplit(origin)
    except ValueError:
        return False
    trusted = [urlsplit(item) for item in settings.CSRF_TRUSTED_ORIGINS]
    return any(
        given.scheme == item.scheme and is_same_domain(given.netloc, item.netloc.lstrip("*"))
        for item in trusted
    )
