"""What a call finds for an access token."""

from typing import Any

from oauth.clients.grants import grants
from sessions_kms import GrantStore
from sessions_kms.concurrency.waits import run_sync


def open_session(token: str, upstream: str = "tools") -> GrantStore | None:
    found = run_sync(grants().open(token, upstream=upstream))
    return None if found is None else found.session


def lives(tokens: dict[str, Any]) -> bool:
    return open_session(tokens["access_token"]) is not None
