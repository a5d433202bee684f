"""The session of a grant: an ordinary record under a key that never leaves the server."""

from sessions_kms import SessionStore


class GrantStore(SessionStore):
    """A session that no cookie opens, and that keeps its key."""
