"""What a person sees before they allow a client anything.

What anybody may claim stands apart from what is known: who stands for the name, and where the
answer goes, which no client can choose freely.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from allauth.account.utils import user_display
from allauth.socialaccount.models import SocialAccount
from allauth.socialaccount.providers.base import AuthProcess
from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from oauth.clients.endpoints import pending
from oauth.clients.rules import names, redirect_uris, resources
from oauth.clients.rules.authorization_request import Asked
from oauth.clients.rules.client import Client
from oauth.clients.server import AuthorizationServer
from oauth.provider import config
from oauth.sign_in import prompts, views
from sessions_kms.services import services

UPSTREAM = "upstream"  # of the form, where the person has to choose one
NO_CHOICE = "Nothing was allowed yet. Please choose what the app may use, then confirm again."
UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


@dataclass(frozen=True)
class Choice:
    """An upstream that a request may be about, as a person is shown it."""

    upstream: str
    address: str
    provider: str
    accounts: list[str]
    prompts: bool
    connect_url: str


def page(
    request: HttpRequest,
    server: AuthorizationServer,
    client: Client,
    asked: Asked,
    choices: tuple[str, ...],
    *,
    notice: str = "",
) -> HttpResponse:
    """Return the page that asks; once more with a ``notice`` why the answer did not count."""
    shown = _shown(request, server, choices)
    context = {
        "client": client,
        "source": client.source.value,
        "name_warning": names.warning_about(client.name),
        "place": leads_to(asked.redirect_uri),
        "is_loopback": redirect_uris.is_loopback(asked.redirect_uri),
        "is_private": not asked.redirect_uri.startswith(("http://", "https://")),
        "choices": shown,
        "only": shown[0] if len(shown) == 1 else None,
        "is_allowable": any(each.accounts for each in shown),
        "to_connect": {each.provider: each for each in shown if not each.accounts}.values(),
        "person": user_display(request.user),
        "notice": notice,
        "ends_at": _end(),
        "idle": _in_words(settings.SESSION_COOKIE_AGE),
        "address": pending.address_of(request),
        "connect": {
            "process": AuthProcess.CONNECT,
            REDIRECT_FIELD_NAME: pending.address_of(request),
        },
    }
    return render(request, "oauth/clients/consent.html", context)


def _shown(
    request: HttpRequest, server: AuthorizationServer, upstreams: tuple[str, ...]
) -> list[Choice]:
    """Return the upstreams as they are shown; each provider's accounts are read once."""
    providers = {server.upstreams[each] for each in upstreams}
    accounts = {each: accounts_of(request, each) for each in providers}
    found = []
    for upstream in upstreams:
        provider_id = server.upstreams[upstream]
        provider, of_allauth = config.provider(provider_id), views.provider_of(request, provider_id)
        found.append(
            Choice(
                upstream=upstream,
                address=resources.resource_of(server.issuer, upstream),
                provider=provider.label if provider else provider_id,
                accounts=accounts[provider_id],
                prompts=prompts.asks_after_consent(of_allauth),
                connect_url=of_allauth.get_login_url(request),
            )
        )
    return found


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
