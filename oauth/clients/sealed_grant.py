"""The sealed content of codes and tokens: the session of the grant, and the grant's client.

The content is JSON. It can be decrypted only with the token, so its origin is this server.
`GrantCache` stores the content of access tokens for a minute, so that a call reads only one item.
It contains ids of items, no tokens. The session is read for each call, so an ended grant is
noticed.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import inf
from threading import Lock
from typing import Any

from oauth.clients.consent import GrantLabels

CACHE_SECONDS = 60  # seconds
CACHE_MAX = 10_000
TRIED_MAX = 10_000


@dataclass(frozen=True, repr=False)
class IssuedCode:
    """A code, and the person's grants that were ended because of the limit."""

    code: str
    ended: tuple[GrantLabels, ...] = ()

    def __repr__(self) -> str:
        """Return a text without the code."""
        return f"IssuedCode(ended={self.ended!r})"


@dataclass(frozen=True, repr=False)
class TokenResponse:
    """A pair of tokens (RFC 6749 section 5.1).

    ``expires_in`` is that of the access token, in seconds. The refresh token expires if it is not
    used for ``refresh_token_timeout``, and the grant in any case after ``authorization_expires_in``
    (draft-ietf-oauth-refresh-token-expiration-03). ``jkt`` is the thumbprint of the key to which
    they are bound (RFC 9449).
    """

    access_token: str
    refresh_token: str
    expires_in: int
    scope: str
    refresh_token_timeout: int
    authorization_expires_in: int
    jkt: str | None = None

    def __repr__(self) -> str:
        """Return a text without tokens."""
        return f"TokenResponse(expires_in={self.expires_in}, scope={self.scope!r})"


@dataclass(frozen=True)
class PreviousToken:
    """The token that was exchanged for this one: its item's id, and when it was spent.

    ``jkt`` is the thumbprint of the key to which it was bound.
    """

    id: str
    spent_at: int
    is_code: bool
    needs_authentication: bool = False
    jkt: str | None = None

    @property
    def leaves_tombstone(self) -> bool:
        """Whether a tombstone replaces its item.

        A tombstone names neither its client nor its key, so it could not check them: what needed
        one of them is deleted instead. Nor does a code leave one, which has a verifier.
        """
        return not (self.is_code or self.needs_authentication or self.jkt is not None)


@dataclass(frozen=True)
class AccessTokenItem:
    """The item of an access token: its id, and the token's expiry in epoch seconds."""

    id: str
    ends_at: int


@dataclass(frozen=True, repr=False, kw_only=True)
class _Sealed:
    """What is sealed in an item."""

    def to_bytes(self) -> bytes:
        """Return it as it is sealed."""
        __traceback_hide__ = True
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True, repr=False, kw_only=True)
class SealedGrant(_Sealed):
    """The content of a code, an access token or a refresh token.

    ``key`` is that of the grant's session; a spent token has None, so that an old token does not
    open a live session. ``session`` is the session's id. ``challenge`` is that of a code (RFC
    7636). ``spent_at`` is in epoch seconds.

    A pair of tokens names the items to delete with it: ``access_tokens`` are the access tokens of
    the grant whose items may still exist, including its own, oldest first; ``refresh_token`` is
    the id of its refresh token's item. ``refreshed_at`` are the recent refreshes
    (`token_pair.seconds_to_wait`).

    With ``needs_authentication`` the client has to authenticate when it presents the token.
    ``user`` is the id of the person, for whom the client's keys are fetched.

    ``jkt`` is the thumbprint of the key to which the token is bound (RFC 9449 section 6). With
    ``needs_proof`` the client wants all its tokens bound: the next ones will be.
    """

    key: str | None
    session: str
    client_id: str
    redirect_uri: str
    upstream: str
    scope: str
    resource: str
    challenge: str | None = None
    previous: PreviousToken | None = None
    spent_at: int | None = None
    access_tokens: tuple[AccessTokenItem, ...] = ()
    refresh_token: str | None = None
    refreshed_at: tuple[float, ...] = ()
    needs_authentication: bool = False
    user: str | None = None
    jkt: str | None = None
    needs_proof: bool = False

    @property
    def is_bound(self) -> bool:
        """Whether the token is bound to a key."""
        return self.jkt is not None

    def make_spent(self, at: int) -> "SealedGrant":
        """Return its content after it is spent."""
        return replace(self, key=None, previous=None, spent_at=at, refreshed_at=())

    def make_successor(
        self,
        previous: PreviousToken,
        *,
        access_tokens: Sequence[AccessTokenItem],
        refresh_token: str,
        refreshed_at: Sequence[float],
        is_authenticated: bool,
        jkt: str | None,
    ) -> "SealedGrant":
        """Return the content of the tokens that replace it."""
        return replace(
            self,
            challenge=None,
            previous=previous,
            spent_at=None,
            access_tokens=tuple(access_tokens),
            refresh_token=refresh_token,
            refreshed_at=tuple(refreshed_at),
            needs_authentication=self.needs_authentication or is_authenticated,
            jkt=jkt,
        )

    @classmethod
    def from_bytes(cls, content: bytes) -> "SealedGrant":
        """Read what `to_bytes` returned; fields of a later release are ignored."""
        __traceback_hide__ = True
        known = _known_fields(cls, json.loads(content))
        if known["previous"] is not None:
            known["previous"] = PreviousToken(**_known_fields(PreviousToken, known["previous"]))
        known["access_tokens"] = tuple(
            AccessTokenItem(**_known_fields(AccessTokenItem, each))
            for each in known["access_tokens"]
        )
        known["refreshed_at"] = tuple(known["refreshed_at"])
        return cls(**known)


