"""The address of a call that a person opened in a browser before they could make it.

After a sign-in, or after connecting an account, a page shows it with a button: a link of somebody
else's must not make the call.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from gateway_site.rules import url_rules
from oauth import NEXT_URL_MAX

ADDRESS_FIELD = "to"


def continue_url(scope: Mapping[str, Any]) -> str | None:
    """Return the address of the page that leads to a call after the sign-in, if it is usable."""
    query = b"?" + scope["query_string"] if scope.get("query_string") else b""
    call = ((scope.get("raw_path") or b"").partition(b"?")[0] + query).decode("latin-1")
    address = f"{reverse('onward')}?{urlencode({ADDRESS_FIELD: call})}"
    return address if is_call_address(call) and len(address) <= NEXT_URL_MAX else None


def is_call_address(address: str) -> bool:
    """Return True if an address is that of a call of an upstream here."""
    own = address.isascii() and url_has_allowed_host_and_scheme(address, allowed_hosts=None)
    return own and len(address) <= NEXT_URL_MAX and _is_call_path(address.partition("?")[0])


def _is_call_path(path: str) -> bool:
    """Return True if a path stays below the root: a browser would follow dot segments."""
    root = reverse("gateway")
    if not path.startswith(root):
        return False
    try:
        url_rules.split_path(url_rules.ROOT + path.removeprefix(root))
    except url_rules.UnsafeAddress:
        return path == root
    return True
