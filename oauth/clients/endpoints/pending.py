"""A consent that waits for the provider's answer, in the sealed session of this browser.

allauth keeps what waits by the `state` that the provider will send back: two tabs cannot swap
clients, an address that somebody else made up opens none, ten wait at most, and each is taken out
by its answer (`oauth.sign_in.pending`). What is kept is the authorization request as it came, and
what cannot be told from it: who the client is said to be, and who allowed it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from allauth.socialaccount.providers.base import AuthProcess
from django.http import HttpRequest, HttpResponse

from oauth.clients.rules.client import Client, Source
from oauth.sign_in import prompts, views

STATE = "oauth_client"  # of allauth's state
NEXT = "next"  # where allauth leads a person who breaks it off: to the consent again


@dataclass(frozen=True)
class Pending:
    """What a person allowed, until the provider says who they are there."""

    user: str
    name: str
    source: Source
    host: str | None
    query: str
    upstream: str | None = None  # where the person had to choose one

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Pending | None:
        """Return what waits under allauth's state; None for any other sign-in."""
        kept = state.get(STATE)
        if kept is None:
            return None
        more = {"source": Source(kept["source"]), "query": urlsplit(state[NEXT]).query}
        return cls(**kept | more)

    def client(self, client_id: str, redirect_uri: str) -> Client:
        """Return the client as it was shown."""
        return Client(client_id, self.name, (redirect_uri,), self.source, self.host)


def led_to(
    request: HttpRequest, provider_id: str, client: Client, choice: str | None = None
) -> HttpResponse:
    """Lead to the provider: a grant has an authorization of its own there.

    A rotating refresh token cannot live in two sessions. ``choice`` is the upstream that the person
    chose, None where the request names it.
    """
    provider = views.provider_of(request, provider_id)
    kept = asdict(Pending(str(request.user.pk), client.name, client.source, client.host, ""))
    del kept["query"]
    kept["source"] = client.source.value
    del kept["upstream"]
    if choice is not None:  # A release that knows no choice can read all others.
        kept["upstream"] = choice
    return views.answered(
        request,
        provider,
        lambda: provider.redirect(
            request,
            AuthProcess.REDIRECT,
            next_url=address_of(request),
            auth_params=dict(prompts.client_parameters(provider)),
            **{STATE: kept},
        ),
    )


def address_of(request: HttpRequest) -> str:
    """Return the address of the authorization request as it came."""
    return f"{request.path}?{request.META['QUERY_STRING']}"
