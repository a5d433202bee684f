"""The errors of this package.

SessionsKMSError
├── InvalidRecord        the record is not ours, or incomplete
├── SessionTooLarge
└── StoreUnavailable     it is unknown whether the session is valid
    ├── KMSUnavailable
    ├── TableUnavailable
    │   ├── NotApplied       a write that was not applied, and can be repeated
    │   └── FateUnknown      a write that was applied or not, or may still be applied
    └── SessionMoved         to a key that this request does not know

Messages are fixed sentences. They contain no session key, no plaintext, no key material, and
nothing from the responses of AWS.
"""

from typing import ClassVar


class SessionsKMSError(Exception):
    """Root of all errors raised here."""

    telemetry_name: ClassVar[str]  # in metrics; classes defined elsewhere inherit their base's

    def __init_subclass__(cls) -> None:
        if cls.__module__ == __name__:
            cls.telemetry_name = cls.__name__


class InvalidRecord(SessionsKMSError):
    """The record is not ours, or incomplete.

    There is one class for all faults, because callers must not distinguish them; ``reason`` is a
    fixed word for logs and tests.
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
    """It is unknown whether the session is valid; a later attempt may succeed.

    ``is_rejection`` is True if AWS responded that this process may not use the table or the KMS
    key, or that there is none: waiting alone does not help, as it does in an outage.
    """

    message = "The session store cannot be used at the moment."

    def __init__(self, message: str | None = None, *, is_rejection: bool = False) -> None:
        super().__init__(message or self.message)
        self.is_rejection = is_rejection


class KMSUnavailable(StoreUnavailable):
    """KMS did not respond, or refused the call.

    ``refused_key`` is the ARN of the KMS key that AWS refused to use (access denied, disabled,
    pending deletion, not found): data keys that it unwrapped before must no longer be used. It is
    None if KMS could not be reached.
    """

    message = "AWS KMS cannot be used at the moment."

    def __init__(
        self,
        message: str | None = None,
        *,
        refused_key: str | None = None,
        is_rejection: bool = False,
    ) -> None:
        super().__init__(message, is_rejection=is_rejection or refused_key is not None)
        self.refused_key = refused_key


class TableUnavailable(StoreUnavailable):
    """DynamoDB did not respond, refused the call, or its response was incomplete."""

    message = "The session table cannot be used at the moment."


class NotApplied(TableUnavailable):
    """There was no connection, or DynamoDB was overloaded: nothing was written."""


class FateUnknown(TableUnavailable):
    """The response to a write was lost, or was incomplete.

    The write was applied or not, or may still be applied: only the stored item shows which.
    """


class SessionMoved(StoreUnavailable):
    """Another request changed the key of this session; its response has the new cookie."""

    message = "The key of this session was just changed by another request."


class RemoteTableWarning(UserWarning):
    """Tests store sessions in a table that is not on this machine."""
