"""The headers that Django's middleware sets by the settings, for responses that it does not see."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware

from gateway_site.edge.middleware import ContentPolicyMiddleware
from gateway_site.forwarding.request import never_called
from gateway_site.rules import url_rules
from gateway_site.rules.headers import Headers

SETTERS = (XFrameOptionsMiddleware, ContentPolicyMiddleware, SecurityMiddleware)


class _Secure(HttpRequest):
    scheme = "https"


@dataclass(frozen=True, slots=True)
class FixedHeaders:
    """Headers of every response, for those of Django and those of upstreams."""

    pairs: tuple[tuple[str, str], ...]
    encoded: Headers


def fixed_headers() -> Mapping[bool, FixedHeaders]:
    """Return the headers, by whether a request is secure."""
    return {kind is _Secure: _set_on(kind()) for kind in (HttpRequest, _Secure)}


def _set_on(request: HttpRequest) -> FixedHeaders:
    request.path_info = url_rules.ROOT
    response = HttpResponse()
    del response.headers["Content-Type"]
    for kind in SETTERS:
        kind(never_called).process_response(request, response)
    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in response.items()]
    return FixedHeaders(tuple(response.items()), encoded)
