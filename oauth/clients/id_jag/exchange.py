"""Exchanges an assertion of a client's provider for an access token (RFC 7523 section 2.1).

    may the client use this? → the assertion's type → issuer → audience and client → times
    → signature → authenticate the client → proof of a key → upstream and scope → user → rate
    → use up the client's own assertion → store the grant → use up this one

What costs nothing comes first. Nothing is fetched for a client before its provider vouched for it,
so no stranger can cause that. A new account gets its user before rate and use are checked. After
any failure the client may repeat its request: only the last step uses up the assertion.
"""

from dataclasses import dataclass, replace
from functools import partial

from django.conf import settings

from oauth.clients.authentication.authenticator import Authenticator
from oauth.clients.authentication.key_binding import TokenBinding
from oauth.clients.id_jag import target
from oauth.clients.id_jag.account import AssertedUser, find_person, find_user, read_subject
from oauth.clients.id_jag.assertion import IdentityAssertion, read_assertion
from oauth.clients.id_jag.grant import IssuedAccessToken, NewGrant, start_grant
from oauth.clients.id_jag.issuers import find_issuers, find_open_upstreams
from oauth.clients.id_jag.rate import request_rate
from oauth.clients.metadata_documents import document_fetcher
from oauth.clients.rules.client import Client
from oauth.clients.rules.errors import (
    InvalidAssertion,
    IssuerUnavailable,
    KeysUnavailable,
    UnauthorizedClient,
)
from oauth.clients.rules.resources import resource_of
from oauth.clients.sealed_grant import SealedGrant
from oauth.clients.server import AuthorizationServer
from oauth.clients.token_pair import Lifetimes
from oauth.exceptions import ProviderUnavailable
from oauth.logout import session_links
from oauth.provider import jwks, metadata
from oauth.provider.config import ProviderConfig
from oauth.provider.metadata import Metadata
from oauth.tokens.asserted_account import AssertedAccount
from sessions_kms import user_id_of
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.operations.used_tokens import (
    is_identity_assertion_used,
    use_identity_assertion,
)
from sessions_kms.services import Services

ALLAUTH_BACKEND = "allauth.account.auth_backends.AuthenticationBackend"


@dataclass(frozen=True, repr=False, kw_only=True)
class AssertionRequest:
    """A request with an assertion.

    ``upstream`` is that of the parameter `resource`, None without one; ``scope`` may be empty.
    ``client`` authenticates the client, ``binding`` decides to which key the token is bound.
    """

    assertion: str
    client_id: str
    upstream: str | None
    scope: str
    client: Authenticator
    binding: TokenBinding


@dataclass(frozen=True)
class Issuer:
    """The provider that signed an assertion, and its metadata."""

    provider: ProviderConfig
    metadata: Metadata


