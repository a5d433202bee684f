"""What is written and answered when a code or a refresh token is spent for the next pair.

A token, what it opens and the grant's session enter; values leave. Asks nobody.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from oauth.clients import token
from oauth.clients.exchange.named_items import Succession, succeed
from oauth.clients.exchange.refresh_limit import recent
from oauth.clients.lifetimes import LATE, TOMBSTONE_AGE, Lifetimes
from oauth.clients.sealed_grant import AccessTokenItem, Answer, Previous, SealedGrant
from sessions_kms import GrantStore
from sessions_kms.format.token_tombstone import TokenTombstone
from sessions_kms.sealed_items.tokens import (
    Exchange,
    NewToken,
    SealedToken,
    Tokens,
    new_stamp,
)


@dataclass(frozen=True, repr=False)
class NextPair:
    """An answer, the exchange that makes it good, and what becomes of the tokens before it."""

    answer: Answer
    exchange: Exchange
    succession: Succession


@dataclass(frozen=True, repr=False, kw_only=True)
class Spent:
    """A token that is about to be spent: its text, its item, and what that opens."""

    token: str
    found: SealedToken
    grant: SealedGrant

    @property
    def is_code(self) -> bool:
        """Whether it is a code."""
        return token.is_token(self.token, token.CODE)


def next_pair(tokens: Tokens, lifetimes: Lifetimes, spent: Spent, stored: GrantStore) -> NextPair:
    """Return the next pair for a token, whose session was saved a moment ago."""
    __traceback_hide__ = True
    now, grant = tokens.now(), spent.grant
    spent_at, ends = math.ceil(now), _end_of(stored)
    # Rounded up, so that a client is told no more than is true.
    access_ends = min(spent_at + lifetimes.access_age, ends)
    answer = Answer(
        key=stored.session_key or "",
        access_token=token.new(token.ACCESS),
        refresh_token=token.new(token.REFRESH),
        expires_in=max(1, int(access_ends - now)),
        scope=grant.scope,
        access_token_ends_at=access_ends,
        refresh_token_ends_at=int(now) + stored.get_expiry_age(),  # never beyond the grant's end
        grant_ends_at=ends,
    )
    new = AccessTokenItem(tokens.id_of(answer.access_token), access_ends)
    succession = succeed(grant.access_tokens, new, tokens.has_passed)
    refreshes = () if spent.is_code else (*recent(grant.refreshed_at, now), now)
    content = grant.succeeding(
        Previous(spent.found.id, spent_at, is_code=spent.is_code),
        access_tokens=succession.named,
        refresh_token=tokens.id_of(answer.refresh_token),
        refreshed_at=refreshes,
    ).to_bytes()
    exchange = Exchange(
        expected=spent.found.stamp,
        stamp=new_stamp(),
        spent=NewToken(spent.token, grant.spent(spent_at).to_bytes(), ends),
        answer=NewToken(spent.token, answer.to_bytes(), spent_at + lifetimes.refresh_grace + LATE),
        successors=(
            NewToken(answer.refresh_token, content, ends),
            NewToken(answer.access_token, content, access_ends),
        ),
        buried=_buried(grant, min(ends, spent_at + TOMBSTONE_AGE)),
        forgotten=grant.previous.id if grant.previous else None,
    )
    return NextPair(answer, exchange, succession)


def _buried(grant: SealedGrant, ends: int) -> TokenTombstone | None:
    """Return what takes the place of the token before this one; a code stays as it is."""
    if grant.previous is None or grant.previous.is_code:
        return None
    return TokenTombstone(
        id=grant.previous.id,
        session=grant.session,
        spent_at=grant.previous.spent_at,
        ttl=ends,
        stamp=new_stamp(),
    )


def _end_of(stored: GrantStore) -> int:
    """Return when a grant ends at the latest, in epoch seconds."""
    end = stored.absolute_end()
    return 0 if end is None else int(end.timestamp())
