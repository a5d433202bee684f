"""Authenticates the client of a token or revocation request, after its token was found.

The token comes first, so that a stranger can neither make the gateway fetch and verify nor learn
anything: for an unknown token the response is the same as without credentials. A request without
credentials is that of a public client, which a token allows until its grant was authenticated
once: a grant gets stronger, never weaker.
"""

import math
from dataclasses import dataclass
from typing import Final

from oauth.clients.authentication.assertion import (
    ASSERTION_TYPE,
    Assertion,
    read_assertion,
)
from oauth.clients.metadata_documents import (
    CACHE_SECONDS_MAX,
    DocumentMissing,
    DocumentUnavailable,
    document_fetcher,
)
from oauth.clients.rules.authentication import PUBLIC, Authentication
from oauth.clients.rules.errors import ClientNotAuthenticated, KeysUnavailable, UnknownClient
from oauth.clients.sealed_grant import SealedGrant
from oauth.clients.server import AuthorizationServer
from oauth.provider.signing_keys import KeySet
from sessions_kms.concurrency.waits import BlockingCall
from sessions_kms.operations.used_tokens import use_assertion
from sessions_kms.services import Services

KEYS_PAUSE: Final = 60  # seconds between two fetches because of an unknown key
ENDING: Final = "end "  # before what is stored of an assertion that ends a grant


@dataclass(frozen=True, repr=False)
class Credentials:
    """The client of a request and its credentials; missing ones are empty.

    ``has_header`` says whether `Authorization` names the client, ``header_secret`` is its secret.
    """

    client_id: str
    assertion: str = ""
    assertion_type: str = ""
    secret: str = ""
    has_header: bool = False
    header_secret: str = ""


class Authenticator:
    """A request without credentials."""

    has_credentials = False
    is_authenticated = False

    async def authenticate(self, grant: SealedGrant) -> None:
        """Check the credentials, once the token of this grant is known to be the client's.

        Raises ClientNotAuthenticated, and KeysUnavailable if that cannot be decided now.
        """
        if grant.needs_authentication:
            raise ClientNotAuthenticated("The grant needs authentication, and there was none.")

    async def use_up(self, token: str, *, ends_grant: bool = False) -> None:
        """Accept the credentials for this token only, immediately before it is used.

        With ``ends_grant``, what was accepted for the token's exchange is rejected: a stolen
        request ends nothing when it is sent again. Raises ClientNotAuthenticated, and
        StoreUnavailable.
        """


class InvalidCredentials(Authenticator):
    """A request whose credentials cannot be valid, for this ``reason``."""

    has_credentials = True

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def authenticate(self, grant: SealedGrant) -> None:
        """Raise ClientNotAuthenticated."""
        raise ClientNotAuthenticated(self._reason)


class SecretAuthenticator(Authenticator):
    """A request with the secret of a listed client."""

    has_credentials = True

    def __init__(self, authentication: Authentication, secret: str) -> None:
        self._authentication = authentication
        self._secret = secret

    async def authenticate(self, grant: SealedGrant) -> None:
        """Compare the secret."""
        __traceback_hide__ = True
        if not self._authentication.has_secret(self._secret):
            raise ClientNotAuthenticated("The client's secret is wrong.")
        self.is_authenticated = True


@dataclass(frozen=True)
class FoundKeys:
    """A client's keys, and when they were fetched, by the clock of the fetcher."""

    keys: KeySet
    since: float = math.inf


