"""The sign-in page, and the way past it: `SKIP_PROVIDER_BUTTON` with a single provider.

Nobody is led on without being asked who has just signed out, since a provider that knows them
would sign them in again; nor after a sign-in that led nowhere, which might lead there for ever.
"""

from __future__ import annotations

from typing import cast

from allauth.account.views import login
from allauth.socialaccount.adapter import get_adapter
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache

from gateway_site.forwarding.bounds.lanes import asks
from gateway_site.rules import origin
from oauth import SIGN_IN_AGAIN
from oauth.sign_in.views import lead_to


def provider_asked() -> str | None:
    """Return the only provider, which this page asks to lead to it; None where it leads nowhere."""
    found = [each.name for each in settings.OAUTH_PROVIDERS]
    return found[0] if settings.SKIP_PROVIDER_BUTTON and len(found) == 1 else None


@asks(provider_asked)
@login_not_required
@never_cache
def sign_in_page(request: HttpRequest) -> HttpResponse:
    """Offer the providers, or lead straight to the only one."""
    if not is_led_on(request):
        return cast("HttpResponse", login(request))
    [provider] = get_adapter().list_providers(request)
    return lead_to(request, get_adapter().get_provider(request, provider.sub_id))


def is_led_on(request: HttpRequest) -> bool:
    """Tell whether this page leads a visitor straight to the only provider."""
    return (
        provider_asked() is not None
        and not request.user.is_authenticated
        and not request.COOKIES.get(settings.SIGNED_OUT_COOKIE_NAME)
        and SIGN_IN_AGAIN not in request.GET
        and origin.is_navigation(request)
        and "Sec-Purpose" not in request.headers  # a page that is only made ready
    )