@dataclass(frozen=True, repr=False, kw_only=True)
class SealedResponse(_Sealed):
    """The response to the token that a client spent, and the key of the session.

    The ``…_ends_at`` are in epoch seconds: a repeated response counts from its own time. ``jkt`` is
    the thumbprint of the key to which the tokens are bound.
    """

    key: str
    access_token: str
    refresh_token: str
    scope: str
    access_token_ends_at: int
    refresh_token_ends_at: int
    grant_ends_at: int
    jkt: str | None = None

    def to_response(self, now: float) -> TokenResponse:
        """Return the response for a time in epoch seconds."""
        __traceback_hide__ = True
        return TokenResponse(
            self.access_token,
            self.refresh_token,
            _seconds_left(self.access_token_ends_at, now),
            self.scope,
            refresh_token_timeout=_seconds_left(self.refresh_token_ends_at, now),
            authorization_expires_in=_seconds_left(self.grant_ends_at, now),
            jkt=self.jkt,
        )

    @classmethod
    def from_bytes(cls, content: bytes) -> "SealedResponse":
        """Read what `to_bytes` returned."""
        __traceback_hide__ = True
        return cls(**_known_fields(cls, json.loads(content)))


@dataclass(frozen=True, repr=False, kw_only=True)
class CodeAnswer(_Sealed):
    """What is kept of a redeemed code, whose response is never repeated.

    With it, late reuse of the code ends the grant also at the provider: ``key`` is that of the
    session, ``items`` are the ids of the items to delete. It contains no token.
    """

    key: str
    items: tuple[str, ...]

    @classmethod
    def from_bytes(cls, content: bytes) -> "CodeAnswer":
        """Read what `to_bytes` returned."""
        __traceback_hide__ = True
        known = _known_fields(cls, json.loads(content))
        return cls(key=known["key"], items=tuple(known["items"]))


def _seconds_left(ends_at: int, now: float) -> int:
    """Return the seconds until a time, at least 1: to some clients 0 means no expiry."""
    return max(1, int(ends_at - now))


def _known_fields(of: type, members: dict[str, Any]) -> dict[str, Any]:
    __traceback_hide__ = True
    names = {each.name for each in fields(of)}
    return {name: value for name, value in members.items() if name in names}


@dataclass(frozen=True, repr=False)
class CachedGrant:
    """The content of an access token. ``ends_at`` is the token's expiry in epoch seconds.

    ``items`` are the ids of the items to delete with the grant. ``jkt`` is the thumbprint of the
    key to which the token is bound, ``is_authenticated`` says whether the client proved who it is.
    """

    key: str
    client_id: str
    upstream: str
    ends_at: int
    previous: PreviousToken | None
    items: tuple[str, ...] = ()
    jkt: str | None = None
    is_authenticated: bool = False


class GrantCache:
    """The grants of recently used access tokens. ``clock`` returns epoch seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = Lock()
        self._entries: OrderedDict[str, tuple[float, CachedGrant]] = OrderedDict()
        # Until when the response to a spent token is left alone: it was deleted, or that failed.
        self._tried: OrderedDict[str, float] = OrderedDict()

    def find(self, token_id: str) -> CachedGrant | None:
        """Return the cached grant of a token that has not expired."""
        now = self._clock()
        with self._lock:
            until, known = self._entries.get(token_id, (0.0, None))
            # Limited, in case the clock is set back.
            if known is not None and now < until <= now + CACHE_SECONDS and now < known.ends_at:
                return known
            self._entries.pop(token_id, None)
            return None

    def keep(self, token_id: str, known: CachedGrant) -> None:
        """Cache the grant of a token."""
        now = self._clock()
        with self._lock:
            self._entries.pop(token_id, None)
            self._entries[token_id] = (now + CACHE_SECONDS, known)
            while len(self._entries) > CACHE_MAX or next(iter(self._entries.values()))[0] <= now:
                self._entries.popitem(last=False)

    def may_delete(self, spent: str) -> bool:
        """Return True once a minute for the response to a spent token, until it is deleted.

        Otherwise each call would wait for a deletion that fails, and many calls at once would try.
        """
        now = self._clock()
        with self._lock:
            until = self._tried.get(spent, 0.0)
            if until == inf or now < until <= now + CACHE_SECONDS:
                return False
            self._leave_alone(spent, now + CACHE_SECONDS)
            return True

    def note_deleted(self, spent: str) -> None:
        """Note that this process has deleted it."""
        with self._lock:
            self._leave_alone(spent, inf)

    def _leave_alone(self, spent: str, until: float) -> None:
        self._tried.pop(spent, None)
        self._tried[spent] = until
        if len(self._tried) > TRIED_MAX:
            self._tried.popitem(last=False)
