"""The tokens of clients: their form and lifetimes, and the next pair for a spent one.

Tokens are opaque texts, distinguished by their prefix. The prefix is part of the secret, so one
kind cannot be used as another. Malformed tokens are rejected without a lookup.
`SESSIONS_KMS["GRANT_TIMEOUT"]` says how long a grant lives, the setting `OAUTH_CLIENTS` how long
its tokens do.

A refresh token names the access tokens whose items may still exist, at most eight, so that they can
be deleted when it is spent or the grant is ended. Each exchange drops expired ones, and the oldest
if there would be nine: only that one ends early.

The tokens of a grant are refreshed at most ten times in any minute. The times are sealed in the
refresh token, which every exchange replaces: so all processes share one count, and nothing else is
stored. The age of the token cannot be used, since a program that has just restarted may refresh
within seconds.
"""

import math
import re
import secrets
import string
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from django.conf import settings

from oauth.clients.sealed_grant import (
    AccessTokenItem,
    CodeAnswer,
    PreviousToken,
    SealedGrant,
    SealedResponse,
)
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
LENGTH: Final = 32  # characters after the prefix: 165 random bits
_TOKEN: Final = re.compile(r"gw[car]_[a-z0-9]{32}")

LIFETIMES_SETTING = "OAUTH_CLIENTS"  # a dict of the names below; each has a default

CODE_AGE = 60  # seconds
CODE_GRACE = 10  # seconds after a code was spent in which its repetition does not end the grant
TOMBSTONE_AGE = 7 * 24 * 3600  # seconds in which an old refresh token still ends its grant
UNREDEEMED_AGE = 600  # seconds after which a grant ends if its code is not redeemed
LATE_ARRIVAL = 30  # seconds beyond the grace for which a response is stored, for delayed requests

NAMED_MAX: Final = 8

REFRESHES_MAX: Final = 10
REFRESH_WINDOW: Final = 60  # seconds