class AssertionAuthenticator(Authenticator):
    """A request with a client assertion (`private_key_jwt`)."""

    has_credentials = True

    def __init__(
        self,
        server: AuthorizationServer,
        services: Services,
        client_id: str,
        text: str,
        token_endpoint: str,
    ) -> None:
        self._server = server
        self._services = services
        self._client_id = client_id
        self._text = text
        self._token_endpoint = token_endpoint
        self._assertion: Assertion | None = None

    @property
    def is_authenticated(self) -> bool:  # type: ignore[override]
        """Whether the assertion was verified."""
        return self._assertion is not None

    async def authenticate(self, grant: SealedGrant) -> None:
        """Verify the assertion; a second call has nothing to do."""
        __traceback_hide__ = True
        if self._assertion is not None:
            return
        assertion = read_assertion(
            self._text,
            client_id=self._client_id,
            issuer=self._server.issuer,
            token_endpoint=self._token_endpoint,
            now=self._services.clock(),
        )
        # A token of an earlier release does not name its user.
        person = grant.user or grant.session
        await BlockingCall(self._verify, (assertion, person))
        self._assertion = assertion

    async def use_up(self, token: str, *, ends_grant: bool = False) -> None:
        """Store that the assertion was used with this token: with another it is rejected."""
        __traceback_hide__ = True
        assertion = self._assertion
        if assertion is None:
            raise ClientNotAuthenticated("The assertion was not verified.")
        is_first = await use_assertion(
            self._services,
            self._client_id,
            assertion.id,
            with_token=(ENDING if ends_grant else "") + token + assertion.text,
            until=assertion.ends_at,
        )
        if not is_first:
            raise ClientNotAuthenticated("The assertion was used before.")

    def _verify(self, assertion: Assertion, person: str) -> None:
        """Verify the signature with the client's keys; fetch them again if none fits.

        Raises ClientNotAuthenticated, and KeysUnavailable.
        """
        __traceback_hide__ = True
        began = document_fetcher().now()
        for max_age in (CACHE_SECONDS_MAX, KEYS_PAUSE):
            found = self._find_keys(person, max_age)
            fitting = assertion.select_keys(found.keys)
            if assertion.is_signed_by_one(fitting):
                return
            if fitting and assertion.key_id is not None and max_age == KEYS_PAUSE:
                raise ClientNotAuthenticated(
                    "The assertion is not signed by the key that it names."
                )
        if found.since < began:  # The client may have replaced its keys since.
            raise KeysUnavailable
        raise ClientNotAuthenticated("The assertion is not signed by a key of the client.")

    def _find_keys(self, person: str, max_age: float) -> FoundKeys:
        """Return the client's keys, by documents that are at most ``max_age`` seconds old."""
        try:
            authentication, since = self._find_authentication(person, max_age)
            if not authentication.has_key or authentication.jwks_uri is None:
                return FoundKeys(authentication.keys, since)
            fetched = document_fetcher().load_keys(authentication.jwks_uri, person, max_age)
            return FoundKeys(fetched.content, fetched.since)
        except (DocumentUnavailable, DocumentMissing):
            raise KeysUnavailable from None
        except UnknownClient:
            reason = "The client's document is not acceptable any more."
            raise ClientNotAuthenticated(reason) from None

    def _find_authentication(self, person: str, max_age: float) -> tuple[Authentication, float]:
        """Return how the client authenticates, and since when that is known."""
        server, client_id = self._server, self._client_id
        if client_id in server.listed:
            return server.listed[client_id].authentication, math.inf
        if not server.may_fetch(client_id):
            raise ClientNotAuthenticated("The client has no keys.")
        fetched = document_fetcher().load_document(server, client_id, person, max_age)
        return fetched.content.authentication, fetched.since


def make_authenticator(
    server: AuthorizationServer, services: Services, credentials: Credentials, token_endpoint: str
) -> Authenticator:
    """Return what authenticates the client of a request. ``token_endpoint`` is the metadata's."""
    __traceback_hide__ = True
    listed = server.listed.get(credentials.client_id)
    known = PUBLIC if listed is None else listed.authentication
    if known.secret_digests:
        return _secret_authenticator(known, credentials)
    # An entry without keys is public: ChatGPT, pinned like that, sends assertions all the same.
    is_read = server.private_key_jwt and (listed is None or known.has_key)
    if credentials.assertion and is_read:
        if credentials.has_header or credentials.secret:
            return InvalidCredentials("The request has more than one kind of credentials.")
        if credentials.assertion_type != ASSERTION_TYPE:
            return InvalidCredentials("The client_assertion_type is not that of a JWT.")
        return AssertionAuthenticator(
            server, services, credentials.client_id, credentials.assertion, token_endpoint
        )
    if not known.is_public:
        return InvalidCredentials("The client has to authenticate, and did not.")
    return Authenticator()


def _secret_authenticator(known: Authentication, credentials: Credentials) -> Authenticator:
    """Return what checks a secret, which must come once and without an assertion."""
    __traceback_hide__ = True
    if credentials.assertion or (credentials.has_header and credentials.secret):
        return InvalidCredentials("The request has more than one kind of credentials.")
    return SecretAuthenticator(known, credentials.header_secret or credentials.secret)
