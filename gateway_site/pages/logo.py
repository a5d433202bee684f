"""The operator's logo, where it is a file."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe


@login_not_required
@require_safe
@cache_control(public=True, max_age=3600)
def site_logo(request: HttpRequest) -> HttpResponse:
    """Serve the logo. As a document of its own an SVG runs nothing, by the site's policy."""
    found = settings.SITE_LOGO
    if found is None or not found.content:
        raise Http404
    return HttpResponse(found.content, content_type=found.kind)