def new_token(kind: str) -> str:
    """Return a random token."""
    return kind + "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def is_token(text: str, kind: str = "") -> bool:
    """Return True if a text has the form of a token, of this kind if given."""
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
        """Raise ValueError for values outside the designed range."""
        if not 60 <= self.access_token_age <= 86_400:
            raise ValueError(
                f"{LIFETIMES_SETTING}['access_token_age'] must be from 60 to 86,400 seconds."
            )
        if not 0 <= self.refresh_grace <= 300:
            raise ValueError(f"{LIFETIMES_SETTING}['refresh_grace'] must be from 0 to 300 seconds.")

    @property
    def access_age(self) -> int:
        """The lifetime of an access token, at most half of the grant's idle timeout.

        Only refreshes restart the idle timeout, not calls: so a client has the other half of that
        time for its refresh.
        """
        return max(1, min(self.access_token_age, settings.SESSION_COOKIE_AGE // 2))

    @classmethod
    def configured(cls) -> "Lifetimes":
        """Return the configured lifetimes. Raises TypeError for an unknown name."""
        return cls(**getattr(settings, LIFETIMES_SETTING, {}))


class NamedItems(NamedTuple):
    """The access tokens that the next refresh token names, and the ids of dropped items.

    Those in ``expired`` can be deleted whatever the outcome of the exchange. Those in ``surplus``
    are valid until the exchange is known to be applied.
    """

    named: tuple[AccessTokenItem, ...]
    expired: tuple[str, ...]
    surplus: tuple[str, ...]


def replace_access_tokens(
    named: Sequence[AccessTokenItem],
    new: AccessTokenItem,
    has_passed: Callable[[int], bool],
) -> NamedItems:
    """Return the named items after a new access token is issued."""
    expired = tuple(each.id for each in named if has_passed(each.ends_at))
    good = (*(each for each in named if each.id not in expired), new)
    surplus = tuple(each.id for each in good[:-NAMED_MAX])
    return NamedItems(good[-NAMED_MAX:], expired, surplus)


def items_of(grant: SealedGrant, item_id: str) -> list[str]:
    """Return the ids of all items that a token names, and of its own item."""
    previous = None if grant.previous is None else grant.previous.id
    spent = [each for each in (item_id, grant.refresh_token, previous) if each is not None]
    answers = [Tokens.answer_beside(each) for each in spent]
    return [*spent, *answers, *(each.id for each in grant.access_tokens)]


def items_of_response(response: SealedResponse, id_of: Callable[[str], str]) -> list[str]:
    """Return the ids of the items of the tokens in a response."""
    __traceback_hide__ = True
    return [id_of(response.access_token), id_of(response.refresh_token)]


def recent_refreshes(refreshed_at: Iterable[float], now: float) -> tuple[float, ...]:
    """Return the times of the last minute, all in epoch seconds.

    Times further in the future are dropped: a clock was wrong.
    """
    return tuple(each for each in refreshed_at if abs(now - each) < REFRESH_WINDOW)


def seconds_to_wait(refreshed_at: Iterable[float], now: float) -> int:
    """Return the seconds until the next refresh is allowed; 0 means now."""
    times = sorted(recent_refreshes(refreshed_at, now))
    if len(times) < REFRESHES_MAX:
        return 0
    return max(1, math.ceil(times[-REFRESHES_MAX] + REFRESH_WINDOW - now))


@dataclass(frozen=True, repr=False)
class NextPair:
    """A response, the exchange that makes it valid, and the changes to earlier tokens."""

    response: SealedResponse
    exchange: Exchange
    succession: NamedItems


@dataclass(frozen=True, repr=False, kw_only=True)
class SpentToken:
    """A token that is about to be spent: its text, its item, and its content.

    ``verifier`` is that of a code, "" for a refresh token. ``is_authenticated`` says whether the
    client proved who it is, ``jkt`` is the thumbprint of the key to which the next pair is bound.
    """

    token: str
    verifier: str
    found: SealedToken
    grant: SealedGrant
    is_authenticated: bool = False
    jkt: str | None = None

    @property
    def is_code(self) -> bool:
        """Whether it is a code."""
        return is_token(self.token, CODE)


def make_next_pair(
    tokens: Tokens, lifetimes: Lifetimes, spent: SpentToken, stored: GrantStore
) -> NextPair:
    """Return the next pair for a token, whose session has just been saved."""
    __traceback_hide__ = True
    now, grant = tokens.now(), spent.grant
    spent_at, ends = math.ceil(now), grant_end(stored)
    # Rounded up, so that `expires_in` is not too long.
    access_ends = min(spent_at + lifetimes.access_age, ends)
    response = SealedResponse(
        key=stored.session_key or "",
        access_token=new_token(ACCESS),
        refresh_token=new_token(REFRESH),
        scope=grant.scope,
        access_token_ends_at=access_ends,
        refresh_token_ends_at=int(now) + stored.get_expiry_age(),  # never beyond the grant's end
        grant_ends_at=ends,
        jkt=spent.jkt,
    )
    new = AccessTokenItem(tokens.id_of(response.access_token), access_ends)
    succession = replace_access_tokens(grant.access_tokens, new, tokens.has_passed)
    refreshes = () if spent.is_code else (*recent_refreshes(grant.refreshed_at, now), now)
    content = grant.make_successor(
        PreviousToken(
            spent.found.id,
            spent_at,
            is_code=spent.is_code,
            needs_authentication=grant.needs_authentication,
            jkt=grant.jkt,
        ),
        access_tokens=succession.named,
        refresh_token=tokens.id_of(response.refresh_token),
        refreshed_at=refreshes,
        is_authenticated=spent.is_authenticated,
        jkt=spent.jkt,
    ).to_bytes()
    exchange = Exchange(
        expected=spent.found.stamp,
        stamp=new_stamp(),
        spent=NewToken(spent.token, grant.make_spent(spent_at).to_bytes(), ends),
        answer=NewToken(
            spent.token,
            _stored_answer(tokens, spent, response),
            spent_at + lifetimes.refresh_grace + LATE_ARRIVAL,
            spent.verifier,
        ),
        successors=(
            NewToken(response.refresh_token, content, ends),
            NewToken(response.access_token, content, access_ends),
        ),
        buried=_tombstone_of_previous(grant, min(ends, spent_at + TOMBSTONE_AGE)),
        forgotten=grant.previous.id if grant.previous else None,
        deleted=_deleted_previous(grant),
    )
    return NextPair(response, exchange, succession)


def _stored_answer(tokens: Tokens, spent: SpentToken, response: SealedResponse) -> bytes:
    """Return what is stored beside the spent token: the response, unless it is never repeated."""
    __traceback_hide__ = True
    if not spent.is_code:
        return response.to_bytes()
    items = tuple(items_of_response(response, tokens.id_of))
    return CodeAnswer(key=response.key, items=items).to_bytes()


def _tombstone_of_previous(grant: SealedGrant, ends: int) -> TokenTombstone | None:
    """Return the tombstone that replaces the previous token, if it leaves one."""
    if grant.previous is None or not grant.previous.leaves_tombstone:
        return None
    return TokenTombstone(
        id=grant.previous.id,
        session=grant.session,
        spent_at=grant.previous.spent_at,
        ttl=ends,
        stamp=new_stamp(),
    )


def _deleted_previous(grant: SealedGrant) -> str | None:
    """Return the id of the previous token's item if it is deleted and leaves no tombstone."""
    previous = grant.previous
    if previous is None or previous.is_code or previous.leaves_tombstone:
        return None
    return previous.id


def grant_end(stored: GrantStore) -> int:
    """Return when a grant ends at the latest, in epoch seconds."""
    end = stored.absolute_end()
    return 0 if end is None else int(end.timestamp())
