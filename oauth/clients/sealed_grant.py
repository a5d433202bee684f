"""What the items of codes and tokens seal: which session they open, and for whom. Values only.

JSON enters and leaves. It opens with the token alone, so what it says was written here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any


@dataclass(frozen=True)
class Previous:
    """The token that was spent for this one: the id of its item, and when, in epoch seconds."""

    id: str
    spent_at: int
    is_code: bool


@dataclass(frozen=True, repr=False, kw_only=True)
class SealedGrant:
    """What a code, an access token or a refresh token opens.

    ``key`` is that of the grant's session, None in one that is spent: whoever finds an old token
    is not led to a session that lives. ``session`` is the id of that. ``challenge`` is a code's
    (RFC 7636). ``spent_at`` is in epoch seconds.
    """

    key: str | None
    session: str
    client_id: str
    redirect_uri: str
    upstream: str
    scope: str
    resource: str
    challenge: str | None = None
    previous: Previous | None = None
    spent_at: int | None = None

    def spent(self, at: int) -> SealedGrant:
        """Return what is left of it once it is spent."""
        return replace(self, key=None, previous=None, spent_at=at)

    def succeeding(self, previous: Previous) -> SealedGrant:
        """Return what a token seals that is given for this one."""
        return replace(self, challenge=None, previous=previous, spent_at=None)

    def to_bytes(self) -> bytes:
        """Return it as it is sealed."""
        __traceback_hide__ = True
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> SealedGrant:
        """Read what `to_bytes` returned; fields of a later release are ignored."""
        __traceback_hide__ = True
        known = _known(cls, json.loads(content))
        if known.get("previous") is not None:
            known["previous"] = Previous(**_known(Previous, known["previous"]))
        return cls(**known)


@dataclass(frozen=True, repr=False, kw_only=True)
class Answer:
    """What a client was answered for a token that it spent, and the key of the session."""

    key: str
    access_token: str
    refresh_token: str
    expires_in: int
    scope: str

    def to_bytes(self) -> bytes:
        """Return it as it is sealed."""
        __traceback_hide__ = True
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Answer:
        """Read what `to_bytes` returned."""
        __traceback_hide__ = True
        return cls(**_known(cls, json.loads(content)))


def _known(of: type, members: dict[str, Any]) -> dict[str, Any]:
    __traceback_hide__ = True
    names = {each.name for each in fields(of)}
    return {name: value for name, value in members.items() if name in names}
