"""Stores a pending consent in the browser's session and completes it after the provider's response.

allauth stores each pending consent under the `state` that the provider will return. So two tabs
cannot swap clients, and a made-up callback completes nothing. At most ten can be pending, and each
is removed by its response (`oauth.sign_in.views`). A pending consent has the authorization request,
and what cannot be derived from it: how the client was shown, and who allowed it.

allauth sends `pre_social_login` after it has accepted the response and knows the account. The
handler ends allauth's flow there: it neither signs anybody in nor connects an account. Only the
tokens of this exchange are sealed into the grant: the token set that allauth passes on may have the
refresh token of the browser's session.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import urlsplit

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.models import SocialLogin
from allauth.socialaccount.providers.base import AuthProcess
from allauth.socialaccount.signals import pre_social_login
from django.contrib.auth import BACKEND_SESSION_KEY
from django.contrib.auth.base_user import AbstractBaseUser
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from oauth.clients import wanted_scopes
from oauth.clients.consent import Consent, describe_app
from oauth.clients.endpoints import pages
from oauth.clients.grants import grants
from oauth.clients.rules import authorization_request
from oauth.clients.rules.client import Client, Source
from oauth.clients.rules.errors import RequestRejected
from oauth.clients.server import authorization_server
from oauth.logout.deferred_revocation import revoke_unused
from oauth.provider.token_set import TokenSet
from oauth.sign_in import prompts, views
from sessions_kms import SessionTooLarge, StoreUnavailable, user_id_of
from sessions_kms.concurrency.waits import run_sync

logger = logging.getLogger(__name__)

STATE_KEY = "oauth_client"  # of allauth's state
NEXT_KEY = "next"  # where allauth redirects a person who cancels: to the consent page again


@dataclass(frozen=True)
class PendingConsent:
    """What a person allowed, until the provider confirms their account there."""

    user: str
    name: str
    source: Source
    host: str | None
    query: str
    upstream: str | None = None  # only if the person had to choose one
    needs_authentication: bool = False
    needs_proof: bool = False

    @classmethod
    def from_state(
        cls, pending: Mapping[str, Any] | None, next_url: str | None
    ) -> "PendingConsent | None":
        """Return what `to_state` returned; None for no consent. The URL has the request."""
        if pending is None:
            return None
        more = {"source": Source(pending["source"]), "query": urlsplit(next_url or "").query}
        return cls(**{**pending, **more})

    def to_state(self) -> dict[str, Any]:
        """Return what a state stores; the query is in its URL."""
        stored = {**asdict(self), "source": self.source.value}
        del stored["query"]
        return stored

    @classmethod
    def of(cls, request: HttpRequest, client: Client, choice: str | None) -> "PendingConsent":
        """Return the consent of the request's person to a client."""
        return cls(
            str(request.user.pk),
            client.name,
            client.source,
            client.host,
            query="",
            upstream=choice,
            needs_authentication=not client.authentication.is_public,
            needs_proof=client.needs_proof and authorization_server().dpop,
        )

    def client(self, client_id: str, redirect_uri: str) -> Client:
        """Return the client as the consent page showed it."""
        return Client(client_id, self.name, (redirect_uri,), self.source, self.host)


def redirect_to_provider(
    request: HttpRequest, provider_id: str, client: Client, choice: str | None = None
) -> HttpResponse:
    """Redirect to the provider, so that the grant gets its own tokens there.

    Two sessions cannot share a rotating refresh token. ``choice`` is the upstream that the person
    chose, or None if the request names it.
    """
    provider = views.get_provider_or_404(request, provider_id)
    pending = PendingConsent.of(request, client, choice).to_state()
    return views.show_provider_errors(
        request,
        provider,
        lambda: provider.redirect(
            request,
            AuthProcess.REDIRECT,
            next_url=pages.request_url(request),
            auth_params=dict(prompts.client_parameters(provider)),
            **{STATE_KEY: pending},
        ),
    )


@receiver(pre_social_login, dispatch_uid="oauth.clients.approve")
def complete_consent(request: HttpRequest, sociallogin: SocialLogin, **kwargs: Any) -> None:
    """Complete the consent and end allauth's flow, if the flow was started by a consent.

    Raises ImmediateHttpResponse, which ends allauth's flow, and StoreUnavailable.
    """
    __traceback_hide__ = True
    state = sociallogin.state
    pending = PendingConsent.from_state(state.get(STATE_KEY), state.get(NEXT_KEY))
    if pending is not None:
        raise ImmediateHttpResponse(_complete(request, sociallogin, pending))


def _complete(
    request: HttpRequest, sociallogin: SocialLogin, pending: PendingConsent
) -> HttpResponse:
    __traceback_hide__ = True
    provider = sociallogin.account.provider
    if not _is_own_account(request, sociallogin, pending):
        logger.info("A consent came back from %s with somebody else's account.", provider)
        owner = user_id_of(sociallogin.user) if sociallogin.is_existing else None
        revoke_unused(request, provider, sociallogin.token_set, owner)
        why = _(
            "You signed in there with an account that is not yours here. Sign in with the one "
            "that you have connected, or connect this one first."
        )
        return pages.rejection_page(request, why, HTTPStatus.FORBIDDEN)
    return issue_code(request, pending, provider, sociallogin.token_set)


def issue_code(
    request: HttpRequest, pending: PendingConsent, provider: str, token_set: TokenSet
) -> HttpResponse:
    """Create the grant with these tokens; return the page that sends its code to the client.

    The caller has checked that the request's user gave the consent. Tokens that no grant holds are
    revoked at the end of the request. Raises StoreUnavailable, and SessionTooLarge.
    """
    __traceback_hide__ = True
    user = cast("AbstractBaseUser", request.user)  # nobody else owns an account
    server = authorization_server()
    auth_request = authorization_request.parse_authorization_request(pending.query)
    client = pending.client(auth_request.client_id, auth_request.redirect_uri)
    try:
        requested_grant = authorization_request.select_grant(
            auth_request, server.issuer, server.upstreams, pending.upstream
        )
    except RequestRejected as refused:  # no longer offered
        revoke_unused(request, provider, token_set, user_id_of(user))
        return pages.error_response(request, server, client, auth_request, refused)
    consent = Consent(
        client_id=client.id,
        client_name=client.name,
        client_host=client.host,
        redirect_uri=auth_request.redirect_uri,
        upstream=requested_grant.upstream,
        resource=requested_grant.resource,
        scope=requested_grant.scope,
        challenge=requested_grant.challenge,
        needs_authentication=pending.needs_authentication,
        needs_proof=pending.needs_proof,
    )
    backend = request.session[BACKEND_SESSION_KEY]
    try:
        issued_code = run_sync(grants().allow(user, consent, provider, token_set, backend=backend))
    except (StoreUnavailable, SessionTooLarge):
        revoke_unused(request, provider, token_set, user_id_of(user))
        raise
    app = describe_app(client.name, client.host, consent.redirect_uri, consent.upstream)
    wanted_scopes.forget(request.session, app)
    return pages.code_response(request, server.issuer, client, auth_request, issued_code)


def _is_own_account(
    request: HttpRequest, sociallogin: SocialLogin, pending: PendingConsent
) -> bool:
    """Return True for the person who gave the consent, with an account connected before."""
    user = request.user
    return (
        user.is_active
        and str(user.pk) == pending.user
        and sociallogin.account.pk is not None
        and sociallogin.account.user_id == user.pk
    )
