"""The public keys of the tokens that upstreams get (RFC 7517), for their verifiers."""

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from sessions_kms.session.cookies import without_session


@login_not_required
@without_session
@require_safe
@cache_control(public=True, max_age=300)
def key_set(request: HttpRequest) -> JsonResponse:
    """Return the key set, which everybody may read; 404 if no key is configured."""
    document = settings.IDENTITY_KEYS.to_document()
    if document is None:
        raise Http404
    return JsonResponse(document)
