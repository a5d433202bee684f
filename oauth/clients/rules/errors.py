"""Why a client's request is rejected: OAuth's error codes, each with a fixed sentence.

RequestRejected          a request is malformed or not allowed (RFC 6749, 7591)
└── UnknownClient        the client is not known here
GrantError               a client gets no tokens (RFC 6749 section 5.2, RFC 8707)
├── InvalidGrant         the code or token is unknown, spent, expired, or another client's
│   └── InvalidAssertion the assertion of a client's provider is not accepted
├── UnauthorizedClient   the client may not use this grant type
├── InvalidTarget        not the resource of the consent or assertion
│   ├── ResourceMissing  an assertion is accepted for several
│   └── ResourceNotOpen  none accepts assertions of this issuer
├── InvalidScope         more scope than in the consent
├── ClientNotAuthenticated  the client did not prove who it is; nothing was spent or ended
├── InvalidProof     the proof of a key is missing or wrong; nothing was spent or ended (RFC 9449)
├── WrongTokenType   an access token came in another way than its binding to a key requires
└── Undecided            nothing was spent; try again
    ├── KeyMissing       this process lacks a key that others have
    ├── KeysUnavailable  the client's keys cannot be fetched
    └── IssuerUnavailable  the keys of the assertion's issuer cannot be fetched
TooManyRequests          nothing was spent; try again later
└── TooManyRefreshes     by a client that has a grant

An unknown outcome is `sessions_kms.StoreUnavailable`.
"""

from collections.abc import Sequence
from typing import ClassVar, Final

INVALID_REQUEST: Final = "invalid_request"  # RFC 6749 section 4.1.2.1 and 5.2
INVALID_CLIENT: Final = "invalid_client"
UNSUPPORTED_GRANT_TYPE: Final = "unsupported_grant_type"
UNSUPPORTED_RESPONSE_TYPE: Final = "unsupported_response_type"
ACCESS_DENIED: Final = "access_denied"
TEMPORARILY_UNAVAILABLE: Final = "temporarily_unavailable"
INVALID_TARGET: Final = "invalid_target"  # RFC 8707 section 2
INVALID_TOKEN: Final = "invalid_token"  # noqa: S105 - RFC 6750 section 3.1
INVALID_DPOP_PROOF: Final = "invalid_dpop_proof"  # RFC 9449 section 12.2
INVALID_REDIRECT_URI: Final = "invalid_redirect_uri"  # RFC 7591 section 3.2.2
INVALID_CLIENT_METADATA: Final = "invalid_client_metadata"
CONSENT_REQUIRED: Final = "consent_required"  # OpenID Connect Core 3.1.2.6
INVALID_AUTHORIZATION_DETAILS: Final = "invalid_authorization_details"  # RFC 9396 section 5
REQUEST_NOT_SUPPORTED: Final = "request_not_supported"
REQUEST_URI_NOT_SUPPORTED: Final = "request_uri_not_supported"


def translatable(text: str) -> str:
    """Return a sentence as it is: marks it for the catalogs of the pages that translate it.

    `make messages` also finds the sentences of the exceptions below that are written in the call.
    """
    return text


class RequestRejected(Exception):
    """The request is rejected; the message is a fixed sentence that says what to do."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code
        self.description = description


class UnknownClient(RequestRejected):
    """The client does not exist here, or its data are not acceptable.

    ``supported`` are the authentication methods of a client, if none of them is accepted.
    """

    def __init__(
        self,
        description: str = translatable("The client is not known here."),
        supported: Sequence[str] = (),
    ) -> None:
        super().__init__(INVALID_CLIENT, description)
        self.supported = tuple(supported)


class GrantError(Exception):
    """Root of these; ``code`` is the `error` of a token response, ``status`` that of HTTP."""

    code: ClassVar[str]
    message: ClassVar[str]
    status: ClassVar[int] = 400

    def __init__(self) -> None:
        super().__init__(self.message)


class InvalidGrant(GrantError):
    """The code or token is not valid for the client that presented it (RFC 6749, section 5.2)."""

    code = "invalid_grant"
    message = "The code or the token is not valid, or not any more, or not for this client."


class InvalidAssertion(InvalidGrant):
    """An assertion of a client's provider is not accepted. ``reason`` is for the log only."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class UnauthorizedClient(GrantError):
    """The client may not use this grant type."""

    code = "unauthorized_client"
    message = "The client may not use this grant_type."


class InvalidTarget(GrantError):
    """The resource is not that of the consent or assertion."""

    code = INVALID_TARGET
    message = "The token is for another resource."


class ResourceMissing(InvalidTarget):
    """An assertion is accepted for several resources, and none is named."""

    message = "The assertion is accepted for several resources: the request has to name one."


class ResourceNotOpen(InvalidTarget):
    """The resource accepts no assertions of this issuer."""

    message = "The resource accepts no assertions of this issuer."


class InvalidScope(GrantError):
    """The scope exceeds that of the consent."""

    code = "invalid_scope"
    message = "The grant has less scope than is asked for."


class ClientNotAuthenticated(GrantError):
    """The client's credentials are missing or wrong. ``reason`` is for the log only."""

    code = INVALID_CLIENT
    message = "The client could not be authenticated."
    status = 401

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class InvalidProof(GrantError):
    """The proof of a key is missing or wrong. The reason says what the client has to change."""

    code = INVALID_DPOP_PROOF

    def __init__(self, reason: str) -> None:
        Exception.__init__(self, reason)


class WrongTokenType(GrantError):
    """An access token that is bound to a key came without its proof, or the reverse."""

    code = INVALID_TOKEN

    def __init__(self, reason: str) -> None:
        Exception.__init__(self, reason)


class Undecided(GrantError):
    """The request cannot be decided now; ``retry_after`` is in seconds, if it is known."""

    code = TEMPORARILY_UNAVAILABLE
    status = 503

    def __init__(self, retry_after: int | None = None) -> None:
        super().__init__()
        self.retry_after = retry_after


class KeyMissing(Undecided):
    """Other processes have a newer `SECRET_KEY`: they can verify the grant, and this one cannot."""

    message = "This cannot be verified here at the moment. Try again."


class KeysUnavailable(Undecided):
    """The client's keys cannot be fetched."""

    message = "The client's keys cannot be fetched at the moment. Try again."


class IssuerUnavailable(Undecided):
    """The keys of the assertion's issuer cannot be fetched."""

    message = "The keys of the assertion's issuer cannot be fetched at the moment. Try again."


class TooManyRequests(Exception):
    """A client sends too many requests; ``retry_after`` is in seconds."""

    message: ClassVar[str] = "Too many tokens are requested for this user and upstream."

    def __init__(self, retry_after: int) -> None:
        super().__init__(self.message)
        self.retry_after = retry_after


class TooManyRefreshes(TooManyRequests):
    """A grant is refreshed too often."""

    message = "The tokens of this grant are refreshed too often."
