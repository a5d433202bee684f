"""Signals for an audit trail. Receivers run at once; one that fails is logged and stops nothing.

The sender is None; `session` is the shortened digest, as `sessions_kms.signals` has it.
"""

from django.dispatch import Signal

grant_created = Signal()  # of a client; user_id, client_id, upstream, provider
# of a client whose user's provider vouched for it; user_id, client_id, upstream, provider
grant_asserted = Signal()
grant_ended = Signal()  # of a client; reason: "revoked", "reused", "ended", "too_many"
# `staff`, the admin, or the groups of a provider changed a user: user, by (who did it), and fields
rights_changed = Signal()
sign_in_rejected = Signal()  # provider, code: as in the metric
token_refreshed = Signal()  # provider, session: None for a session that is not ours
