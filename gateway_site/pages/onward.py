"""Back to a call of an upstream that needed a sign-in first.

What follows a sign-in comes from the provider's site, and a call that other sites lead to is
refused. So its person is asked to go on: a call that somebody else's link made them want is
theirs only when they have seen its address and chosen it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from oauth.sign_in.pending import NEXT_MAX

FIELD = "to"


@require_safe
@never_cache
@login_required
def onward(request: HttpRequest) -> HttpResponse:
    """Offer the link to a call of an upstream."""
    address = request.GET.get(FIELD, "")
    if not _is_call(address):
        raise Http404
    return render(request, "onward.html", {"address": address})


def address_of(scope: dict[str, Any]) -> str | None:
    """Return this page's address for a call as it came; None for one that cannot be kept."""
    query = b"?" + scope["query_string"] if scope.get("query_string") else b""
    call = ((scope.get("raw_path") or b"").partition(b"?")[0] + query).decode("latin-1")
    address = f"{reverse('onward')}?{urlencode({FIELD: call})}"
    return address if _is_call(call) and len(address) <= NEXT_MAX else None


def _is_call(address: str) -> bool:
    own = address.isascii() and url_has_allowed_host_and_scheme(address, allowed_hosts=None)
    return own and address.startswith(reverse("gateway")) and len(address) <= NEXT_MAX
