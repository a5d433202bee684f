"""The content of the sessions: token sets of an exact serialized size."""

import json
import secrets
from typing import Any

KB = 1024
TOKEN = 600  # letters


def content(size: int) -> dict[str, Any]:
    """Return a session whose JSON, as Django serializes it, has exactly this many bytes."""
    session: dict[str, Any] = {
        "_auth_user_id": "1",
        "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
        "_auth_user_hash": secrets.token_hex(32),
        "n": 100_000,
        "padding": "",
    }
    number = 0
    while _size(session) + 2 * TOKEN < size:
        session[f"oauth:provider{number}"] = _token_set()
        number += 1
    session["padding"] = secrets.token_hex(size)[: size - _size(session)]
    return session


def _token_set() -> dict[str, Any]:
    return {
        "access_token": secrets.token_urlsafe(TOKEN)[:TOKEN],
        "refresh_token": secrets.token_urlsafe(64),
        "token_type": "Bearer",
        "scope": ["openid", "profile", "email"],
        "subject": "1001",
        "client_id": "gateway",
        "issued_at": 1_800_000_000,
        "expires_at": 1_800_003_600,
    }


def _size(session: dict[str, Any]) -> int:
    return len(json.dumps(session, separators=(",", ":")))
