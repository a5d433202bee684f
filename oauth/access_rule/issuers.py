"""The issuers whose answers are read in a way of their own."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

GOOGLE = "accounts.google.com"
APPLE = "appleid.apple.com"
GITHUB = "github.com"  # of its authorization endpoint: it has no issuer
# Where each of Microsoft's clouds has Graph.
# https://learn.microsoft.com/en-us/graph/deployments
GRAPH_OF = {
    "login.microsoftonline.com": "https://graph.microsoft.com",
    "login.microsoftonline.us": "https://graph.microsoft.us",
    "login.partner.microsoftonline.cn": "https://microsoftgraph.chinacloudapi.cn",
}
# Object ids of Entra ID's groups: one is of one tenant alone.
GROUP_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# Tenants that stand for everybody's; the last is that of personal accounts.
# https://learn.microsoft.com/en-us/entra/identity-platform/v2-protocols#endpoints
SHARED_TENANTS = frozenset(
    {"common", "organizations", "consumers", "9188040d-6c67-4c5b-b112-36a304b66dad"}
)


def is_google(issuer: str | None) -> bool:
    """Tell whether this is Google's, which has Workspace domains and no groups."""
    return _host(issuer) == GOOGLE


def is_apple(issuer: str | None) -> bool:
    """Tell whether this is Apple's, which has no groups."""
    return _host(issuer) == APPLE


def is_entra(issuer: str | None) -> bool:
    """Tell whether this is Microsoft Entra ID, in any of its clouds."""
    return _host(issuer) in GRAPH_OF


def graph(issuer: str) -> str:
    """Return where Microsoft Graph is for an issuer of Entra ID."""
    return GRAPH_OF[_host(issuer)]


def is_shared_entra(issuer: str | None) -> bool:
    """Tell whether people of any tenant of Entra ID may come from this issuer."""
    if not is_entra(issuer):
        return False
    tenant = urlsplit(issuer or "").path.strip("/").partition("/")[0]
    return tenant.lower() in SHARED_TENANTS


def is_open(issuer: str | None) -> bool:
    """Tell whether anybody may open an account there, by an issuer or where its people sign in."""
    return _host(issuer) in {GOOGLE, APPLE, GITHUB} or is_shared_entra(issuer)


def _host(issuer: str | None) -> str:
    return (urlsplit(issuer).hostname or "") if issuer else ""
