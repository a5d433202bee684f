"""The bound of what is kept for somebody who has not signed in (`ANONYMOUS_MAX_SIZE`).

Whoever has no account is nobody's responsibility: what they have stored costs as much to
keep, and at each request to read, as anybody's session.
"""

from django.core.exceptions import SuspiciousOperation

from sessions_kms.exceptions import SessionTooLarge


class AnonymousSessionTooLarge(SessionTooLarge, SuspiciousOperation):
    """Too much to keep for nobody: Django answers 400, wherever it is raised."""

    def __init__(self, size: int, limit: int) -> None:
        Exception.__init__(
            self,
            f"{size:,} bytes are more than the {limit:,} that are kept before somebody signs in.",
        )


def check_size(size: int, limit: int | None, *, stored: int | None) -> None:
    """Refuse what would be larger than the limit, and than what is stored already.

    A session from before the limit may stay, and shrink: refusing it would lock its visitor
    out until it ends. Sizes are bytes. Raises AnonymousSessionTooLarge.
    """
    if limit is not None and size > max(limit, stored or 0):
        raise AnonymousSessionTooLarge(size, limit)
