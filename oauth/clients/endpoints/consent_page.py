"""What a person sees before they allow a client anything.

What anybody may claim stands apart from what is known: who stands for the name, and where the
answer goes, which no client can choose freely.
"""

from __future__ import annotations

from datetime import UTC, datetime

from allauth.account.utils import user_display
from allauth.socialaccount.models import SocialAccount
from allauth.socialaccount.providers.base import AuthProcess
from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from oauth.clients.endpoints import pending
from oauth.clients.rules import names, redirect_uris
from oauth.clients.rules.authorization_request import Asked, Wish
from oauth.clients.rules.client import Client
from oauth.provider import config
from oauth.sign_in import click_delay, prompts, views
from sessions_kms.services import services

UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


def page(
    request: HttpRequest,
    client: Client,
    asked: Asked,
    wish: Wish,
    provider_id: str,
    *,
    is_too_soon: bool = False,
) -> HttpResponse:
    """Return the page that asks; once more, where the person's answer came too soon to count."""
    provider = config.provider(provider_id)
    provider_of_allauth = views.provider_of(request, provider_id)
    context = {
        "client": client,
        "source": client.source.value,
        "name_warning": names.warning_about(client.name),
        "place": leads_to(asked.redirect_uri),
        "is_loopback": redirect_uris.is_loopback(asked.redirect_uri),
        "is_private": not asked.redirect_uri.startswith(("http://", "https://")),
        "upstream": wish.upstream,
        "provider": provider.label if provider else provider_id,
        "person": user_display(request.user),
        "accounts": accounts_of(request, provider_id),
        "prompts": prompts.asks_after_consent(provider_of_allauth),
        "too_soon": click_delay.TOO_SOON if is_too_soon else "",
        "ends_at": _end(),
        "idle": _in_words(settings.SESSION_COOKIE_AGE),
        "address": pending.address_of(request),
        "connect_url": provider_of_allauth.get_login_url(request),
        "connect": {
            "process": AuthProcess.CONNECT,
            REDIRECT_FIELD_NAME: pending.address_of(request),
        },
    }
    return render(request, "oauth/clients/consent.html", context)


def before_fetch(request: HttpRequest, host: str) -> HttpResponse:
    """Return the page that asks before a client's document is fetched from its host."""
    context = {"host": host, "address": pending.address_of(request)}
    return render(request, "oauth/clients/before_fetch.html", context)


def accounts_of(request: HttpRequest, provider_id: str) -> list[str]:
    """Return what the person's accounts at a provider are called there.

    A consent needs one of them: the grant gets the tokens of the one that they sign in with.
    """
    accounts = SocialAccount.objects.filter(user=request.user.pk, provider=provider_id)
    return [str(each.get_provider_account()) for each in accounts.order_by("pk")]


def leads_to(redirect_uri: str) -> str:
    """Return the destination of the answer as a person is shown it: host and port, in ASCII."""
    if redirect_uris.is_loopback(redirect_uri):
        return "this computer"
    scheme = redirect_uri.partition(":")[0]
    host = redirect_uris.authority_of(redirect_uri)
    return host if scheme == "https" else f"{scheme}://{host}"


def _end() -> datetime:
    """Return when the grant ends at the latest."""
    made = services()
    return datetime.fromtimestamp(made.clock() + made.config.grant_age, UTC)


def _in_words(seconds: int) -> str:
    """Return a time in its largest whole unit."""
    name, size = next(each for each in UNITS if seconds >= each[1])
    number = seconds // size
    return f"{number} {name}" + ("s" if number > 1 else "")
