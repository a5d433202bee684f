"""Why a client gets no tokens, in OAuth's error codes (RFC 6749 section 5.2, RFC 8707).

GrantError
├── InvalidGrant       the code or token is unknown, spent, another client's, or over
├── InvalidTarget      another resource than was consented to
├── InvalidScope       more scope than was consented to
└── KeyMissing         this process lacks a key that others have; nothing was spent

TooManyRefreshes     come again later: nothing was spent

Messages are fixed sentences. What cannot be told is `sessions_kms.StoreUnavailable`.
"""

from typing import ClassVar


class GrantError(Exception):
    """Root of these; ``code`` is what a token response has under `error`."""

    code: ClassVar[str]
    message: ClassVar[str]

    def __init__(self) -> None:
        super().__init__(self.message)


class InvalidGrant(GrantError):
    """The code or token opens nothing for whoever presents it."""

    code = "invalid_grant"
    message = "The code or the token is not valid, or not any more, or not for this client."


class InvalidTarget(GrantError):
    """The resource is not the one that was consented to."""

    code = "invalid_target"
    message = "The token is for another resource."


class InvalidScope(GrantError):
    """The scope is not within the one that was consented to."""

    code = "invalid_scope"
    message = "The grant has less scope than is asked for."


class KeyMissing(GrantError):
    """Other processes have a newer `SECRET_KEY`: they can verify the grant, and this one cannot."""

    code = "temporarily_unavailable"
    message = "This cannot be verified here at the moment. Try again."


class TooManyRefreshes(Exception):
    """A grant is refreshed more often than it may; ``retry_after`` is in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("The tokens of this grant are refreshed too often.")
        self.retry_after = retry_after
