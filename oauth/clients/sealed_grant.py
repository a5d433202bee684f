"""What the items of codes and tokens seal: which session they open, and for whom. Values only.

JSON enters and leaves. It opens with the token alone, so what it says was written here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from oauth.clients.issued import Issued


@dataclass(frozen=True)
class Previous:
    """The token that was spent for this one: the id of its item, and when, in epoch seconds."""

    id: str
    spent_at: int
    is_code: bool


@dataclass(frozen=True)
class AccessTokenItem:
    """The item of an access token: its id, and when the token ends, in epoch seconds."""

    id: str
    ends_at: int


@dataclass(frozen=True, repr=False, kw_only=True)
class SealedGrant:
    """What a code, an access token or a refresh token opens.

    ``key`` is that of the grant's session, None in one that is spent: whoever finds an old token
    is not led to a session that lives. ``session`` is the id of that. ``challenge`` is a code's
    (RFC 7636). ``spent_at`` is in epoch seconds.

    A pair of tokens names what may be deleted with it: ``access_tokens`` are those of the grant
    whose items may still exist, its own included, oldest first; ``refresh_token`` is the id of its
    refresh token's item. ``refreshed_at`` are the refreshes that count for `refresh_limit`. None of
    the three is in tokens of releases that did not have them.
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
    access_tokens: tuple[AccessTokenItem, ...] = ()
    refresh_token: str | None = None
    refreshed_at: tuple[float, ...] = ()

    def spent(self, at: int) -> SealedGrant:
        """Return what is left of it once it is spent."""
        return replace(self, key=None, previous=None, spent_at=at, refreshed_at=())

    def succeeding(
        self,
        previous: Previous,
        *,
        access_tokens: Sequence[AccessTokenItem],
        refresh_token: str,
        refreshed_at: Sequence[float],
    ) -> SealedGrant:
        """Return what the tokens seal that are given for this one."""
        return replace(
            self,
            challenge=None,
            previous=previous,
            spent_at=None,
            access_tokens=tuple(access_tokens),
            refresh_token=refresh_token,
            refreshed_at=tuple(refreshed_at),
        )

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
        named = known.get("access_tokens", ())
        known["access_tokens"] = tuple(
            AccessTokenItem(**_known(AccessTokenItem, each)) for each in named
        )
        known["refreshed_at"] = tuple(known.get("refreshed_at", ()))
        return cls(**known)


@dataclass(frozen=True, repr=False, kw_only=True)
class Answer:
    """What a client was answered for a token that it spent, and the key of the session.

    ``expires_in`` is what it was told at first, and ``…_ends_at`` in epoch seconds what that means
    later; answers of releases that did not have these are repeated as they are.
    """

    key: str
    access_token: str
    refresh_token: str
    expires_in: int
    scope: str
    access_token_ends_at: int | None = None
    refresh_token_ends_at: int | None = None
    grant_ends_at: int | None = None

    def issued(self, now: float) -> Issued:
        """Return what a client is told at a moment, in epoch seconds."""
        __traceback_hide__ = True
        left = _seconds_left(self.access_token_ends_at, now)
        return Issued(
            self.access_token,
            self.refresh_token,
            self.expires_in if left is None else left,
            self.scope,
            refresh_token_timeout=_seconds_left(self.refresh_token_ends_at, now),
            authorization_expires_in=_seconds_left(self.grant_ends_at, now),
        )

    def to_bytes(self) -> bytes:
        """Return it as it is sealed."""
        __traceback_hide__ = True
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Answer:
        """Read what `to_bytes` returned."""
        __traceback_hide__ = True
        return cls(**_known(cls, json.loads(content)))


def _seconds_left(ends_at: int | None, now: float) -> int | None:
    """Return the whole seconds to a moment, and at least one: some clients take 0 for no end."""
    return None if ends_at is None else max(1, int(ends_at - now))


def _known(of: type, members: dict[str, Any]) -> dict[str, Any]:
    __traceback_hide__ = True
    names = {each.name for each in fields(of)}
    return {name: value for name, value in members.items() if name in names}
