"""Signals for an audit trail. Receivers run at once; one that fails is logged and stops nothing.

Each is sent with `session`, the first letters of the digest that the session is stored
under, as it appears in logs and in the admin. The sender is None.
"""

from typing import Any

from django.dispatch import Signal

from sessions_kms.format.record import SHORT_ID

session_created = Signal()  # user_id: None for an anonymous one
session_cycled = Signal()  # previous: what `session` was before its key changed; user_id
session_ended = Signal()  # signed out, or ended by somebody
session_refused = Signal()  # reason: why the record was not taken for a session


def announce(signal: Signal, session_id: str, **details: Any) -> None:
    """Send a signal about a session."""
    signal.send_robust(sender=None, session=session_id[:SHORT_ID], **details)
