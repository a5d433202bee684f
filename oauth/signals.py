"""Signals for an audit trail. Receivers run at once; one that fails is logged and stops nothing.

The sender is None; `session` is the shortened digest, as `sessions_kms.signals` has it.
"""

from django.dispatch import Signal

grant_ended = Signal()  # of a client; reason: "revoked", "reused", "ended", "too_many"
token_refreshed = Signal()  # provider, session: None for a session that is not ours
