"""Grants of OAuth clients without tokens."""

from sessions_kms import GrantStore, about, id_of


def grant_access(client: str, *, client_id: str = "tool", user_id: str = "7") -> str:
    """Store a grant; return its session's id."""
    stored = GrantStore()
    stored["_auth_user_id"] = user_id
    stored[about.ABOUT] = {
        about.CLIENT: client,
        about.CLIENT_ID: about.short_client_id(client_id),
        "upstream": "mcp",
    }
    stored.create()
    return id_of(stored.session_key or "")
