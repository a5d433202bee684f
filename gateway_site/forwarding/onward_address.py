"""The address of the page that leads back to a call, once its person has signed in."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from gateway_site.rules import url_rules
from oauth import NEXT_URL_MAX

FIELD = "to"


def of_call(scope: dict[str, Any]) -> str | None:
    """Return this page's address for a call as it came; None for one that cannot be kept."""
    query = b"?" + scope["query_string"] if scope.get("query_string") else b""
    call = ((scope.get("raw_path") or b"").partition(b"?")[0] + query).decode("latin-1")
    address = f"{reverse('onward')}?{urlencode({FIELD: call})}"
    return address if leads_to_call(call) and len(address) <= NEXT_URL_MAX else None


def leads_to_call(address: str) -> bool:
    """Tell whether an address is that of a call of an upstream of ours."""
    own = address.isascii() and url_has_allowed_host_and_scheme(address, allowed_hosts=None)
    return own and len(address) <= NEXT_URL_MAX and _is_of_calls(address.partition("?")[0])


def _is_of_calls(path: str) -> bool:
    """Tell whether a path stays there: a browser would follow dot segments out of it."""
    root = reverse("gateway")
    if not path.startswith(root):
        return False
    try:
        url_rules.split(url_rules.ROOT + path.removeprefix(root))
    except url_rules.PathRefused:
        return path == root
    return True
