"""The tokens that clients hold: their form and lifetimes, and the next pair for a spent one. Pure
but for chance.

Tokens are opaque texts, told apart by their prefix. The whole text is the secret, so one kind is
never taken for another. Malformed tokens are rejected without a lookup.
`SESSIONS_KMS["GRANT_TIMEOUT"]` says how long a grant lives, the setting `OAUTH_CLIENTS` how long
its tokens do.

A refresh token names the access tokens whose items may still exist, at most eight, so that whoever
spends it or ends the grant can delete them. Each exchange drops those that are over, and the oldest
where there would be nine: only that one ends early.

The tokens of a grant are refreshed at most ten times in any minute. The times are sealed in the
refresh token, which every exchange replaces: so all processes count together, and nothing else is
stored. The age of the token is no measure, since a program that has just restarted may refresh
within seconds.
"""

from __future__ import annotations

import math
import re
import secrets
import string
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from django.conf import settings

from oauth.clients.sealed_grant import AccessTokenItem, PreviousToken, SealedGrant, SealedResponse
from sessions_kms import GrantStore
from sessions_kms.sealed_items.tokens import (
    Exchange,
    NewToken,
    SealedToken,
    Tokens,
    TokenTombstone,
    new_stamp,
)

CODE: Final = "gwc_"
ACCESS: Final = "gwa_"
REFRESH: Final = "gwr_"

ALPHABET: Final = string.ascii_lowercase + string.digits
LENGTH: Final = 32  # letters after the beginning: 165 random bits
_TOKEN: Final = re.compile(r"gw[car]_[a-z0-9]{32}")

LIFETIMES_SETTING = "OAUTH_CLIENTS"  # a dict of the names below; each has a default

CODE_AGE = 60  # seconds
CODE_GRACE = 10  # seconds after a code was spent in which sending it again ends nothing
TOMBSTONE_AGE = 7 * 24 * 3600  # seconds in which an old refresh token still ends its grant
UNREDEEMED_AGE = 600  # seconds after which a grant ends whose code nobody redeemed
LATE_ARRIVAL = 30  # seconds beyond the grace that an answer stands, for who arrived within it

NAMED_MAX: Final = 8

REFRESHES_MAX: Final = 10
REFRESH_WINDOW: Final = 60  # seconds


def new_token(kind: str) -> str:
    """Return a token that nobody can guess."""
    return kind + "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def is_token(text: str, kind: str = "") -> bool:
    """Return True if this may be a token, of one kind where told."""
    __traceback_hide__ = True
    return text.startswith(kind) and _TOKEN.fullmatch(text) is not None


