"""Where an upstream is reached through the gateway, as people and their clients are told."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from gateway_site.rules.upstream import Upstream


def accepts_clients(upstream: Upstream) -> bool:
    """Return True if OAuth clients, such as those of MCP, may call an upstream."""
    return upstream.clients and settings.AUTHORIZATION_SERVER is not None


def path_of(upstream: Upstream) -> str:
    """Return the path of an upstream at the gateway; the first that may be called below it."""
    return f"/gateway/{upstream.name}" + (upstream.paths[0] if upstream.paths else "")


def address_of(request: HttpRequest, upstream: Upstream) -> str:
    """Return the whole address. Clients are told that of the issuer, as the metadata has it."""
    server = settings.AUTHORIZATION_SERVER
    if server is not None and upstream.clients:
        return f"{server.issuer}{path_of(upstream)}"
    root = reverse("home").rstrip("/")
    return request.build_absolute_uri(root + path_of(upstream))
