"""Back to a call of an upstream that needed a sign-in first.

What follows a sign-in comes from the provider's site, and a call that other sites lead to is
refused. So its person is asked to go on: a call that somebody else's link made them want is
theirs only when they have seen its address and chosen it.
"""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from gateway_site.forwarding.onward_address import FIELD, leads_to_call


@require_safe
@never_cache
@login_required
def onward(request: HttpRequest) -> HttpResponse:
    """Offer the link to a call of an upstream."""
    address = request.GET.get(FIELD, "")
    if not leads_to_call(address):
        raise Http404
    return render(request, "onward.html", {"address": address})
