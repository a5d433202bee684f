"""A session that hostile MCP servers have filled with their tokens."""

from contextlib import suppress
from typing import Any

from django.contrib.sessions.backends.base import SessionBase

from oauth.provider.token_set import CONNECTION_SIZE_MAX, TokenSet
from oauth.tokens import vault
from sessions_kms import SessionTooLarge
from sessions_kms.format.attributes import ITEM_MAX_BYTES

OVERHEAD = 550  # bytes of an item beside the session's content, or a few more
EACH = CONNECTION_SIZE_MAX - 2_000  # bytes of an access token


def fill(session: Any, largest: str, room: int) -> None:
    """Store connections until about so many bytes are left; ``largest`` gets the largest one."""

    def leave() -> int:
        return ITEM_MAX_BYTES - OVERHEAD - len(session.serializer().dumps(dict(session.items())))

    _connect(session, largest, EACH + 1_000)
    number = 0
    while leave() - room > EACH + 1_000:
        number += 1
        _connect(session, f"hostile{number}", EACH)
    _connect(session, "rest", 1)
    _connect(session, "rest", leave() - room)
    session.save()


def fill_to_the_last_byte(session: Any) -> None:
    """Store connections, and then text until no byte is left."""
    fill(session, "hostile", room=0)
    text = ""
    for step in (64, 8, 1):
        with suppress(SessionTooLarge):
            while True:
                session["filler"] = text + "x" * step
                session.save()
                text = session["filler"]
        session["filler"] = text


def _connect(session: SessionBase, name: str, size: int) -> None:
    token_set = TokenSet(
        access_token="a" * size,
        token_type="Bearer",
        scope=(),
        subject="1",
        client_id="gateway",
        issuer="https://as.example",
        resource="https://mcp.example",
    )
    vault.store_token_set(session, name, token_set)
