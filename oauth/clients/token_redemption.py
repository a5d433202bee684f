"""Exchanges a code or refresh token for the next pair of tokens, once, for any number of requests.

    decrypt the item → check the client → authenticate it → check the proof of its key
    → load the session of an active user → save the session → use up the client's assertion
    → one transaction: the item is spent, its response is stored beside it, a new pair is created,
    and a tombstone replaces the previous token

Concurrent and repeated requests get the stored response within the grace period. A later use of a
spent token ends the grant, since it is unknown which of the two users is legitimate (RFC 9700
section 4.14.2). The age of a spent token is measured at the arrival of the request, not when the
item is read. The response to a code is not repeated (RFC 6749 section 4.1.2): a client that
sends it twice within the grace period gets an error and keeps its grant; a later use ends the
grant. A code never becomes a tombstone: it ends nothing before its verifier is checked. Items of
expired and surplus tokens are deleted in the background.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from django.contrib.sessions.backends.base import UpdateError
from django.http import HttpRequest

from oauth.clients import grant_end, timed_deletions, token_pair
from oauth.clients.authentication.authenticator import Authenticator
from oauth.clients.authentication.key_binding import TokenBinding
from oauth.clients.grant_end import REUSED, GrantRevoker
from oauth.clients.rules.errors import InvalidGrant, KeyMissing, TooManyRefreshes
from oauth.clients.sealed_grant import CodeAnswer, SealedGrant, SealedResponse, TokenResponse
from oauth.clients.token_pair import (
    CODE_GRACE,
    Lifetimes,
    NextPair,
    SpentToken,
    items_of,
    items_of_response,
    make_next_pair,
)
from oauth.sign_in.session_user import get_user, is_behind
from sessions_kms import GrantStore, StoreUnavailable
from sessions_kms.concurrency.sync_and_async import CallInDjangosThread
from sessions_kms.exceptions import FateUnknown
from sessions_kms.sealed_items.tokens import Exchange, SealedToken, Tokens, TokenTombstone
from sessions_kms.services import Services

REFRESHED_KEY = "_grant_refreshed"  # in the session: each refresh is a save of it
UNKNOWN_OUTCOME = "It is unknown whether the token was spent."

StoredToken: TypeAlias = SealedToken | TokenTombstone
TokenContent: TypeAlias = SealedGrant | TokenTombstone


@dataclass(frozen=True, repr=False)
class PresentedToken:
    """A presented token; ``arrived_at`` is in epoch seconds.

    ``check`` takes the token's content, and raises GrantError if the request does not match it.
    ``verifier`` is that of a code (RFC 7636), "" for a refresh token. ``client`` authenticates the
    client when the rest matches, and ``binding`` then checks the proof of its key.
    """

    token: str
    verifier: str
    check: Callable[[SealedGrant], None]
    arrived_at: float
    client: Authenticator
    binding: TokenBinding


class TokenRedemption:
    """One request that presents a code or a refresh token."""

    def __init__(self, services: Services, lifetimes: Lifetimes, presented: PresentedToken) -> None:
        self._services = services
        self._lifetimes = lifetimes
        self._presented = presented
        self._tokens = Tokens(services, grant_end.expired_item_remover(services))
        self._revoker = GrantRevoker(services)

    async def redeem(self) -> TokenResponse:
        """Return the next pair, or the stored response with the one issued before.

        Raises GrantError, or TooManyRefreshes, which spends nothing.
        """
        __traceback_hide__ = True
        found, grant = await self._look_up()
        if isinstance(found, TokenTombstone) or isinstance(grant, TokenTombstone):
            return await self._handle_spent(found, grant)
        if grant.key is None:
            return await self._handle_spent(found, grant)
        self._check_rate(grant)
        stored = await self._save_session(grant.key)
        spent = SpentToken(
            token=self._presented.token,
            verifier=self._presented.verifier,
            found=found,
            grant=grant,
            is_authenticated=self._presented.client.is_authenticated,
            jkt=self._presented.binding.thumbprint,
        )
        pair = make_next_pair(self._tokens, self._lifetimes, spent, stored)
        grant_end.delete_items_soon(self._services, pair.succession.expired)
        await self._presented.client.use_up(self._presented.token)
        if not await self._exchange(pair.exchange) and not await self._is_replaced(pair):
            found, grant = await self._look_up()
            if isinstance(grant, SealedGrant) and grant.key is not None:
                raise StoreUnavailable(UNKNOWN_OUTCOME)
            if found.stamp != pair.exchange.stamp:
                return await self._handle_spent(found, grant)
        grant_end.delete_items_soon(self._services, pair.succession.surplus)
        answer_id = self._tokens.answer_beside(spent.found.id)
        timed_deletions.delete_once_ended(self._services, answer_id, pair.exchange.answer.ttl)
        return pair.response.to_response(self._services.clock())

    def _check_rate(self, grant: SealedGrant) -> None:
        """Raise TooManyRefreshes at the limit, without checking whether the grant still exists."""
        wait = token_pair.seconds_to_wait(grant.refreshed_at, self._services.clock())
        if wait:
            raise TooManyRefreshes(wait)

    async def _look_up(self) -> tuple[StoredToken, TokenContent]:
        """Return the stored item and its content, if the request matches it."""
        __traceback_hide__ = True
        found = await self._tokens.find(self._presented.token)
        if found is None:
            raise InvalidGrant
        if isinstance(found, TokenTombstone):
            return found, found
        grant = SealedGrant.from_bytes(found.content)
        presented = self._presented
        presented.check(grant)
        await presented.client.authenticate(grant)
        presented.binding.check(
            grant, presented.token, is_authenticated=presented.client.is_authenticated
        )
        return found, grant

    async def _save_session(self, key: str) -> GrantStore:
        """Return the session, saved with a new expiry."""
        __traceback_hide__ = True
        stored = await self._load_session(key)
        stored.set_expiry(None)  # Its code is redeemed: from now on it has the usual idle timeout.
        stored[REFRESHED_KEY] = int(self._services.clock())
        try:
            await stored.save_grant()
        except UpdateError:
            ended = True
        else:
            ended = False
        if ended:
            raise InvalidGrant
        return stored

    async def _load_session(self, key: str) -> GrantStore:
        """Return the session, if it is live and its user may sign in."""
        __traceback_hide__ = True
        stored = GrantStore(key)
        if not await stored.load_grant():
            raise InvalidGrant
        if not await CallInDjangosThread(_has_active_user, (stored,)):
            raise InvalidGrant
        return stored

    async def _exchange(self, exchange: Exchange) -> bool:
        """Spend the token; return False if another request was first or the outcome is unknown."""
        __traceback_hide__ = True
        try:
            return await self._tokens.exchange(exchange)
        except FateUnknown:
            return False

    async def _is_replaced(self, pair: NextPair) -> bool:
        """Return True if a pair's exchange was applied, although at most a tombstone is left.

        Another process of the client then got the same pair, and has already refreshed it.
        """
        __traceback_hide__ = True
        found = await self._tokens.find(self._presented.token)
        if isinstance(found, SealedToken):
            return False
        return await self._tokens.find(pair.response.refresh_token) is not None

    async def _handle_spent(self, found: StoredToken, spent: TokenContent) -> TokenResponse:
        """Repeat the response to a spent token, reject the token, or end the grant.

        Its content was checked before, so that a code ends nothing without its verifier.
        """
        __traceback_hide__ = True
        is_code = token_pair.is_token(self._presented.token, token_pair.CODE)
        grace = CODE_GRACE if is_code else self._lifetimes.refresh_grace
        if self._presented.arrived_at - (spent.spent_at or 0) > grace:
            if isinstance(spent, SealedGrant):
                await self._presented.client.use_up(self._presented.token, ends_grant=True)
            await self._end(found, spent)
        elif isinstance(spent, SealedGrant) and not is_code:
            return await self._repeat_response()
        raise InvalidGrant

    async def _repeat_response(self) -> TokenResponse:
        """Return the stored response, while the grant is live."""
        __traceback_hide__ = True
        content = await self._tokens.answer(self._presented.token)
        if content is None:
            await self._look_up()  # A grant's end deletes a spent token before its answer.
            # Only a delayed request gets here after the grace period.
            raise StoreUnavailable(UNKNOWN_OUTCOME)
        response = SealedResponse.from_bytes(content)
        self._presented.binding.require_same(response.jkt)
        await self._load_session(response.key)
        await self._presented.client.use_up(self._presented.token)
        return response.to_response(self._services.clock())

    async def _end(self, found: StoredToken, spent: TokenContent) -> None:
        """End the grant, also at the provider while the stored response has its key."""
        __traceback_hide__ = True
        items = [found.id] if isinstance(spent, TokenTombstone) else items_of(spent, found.id)
        content = await self._tokens.answer(self._presented.token, self._presented.verifier)
        if content is None:
            await self._revoker.end_by_id(spent.session, REUSED, items)
            return
        if self._presented.verifier:
            code = CodeAnswer.from_bytes(content)
            await self._revoker.end_by_key(code.key, REUSED, [*items, *code.items])
            return
        response = SealedResponse.from_bytes(content)
        items += items_of_response(response, self._tokens.id_of)
        await self._revoker.end_by_key(response.key, REUSED, items)


def _has_active_user(stored: GrantStore) -> bool:
    """Return True if the session's user may sign in, with the same password as at its start.

    Raises KeyMissing if only another process can verify that.
    """
    request = HttpRequest()
    request.session = stored
    is_authenticated = get_user(request).is_authenticated
    if is_behind(request):
        raise KeyMissing
    return bool(is_authenticated)
