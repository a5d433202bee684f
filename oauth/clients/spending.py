"""A code or refresh token is spent for the next pair of tokens, once, however many ask.

    open the item → is it this client's? → load the session, an active person → save the session
    → one transaction: the item spent, its answer beside it, a new pair, and a tombstone for the
    token before

Who comes second finds the answer, for as long as the grace lasts; who comes later with a spent
token ends the grant, since nobody can tell whose the first one was (RFC 9700 section 4.14.2).
The age of a spent token counts to the arrival of who presents it, not to when it was read. A
code is spent once and never answered again (RFC 6749 section 4.1.2). A client that sends it twice
at once, or tries again at once, is refused and keeps its grant; a later use ends the grant. A code
is never made a tombstone: it ends nothing before its verifier was compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from django.contrib.sessions.backends.base import UpdateError
from django.http import HttpRequest

from oauth.clients import token
from oauth.clients.errors import InvalidGrant, KeyMissing
from oauth.clients.grant_end import REUSED, GrantEnd
from oauth.clients.issued import Issued
from oauth.clients.lifetimes import CODE_GRACE, LATE, Lifetimes
from oauth.clients.sealed_grant import Answer, Previous, SealedGrant
from oauth.sign_in.session_user import get_user, is_behind
from sessions_kms import GrantStore, StoreUnavailable
from sessions_kms.concurrency.steps import Steps
from sessions_kms.concurrency.sync_and_async import CallInDjangosThread
from sessions_kms.exceptions import FateUnknown
from sessions_kms.format.token_tombstone import TokenTombstone
from sessions_kms.sealed_items.tokens import (
    Exchange,
    NewToken,
    SealedToken,
    TokenSteps,
    new_stamp,
)
from sessions_kms.services import Services

REFRESHED = "_grant_refreshed"  # in the session: each refresh is a save of it
UNTOLD = "It cannot be told whether the token was spent."

Stands: TypeAlias = SealedToken | TokenTombstone
Opens: TypeAlias = SealedGrant | TokenTombstone


@dataclass(frozen=True, repr=False)
class Presented:
    """A token as somebody presents it; ``arrived_at`` is in epoch seconds.

    ``check`` raises GrantError for what it opens, where it may not be used so.
    """

    token: str
    check: Callable[[SealedGrant], None]
    arrived_at: float

    @property
    def is_code(self) -> bool:
        """Whether it is a code."""
        return token.is_token(self.token, token.CODE)


class Spending:
    """One request that presents a code or a refresh token."""

    def __init__(self, services: Services, lifetimes: Lifetimes, presented: Presented) -> None:
        self._services = services
        self._lifetimes = lifetimes
        self._presented = presented
        self._tokens = TokenSteps(services)
        self._ends = GrantEnd(services)

    def issued(self) -> Steps[Issued]:
        """Return the next pair, or the one that was given for it. Raises GrantError."""
        __traceback_hide__ = True
        found, grant = yield from self._looked_up()
        if isinstance(grant, TokenTombstone) or grant.key is None:
            return (yield from self._again(grant))
        stored = yield from self._saved(grant.key)
        answer, exchange = self._exchange(found, grant, grant.key, stored)
        if not (yield from self._is_done(exchange)):
            found, grant = yield from self._looked_up()
            if isinstance(grant, SealedGrant) and grant.key is not None:
                raise StoreUnavailable(UNTOLD)
            if found.stamp != exchange.stamp:
                return (yield from self._again(grant))
        return _issued(answer)

    def _looked_up(self) -> Steps[tuple[Stands, Opens]]:
        """Return what stands, and what that opens, if it may be used so."""
        __traceback_hide__ = True
        found = yield from self._tokens.find(self._presented.token)
        if found is None:
            raise InvalidGrant
        if isinstance(found, TokenTombstone):
            return found, found
        grant = SealedGrant.from_bytes(found.content)
        self._presented.check(grant)
        return found, grant

    def _saved(self, key: str) -> Steps[GrantStore]:
        """Return the session once it is saved as one that goes on."""
        __traceback_hide__ = True
        stored = yield from self._loaded(key)
        stored.set_expiry(None)  # Its code is redeemed: from now on it idles as any session.
        stored[REFRESHED] = int(self._services.clock())
        try:
            yield from stored.saving()
        except UpdateError:
            ended = True
        else:
            ended = False
        if ended:
            raise InvalidGrant
        return stored

    def _loaded(self, key: str) -> Steps[GrantStore]:
        """Return the session, if it lives and its person may sign in."""
        __traceback_hide__ = True
        stored = GrantStore(key)
        if not (yield from stored.loading()):
            raise InvalidGrant
        if not (yield CallInDjangosThread(_has_person, (stored,))):
            raise InvalidGrant
        return stored

    def _is_done(self, exchange: Exchange) -> Steps[bool]:
        """Spend the token; False where only what stands can tell, or another was first."""
        __traceback_hide__ = True
        try:
            return (yield from self._tokens.exchange(exchange))
        except FateUnknown:
            return False

    def _exchange(
        self, found: Stands, grant: SealedGrant, key: str, stored: GrantStore
    ) -> tuple[Answer, Exchange]:
        """Return what is to be answered, and what is to be written for it."""
        __traceback_hide__ = True
        now, ends = self._services.clock(), _end_of(stored)
        spent_at = math.ceil(now)
        age = max(1, min(self._lifetimes.access_age, ends - int(now)))
        answer = Answer(
            key=key,
            access_token=token.new(token.ACCESS),
            refresh_token=token.new(token.REFRESH),
            expires_in=age,
            scope=grant.scope,
        )
        previous = Previous(found.id, spent_at, is_code=self._presented.is_code)
        content = grant.succeeding(previous).to_bytes()
        kept = spent_at + self._lifetimes.refresh_grace + LATE
        exchange = Exchange(
            expected=found.stamp,
            stamp=new_stamp(),
            spent=NewToken(self._presented.token, grant.spent(spent_at).to_bytes(), ends),
            answer=NewToken(self._presented.token, answer.to_bytes(), kept),
            successors=(
                NewToken(answer.refresh_token, content, ends),
                NewToken(answer.access_token, content, int(now) + age),
            ),
            buried=_buried(grant, ends),
            forgotten=grant.previous.id if grant.previous else None,
        )
        return answer, exchange

    def _again(self, spent: Opens) -> Steps[Issued]:
        """Answer a spent token as before; refuse it; or end the grant.

        What it opens was checked, so that a code ends nothing without its verifier.
        """
        __traceback_hide__ = True
        is_code = self._presented.is_code
        grace = CODE_GRACE if is_code else self._lifetimes.refresh_grace
        if self._presented.arrived_at - (spent.spent_at or 0) > grace:
            yield from self._end(spent.session)
        elif isinstance(spent, SealedGrant) and not is_code:
            return (yield from self._answered())
        raise InvalidGrant

    def _answered(self) -> Steps[Issued]:
        """Return what was answered before, while the grant lives."""
        __traceback_hide__ = True
        content = yield from self._tokens.answer(self._presented.token)
        if content is None:  # It stands beyond the grace: so late only who was held up asks.
            raise StoreUnavailable(UNTOLD)
        answer = Answer.from_bytes(content)
        yield from self._loaded(answer.key)
        return _issued(answer)

    def _end(self, session: str) -> Steps[None]:
        """End the grant: with what it has at the provider, while the answer tells its key."""
        __traceback_hide__ = True
        content = yield from self._tokens.answer(self._presented.token)
        if content is not None:
            yield from self._ends.of_key(Answer.from_bytes(content).key, REUSED)
        else:
            yield from self._ends.of_id(session, REUSED)


def _issued(answer: Answer) -> Issued:
    __traceback_hide__ = True
    return Issued(answer.access_token, answer.refresh_token, answer.expires_in, answer.scope)


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


def _has_person(stored: GrantStore) -> bool:
    """Tell whether the session's person may sign in, and has the password of its beginning.

    Raises KeyMissing where only another process can tell.
    """
    request = HttpRequest()
    request.session = stored
    is_authenticated = get_user(request).is_authenticated
    if is_behind(request):
        raise KeyMissing
    return bool(is_authenticated)