@dataclass(frozen=True, kw_only=True)
class Lifetimes:
    """In seconds. ``end_with_sid``: a back-channel logout by `sid` ends the grants of that
    sign-in, too.
    """

    access_token_age: int = 3600
    refresh_grace: int = 120
    end_with_sid: bool = False

    def __post_init__(self) -> None:
        """Refuse what the protocol was not thought for."""
        if not 60 <= self.access_token_age <= 86_400:
            raise ValueError(
                f"{LIFETIMES_SETTING}['access_token_age'] must be from 60 to 86,400 seconds."
            )
        if not 0 <= self.refresh_grace <= 300:
            raise ValueError(f"{LIFETIMES_SETTING}['refresh_grace'] must be from 0 to 300 seconds.")

    @property
    def access_age(self) -> int:
        """How long an access token lives: while the grant is there yet that it is refreshed by.

        A call does not keep a grant from idling out, its refresh does: so there is half of that
        time left to come back in.
        """
        return max(1, min(self.access_token_age, settings.SESSION_COOKIE_AGE // 2))

    @classmethod
    def configured(cls) -> Lifetimes:
        """Return what the settings say. Raises TypeError for a name that there is not."""
        return cls(**getattr(settings, LIFETIMES_SETTING, {}))


class NamedItems(NamedTuple):
    """What the next refresh token names, and the ids of the items that it no longer does.

    Those in ``expired`` are over, whatever becomes of the exchange. Those in ``surplus`` are good
    until it is known to have been made.
    """

    named: tuple[AccessTokenItem, ...]
    expired: tuple[str, ...]
    surplus: tuple[str, ...]


def replace_access_tokens(
    named: Sequence[AccessTokenItem],
    new: AccessTokenItem,
    has_passed: Callable[[int], bool],
) -> NamedItems:
    """Return what is named once a new access token is given."""
    expired = tuple(each.id for each in named if has_passed(each.ends_at))
    good = (*(each for each in named if each.id not in expired), new)
    surplus = tuple(each.id for each in good[:-NAMED_MAX])
    return NamedItems(good[-NAMED_MAX:], expired, surplus)


def items_of(grant: SealedGrant, item_id: str) -> list[str]:
    """Return the ids of all items that a token names, whose own item is this one."""
    previous = None if grant.previous is None else grant.previous.id
    spent = [each for each in (item_id, grant.refresh_token, previous) if each is not None]
    answers = [Tokens.answer_beside(each) for each in spent]
    return [*spent, *answers, *(each.id for each in grant.access_tokens)]


def items_of_response(answer: SealedResponse, id_of: Callable[[str], str]) -> list[str]:
    """Return the ids of the items of the tokens in an answer."""
    __traceback_hide__ = True
    return [id_of(answer.access_token), id_of(answer.refresh_token)]


def recent_refreshes(refreshed_at: Iterable[float], now: float) -> tuple[float, ...]:
    """Return the times of the last minute, all in epoch seconds.

    Of a time that is further ahead than that nobody knows whether it was so: a clock was wrong.
    """
    return tuple(each for each in refreshed_at if abs(now - each) < REFRESH_WINDOW)


def seconds_to_wait(refreshed_at: Iterable[float], now: float) -> int:
    """Return after how many seconds the next refresh may be made: 0 for now."""
    times = sorted(recent_refreshes(refreshed_at, now))
    if len(times) < REFRESHES_MAX:
        return 0
    return max(1, math.ceil(times[-REFRESHES_MAX] + REFRESH_WINDOW - now))


@dataclass(frozen=True, repr=False)
class NextPair:
    """An answer, the exchange that makes it good, and what becomes of the tokens before it."""

    response: SealedResponse
    exchange: Exchange
    succession: NamedItems


@dataclass(frozen=True, repr=False, kw_only=True)
class SpentToken:
    """A token that is about to be spent: its text, its item, and what that opens."""

    token: str
    found: SealedToken
    grant: SealedGrant

    @property
    def is_code(self) -> bool:
        """Whether it is a code."""
        return is_token(self.token, CODE)


def make_next_pair(
    tokens: Tokens, lifetimes: Lifetimes, spent: SpentToken, stored: GrantStore
) -> NextPair:
    """Return the next pair for a token, whose session was saved a moment ago."""
    __traceback_hide__ = True
    now, grant = tokens.now(), spent.grant
    spent_at, ends = math.ceil(now), _grant_end(stored)
    # Rounded up, so that a client is told no more than is true.
    access_ends = min(spent_at + lifetimes.access_age, ends)
    answer = SealedResponse(
        key=stored.session_key or "",
        access_token=new_token(ACCESS),
        refresh_token=new_token(REFRESH),
        expires_in=max(1, int(access_ends - now)),
        scope=grant.scope,
        access_token_ends_at=access_ends,
        refresh_token_ends_at=int(now) + stored.get_expiry_age(),  # never beyond the grant's end
        grant_ends_at=ends,
    )
    new = AccessTokenItem(tokens.id_of(answer.access_token), access_ends)
    succession = replace_access_tokens(grant.access_tokens, new, tokens.has_passed)
    refreshes = () if spent.is_code else (*recent_refreshes(grant.refreshed_at, now), now)
    content = grant.make_successor(
        PreviousToken(spent.found.id, spent_at, is_code=spent.is_code),
        access_tokens=succession.named,
        refresh_token=tokens.id_of(answer.refresh_token),
        refreshed_at=refreshes,
    ).to_bytes()
    exchange = Exchange(
        expected=spent.found.stamp,
        stamp=new_stamp(),
        spent=NewToken(spent.token, grant.make_spent(spent_at).to_bytes(), ends),
        answer=NewToken(
            spent.token, answer.to_bytes(), spent_at + lifetimes.refresh_grace + LATE_ARRIVAL
        ),
        successors=(
            NewToken(answer.refresh_token, content, ends),
            NewToken(answer.access_token, content, access_ends),
        ),
        buried=_tombstone_of_previous(grant, min(ends, spent_at + TOMBSTONE_AGE)),
        forgotten=grant.previous.id if grant.previous else None,
    )
    return NextPair(answer, exchange, succession)


def _tombstone_of_previous(grant: SealedGrant, ends: int) -> TokenTombstone | None:
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


def _grant_end(stored: GrantStore) -> int:
    """Return when a grant ends at the latest, in epoch seconds."""
    end = stored.absolute_end()
    return 0 if end is None else int(end.timestamp())
