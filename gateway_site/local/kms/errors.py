"""The error answers of KMS's JSON protocol, and the errors of starting the server.

A client error is HTTP 400 whatever its code, a fault of the service 500. (AWS's Smithy
model gives some codes other statuses, 409 for `DisabledException` for instance; what AWS sends
is 400.) Messages name parameters, keys and principals, never a value that was sent.
"""

from __future__ import annotations


class KMSError(Exception):
    """An answer other than success: `code` is the `__type` that clients see."""

    def __init__(self, code: str, message: str | None = None, *, status: int = 400) -> None:
        super().__init__(code)
        self.code = code
        self.message = message
        self.status = status


class CannotStart(Exception):
    """The local KMS cannot be started; the message is one sentence for the person starting it."""


def invalid(message: str) -> KMSError:
    """Return a `ValidationException`."""
    return KMSError("ValidationException", message)


def constraint(name: str, rule: str) -> KMSError:
    """Return the `ValidationException` that AWS gives for a parameter that breaks `rule`."""
    # AWS writes parameter names with a small first letter in these messages.
    wire = name[:1].lower() + name[1:]
    return invalid(
        f"1 validation error detected: Value at '{wire}' failed to satisfy constraint: "
        f"Member must {rule}"
    )
