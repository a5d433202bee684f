"""Signals for an audit trail. Receivers run at once; one that fails is logged and stops nothing.

Each is sent with `session`, the first letters of the digest that the session is stored
under, as it appears in logs and in the admin. The sender is None. Receivers may use the ORM: for
events in an event loop they are called in a thread.
"""

from functools import partial
from typing import Any, Final

from django.dispatch import Signal

from sessions_kms.concurrency.threads import executor, in_thread
from sessions_kms.concurrency.waits import BlockingCall
from sessions_kms.format.item_types import SHORT_ID

THREADS: Final = 8  # of receivers, for all event loops of the process

session_created = Signal()  # user_id: None for an anonymous one
session_cycled = Signal()  # previous: what `session` was before its key changed; user_id
# Signed out, or ended by somebody. reason="limit": by a sign-in, because the user had too many
session_ended = Signal()
# A process read a session: sent at most once an hour for each session, by the clock's hours.
# user_id; client_id: of a grant ("" if it has none), None for the session of a cookie
session_opened = Signal()
session_refused = Signal()  # reason: why the record was not accepted as a session


def announce(signal: Signal, session_id: str, **details: Any) -> None:
    """Send a signal about a session."""
    signal.send_robust(sender=None, session=session_id[:SHORT_ID], **details)


async def announce_async(signal: Signal, session_id: str, **details: Any) -> None:
    """Send a signal about a session; receivers that block do not block an event loop."""
    if signal.has_listeners():
        await ReceiverCall(partial(announce, signal, session_id, **details))


class ReceiverCall(BlockingCall):
    """The wait for receivers, which may be the project's code.

    They do not run in the request's thread, which may be waiting for the sender of the signal.
    """

    async def suspend(self) -> Any:
        """Call them in a thread, which closes its database connections afterwards.

        They are called however late: what they report has already happened.
        """
        return await in_thread(executor("sessions_kms-receivers", THREADS), self._call_receivers)

    def _call_receivers(self) -> Any:
        from django.db import close_old_connections  # noqa: PLC0415 - not with the engine

        close_old_connections()
        try:
            return self.block()
        finally:
            close_old_connections()
