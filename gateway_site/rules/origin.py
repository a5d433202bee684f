"""Which requests may have been meant by the person: those of our own pages, and of programs.

Fetch metadata (https://www.w3.org/TR/fetch-metadata/) and Origin (RFC 6454) decide, for safe
methods too, since an attacker wants their responses. Unsafe methods also need Django's CSRF token.
"""

from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.utils.http import is_same_domain

from gateway_site.rules.problems import Problem

OWN_SITES = frozenset({"same-origin", "none", None})  # None: not a browser, or a very old one
# What a page of this origin may load from an upstream. A script or a worker would run as
# the gateway itself, and a frame would show what it did not write.
DESTINATIONS = frozenset({"empty", "document", "image", "audio", "video", "track"})


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
