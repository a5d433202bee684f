"""The errors of this package.

SessionsKMSError
├── InvalidRecord        this record is not ours, or not whole
├── SessionTooLarge
└── StoreUnavailable     cannot tell whether the session is good
    ├── KMSUnavailable
    ├── TableUnavailable
    │   ├── NotApplied       a write that may be sent again
    │   └── FateUnknown      a write that was applied, or not, or may be yet
    └── SessionMoved         to a key that this request was not told

Messages are fixed sentences: they hold no session key, no plaintext, no key
material and nothing that an upstream service answered.
"""

from typing import ClassVar


class SessionsKMSError(Exception):
    """Root of all errors raised here."""

    telemetry_name: ClassVar[str]  # in metrics: an error that is not of this page has its base's

    def __init_subclass__(cls) -> None:
        if cls.__module__ == __name__:
            cls.telemetry_name = cls.__name__


class InvalidRecord(SessionsKMSError):
    """A record that is not ours, or not whole.

    One class for every fault, because a caller must not act on which one it
    was; ``reason`` is a short fixed word for logs and tests.
    """

    def __init__(self, reason: str) -> None:
        super().__init__("The session record is not valid.")
        self.reason = reason


class SessionTooLarge(SessionsKMSError):
    """The session does not fit into one DynamoDB item (400 KB)."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"The session needs an item of {size:,} bytes; DynamoDB takes at most {limit:,}."
            " Keep large data elsewhere and its key in the session."
        )


class StoreUnavailable(SessionsKMSError):
    """It cannot be told now whether the session is good; trying later may help."""

    message = "The session store cannot be used at the moment."

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.message)


class KMSUnavailable(StoreUnavailable):
    """KMS did not answer, or refused.

    ``refused_key`` is the ARN of the KMS key that AWS refused to use (access
    denied, disabled, pending deletion, not found): what it unwrapped before
    must not be used any longer. It is None when KMS could not be reached.
    """

    message = "AWS KMS cannot be used at the moment."

    def __init__(self, message: str | None = None, *, refused_key: str | None = None) -> None:
        super().__init__(message)
        self.refused_key = refused_key


class TableUnavailable(StoreUnavailable):
    """DynamoDB did not answer, refused, or answered something that is not whole."""

    message = "The session table cannot be used at the moment."


class NotApplied(TableUnavailable):
    """No connection was made, or DynamoDB had too much to do: nothing was written."""


class FateUnknown(TableUnavailable):
    """The answer to a write was lost, or is not whole.

    It was applied or not, or may be applied yet: only what is stored can tell.
    """


class SessionMoved(StoreUnavailable):
    """Another request changed the key of this session, and its answer has the new one."""

    message = "The key of this session was just changed by another request."