class AssertionExchange:
    """One request, in a thread."""

    def __init__(
        self, server: AuthorizationServer, services: Services, request: AssertionRequest
    ) -> None:
        self._server = server
        self._services = services
        self._request = request

    def run(self) -> IssuedAccessToken:
        """Return an access token. Raises GrantError, TooManyRequests and StoreUnavailable."""
        __traceback_hide__ = True
        self._require_grant_type()
        assertion = read_assertion(self._request.assertion)
        try:
            issuer = self._find_issuer(assertion)
            client = self._verify(assertion, issuer)
        except ProviderUnavailable as error:
            retry_after = error.retry_after
        else:
            return self._issue(assertion, issuer, client)
        raise IssuerUnavailable(retry_after)

    def _require_grant_type(self) -> None:
        """Raise UnauthorizedClient for a client that may not use assertions, as it came."""
        client_id = self._request.client_id
        is_listed = client_id in self._server.listed
        may_authenticate = is_listed or self._request.client.has_credentials
        if not self._server.may_use_assertions(client_id) or not may_authenticate:
            raise UnauthorizedClient

    def _find_issuer(self, assertion: IdentityAssertion) -> Issuer:
        """Return whose assertion it is. Raises InvalidAssertion and ProviderUnavailable."""
        provider = find_issuers(self._server).get(assertion.issuer.rstrip("/"))
        if provider is None:
            raise InvalidAssertion("Its issuer may not vouch for clients here.")
        found = metadata.load_metadata(provider)
        if assertion.issuer != found.issuer:
            raise InvalidAssertion("Its iss is not exactly the issuer.")
        return Issuer(provider, found)

    def _verify(self, assertion: IdentityAssertion, issuer: Issuer) -> Client:
        """Check the assertion, then the client, which is returned.

        Raises GrantError and ProviderUnavailable.
        """
        __traceback_hide__ = True
        request = self._request
        assertion.check_parties(audience=self._server.issuer, client_id=request.client_id)
        assertion.check_times(self._services.clock())
        assertion.check_rest()
        keys = jwks.find_signing_keys(
            issuer.metadata.jwks_uri or "",  # OpenID metadata has it
            key_id=assertion.key_id,
            algorithm=assertion.algorithm,
            reach=issuer.metadata.reach,
        )
        assertion.check_signature(keys)
        subject = read_subject(issuer.provider, assertion.claims)
        return self._authenticate(assertion, find_person(issuer.provider, subject))

    def _authenticate(self, assertion: IdentityAssertion, person: str) -> Client:
        """Authenticate the client, for whose keys a person is counted; then check its proof."""
        __traceback_hide__ = True
        request = self._request
        expected = _describe_request(request.client_id, person)
        run_sync(request.client.authenticate(expected))
        client = self._find_client()  # Its document was fetched only now.
        request.binding.check(
            replace(expected, needs_proof=self._server.dpop and client.needs_proof),
            assertion.text,
            is_authenticated=request.client.is_authenticated,
        )
        assertion.check_confirmation(request.binding.thumbprint)
        return client

    def _issue(
        self, assertion: IdentityAssertion, issuer: Issuer, client: Client
    ) -> IssuedAccessToken:
        """Find upstream and user, use up the assertions, and store the grant."""
        __traceback_hide__ = True
        request, services = self._request, self._services
        upstream = self._choose_upstream(assertion, issuer)
        person = find_user(issuer.provider, assertion.claims)
        key = user_id_of(person.user), request.client_id, upstream
        request_rate().count(key, services.clock)
        run_sync(request.client.use_up(assertion.text))
        identity = services, assertion.issuer, assertion.id
        if run_sync(is_identity_assertion_used(*identity)):  # A replay writes nothing.
            raise InvalidAssertion("It was used before.")
        grant = self._describe_grant(assertion, issuer, client, upstream, person)
        use = partial(use_identity_assertion, *identity, until=assertion.ends_at)
        return run_sync(start_grant(services, grant, use))

    def _choose_upstream(self, assertion: IdentityAssertion, issuer: Issuer) -> str:
        """Return the upstream that the assertion gives access to. Raises GrantError."""
        open_upstreams = find_open_upstreams(self._server)
        provider = issuer.provider.name
        upstream = target.choose_upstream(
            assertion.claims,
            self._request.upstream,
            issuer=self._server.issuer,
            upstreams=[name for name, each in open_upstreams.items() if each == provider],
        )
        target.check_scope(
            assertion.claims,
            self._request.scope,
            upstream=upstream,
            offered=self._server.upstreams,
        )
        return upstream

    def _describe_grant(
        self,
        assertion: IdentityAssertion,
        issuer: Issuer,
        client: Client,
        upstream: str,
        person: AssertedUser,
    ) -> NewGrant:
        account = AssertedAccount(
            provider=issuer.provider.name,
            subject=person.subject,
            granted_at=int(self._services.clock()),
            groups=person.stored.groups,
            email=person.stored.email,
            name=person.stored.name,
        )
        return NewGrant(
            user=person.user,
            backend=_choose_backend(),
            client_id=self._request.client_id,
            client_name=client.name,
            client_host=client.host,
            is_authenticated=self._request.client.is_authenticated,
            jkt=self._request.binding.thumbprint,
            upstream=upstream,
            resource=resource_of(self._server.issuer, upstream),
            account=account,
            links=_list_links(assertion, issuer),
        )

    def _find_client(self) -> Client:
        """Return the listed client, or that of a document that was fetched to authenticate it.

        Raises KeysUnavailable if the document has left the cache since: what it demands is unknown.
        """
        client_id = self._request.client_id
        known = self._server.listed.get(client_id) or document_fetcher().cached(client_id)
        if known is None:
            raise KeysUnavailable
        return known


def _describe_request(client_id: str, person: str) -> SealedGrant:
    """Return what an authenticator has to know: for whom the client's keys are fetched."""
    return SealedGrant(
        key=None,
        session="",
        client_id=client_id,
        redirect_uri="",
        upstream="",
        scope="",
        resource="",
        user=person,
    )


def _choose_backend() -> str:
    """Return the authentication backend that loads the user: allauth's, as after a sign-in."""
    backends: list[str] = settings.AUTHENTICATION_BACKENDS
    return ALLAUTH_BACKEND if ALLAUTH_BACKEND in backends else backends[0]


def _list_links(assertion: IdentityAssertion, issuer: Issuer) -> tuple[str, ...]:
    """Return the names by which a back-channel logout finds the grant."""
    if not session_links.allows_backchannel_logout(issuer.provider, issuer.metadata):
        return ()
    kinds = (session_links.SESSION,) if Lifetimes.configured().end_with_sid else ()
    kinds = (session_links.SUBJECT, *kinds)
    return tuple(session_links.names_of_claims(assertion.claims, kinds))
