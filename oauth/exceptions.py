"""The errors of this package.

OAuthError
├── NotConnected                nothing is held for this provider
├── ReauthenticationRequired    the person must sign in with the provider again
│   └── NoLongerAllowed         and may not: what it told at a refresh is against the rule
├── ProviderUnavailable         the provider cannot be asked now; trying later may help
│   └── ProviderBusy            because this process asks it too much already
├── ProviderRefused             what the provider answered must not be accepted
└── SignInRefused               the person may not sign in

Messages are fixed sentences, without what a provider answered. What a provider's answer ends in
has a code, for a sign-in's page and the log.
"""

from allauth.socialaccount.providers.base import ProviderException

from oauth.access_rule import Refusal
from oauth.codes import Code


class OAuthError(Exception):
    """Root of all errors raised here."""


class NotConnected(OAuthError):
    """The session holds no tokens of this provider, or it has ended meanwhile."""


class ReauthenticationRequired(OAuthError):
    """The tokens cannot be renewed: only a new sign-in with the provider helps."""


class NoLongerAllowed(ReauthenticationRequired):
    """The provider told at a refresh what the rule of who may sign in refuses."""


class ProviderUnavailable(OAuthError, ProviderException):  # type: ignore[misc]  # allauth has no types
    """The provider did not answer, or answered what cannot be read. Nothing was given up.

    ``retry_after`` is in seconds, where it is known when trying again may help.
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
    """So much is asked of the provider at once that this was not begun."""

    def __init__(self, message: str, code: Code = Code.BUSY) -> None:
        super().__init__(message, code)


class ProviderRefused(OAuthError, ProviderException):  # type: ignore[misc]  # allauth has no types
    """The provider's answer was read, and must not be accepted."""

    def __init__(self, message: str, code: Code = Code.PROVIDER_REFUSED) -> None:
        super().__init__(message)
        self.code = code


class SignInRefused(OAuthError, ProviderException):  # type: ignore[misc]  # allauth has no types
    """An account whose sign-in was in order may not be used here."""

    def __init__(self, reason: Refusal, subject: str) -> None:
        super().__init__("This account may not sign in.")
        self.reason = reason
        self.subject = subject
