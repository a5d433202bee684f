"""The errors of this package.

OAuthError
├── NotConnected                the session has no tokens of this provider
├── ReauthenticationRequired    the person must sign in with the provider again
│   ├── NoLongerAllowed         but is not allowed to, by what the provider said at a refresh
│   └── AssertionRefused        or connect the MCP server, for which the provider does not vouch
├── SessionFull                 the session has no room for a token set, or for something else
├── ProviderUnavailable         the provider cannot be reached now; trying later may help
│   └── ProviderBusy            because this process has too many calls, or files open
├── ProviderRefused             the provider's response must not be accepted
│   ├── PinMismatch             it names another issuer or resource than the pinned one
│   └── IssuerNotAccepted       only the operator can accept the issuer that it names
└── SignInRefused               the person may not sign in

Messages are fixed sentences, without a provider's responses. Errors of providers have a code for
the sign-in page and the log.
"""

from allauth.socialaccount.providers.base import ProviderException

from oauth.access_rule import Refusal
from oauth.codes import Code


class OAuthError(Exception):
    """Root of all errors raised here."""


class NotConnected(OAuthError):
    """The session has no tokens of this provider, or has ended in the meantime."""


class ReauthenticationRequired(OAuthError):
    """The tokens cannot be renewed: only a new sign-in with the provider helps."""


class NoLongerAllowed(ReauthenticationRequired):
    """By what the provider said at a refresh, the person is no longer allowed to sign in."""


class AssertionRefused(ReauthenticationRequired):
    """A provider does not vouch for the person, or the MCP server's issuer does not accept it.

    Only connecting the server helps; an attempt after a few minutes may succeed.
    """


class SessionFull(OAuthError):
    """The session has no room. What was refreshed stays in its lease until there is some.

    ``connection`` names the provider or MCP server with the largest token set, if there is any.
    """

    def __init__(self, connection: str | None) -> None:
        super().__init__("The session has no room for more.")
        self.connection = connection


class ProviderUnavailable(OAuthError, ProviderException):  # type: ignore[misc]  # allauth has no types
    """The provider did not respond, or its response cannot be read. No token was dropped.

    ``retry_after`` is in seconds, if it is known when to retry.
    """

    def __init__(
        self,
        message: str = "",
        code: Code = Code.PROVIDER_UNAVAILABLE,
        *,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after


class ProviderBusy(ProviderUnavailable):
    """This process has too many calls to the provider, or files open; the call was not started."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Code.BUSY)


class ProviderRefused(OAuthError, ProviderException):  # type: ignore[misc]  # allauth has no types
    """The provider's response was read, but must not be accepted."""

    def __init__(self, message: str, code: Code = Code.PROVIDER_REFUSED) -> None:
        super().__init__(message)
        self.code = code


class PinMismatch(ProviderRefused):
    """A connected MCP server names another issuer or resource than at first."""


class IssuerNotAccepted(ProviderRefused):
    """A connected MCP server names an issuer elsewhere, which the operator has not accepted.

    ``setting`` is the variable with which the operator accepts it. It contains the server's text,
    but only printable ASCII without spaces, quoted for a shell.
    """

    def __init__(self, message: str, setting: str) -> None:
        super().__init__(message, Code.ISSUER_NOT_ACCEPTED)
        self.setting = setting


class SignInRefused(OAuthError, ProviderException):  # type: ignore[misc]  # allauth has no types
    """The sign-in succeeded, but the account may not be used here."""

    def __init__(self, reason: Refusal, subject: str) -> None:
        super().__init__("This account may not sign in.")
        self.reason = reason
        self.subject = subject
