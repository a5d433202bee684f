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
from oauth.sign_in import views
from sessions_kms.services import services

UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


def page(
    request: HttpRequest, client: Client, asked: Asked, wish: Wish, provider_id: str
) -> HttpResponse:
    """Return the page that asks."""
    provider = config.provider(provider_id)
    context = {
        "client": client,
        "source": client.source.value,
        "mixes_alphabets": names.mixes_alphabets(client.name),
        "place": leads_to(asked.redirect_uri),
        "is_loopback": redirect_uris.is_loopback(asked.redirect_uri),
        "is_private": not asked.redirect_uri.startswith(("http://", "https://")),
        "upstream": wish.upstream,
        "provider": provider.label if provider else provider_id,
        "person": user_display(request.user),
        "has_account": has_account(request, provider_id),
        "ends_at": _end(),
        "idle": _in_words(settings.SESSION_COOKIE_AGE),
        "address": pending.address_of(request),
        "connect_url": views.provider_of(request, provider_id).get_login_url(request),
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


def has_account(request: HttpRequest, provider_id: str) -> bool:
    """Tell whether the person has an account at a provider, with which they may allow it."""
    found = SocialAccount.objects.filter(user=request.user.pk, provider=provider_id)
    return bool(found.exists())


def leads_to(redirect_uri: str) -> str:
    """Return what a person is told of where the answer goes: a host, in letters of ASCII."""
    if redirect_uris.is_loopback(redirect_uri):
        return "this computer"
    host = redirect_uris.host_of(redirect_uri)
    scheme = redirect_uri.partition(":")[0]
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
