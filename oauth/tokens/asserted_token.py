"""Tokens of MCP servers that nobody has to connect: a provider vouches for the user (ID-JAG).

An access token is in the session until it expires. Then one process requests another for all
(`assertion_request`), with an id token that is valid for another minute, for which the provider's
token set is refreshed if need be. The lease of this work never has the token: the others find it in
the stored session.

After an error of OAuth the session waits PAUSE seconds; until then only connecting the server
helps. A session that is too full to note the error has it noted in the lease. What a user connected
is used and refreshed like that of every other server.
"""

import hashlib
import logging
import secrets
from dataclasses import dataclass
from typing import Final

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase, UpdateError

from oauth.exceptions import (
    AssertionRefused,
    NoLongerAllowed,
    NotConnected,
    ReauthenticationRequired,
    SessionFull,
)
from oauth.mcp.provider import provider_of as provider_of_server
from oauth.mcp.servers import McpServer
from oauth.metrics import telemetry
from oauth.provider.config import ProviderConfig
from oauth.provider.id_token import CLOCK_DIFFERENCE, decode_stored_claims
from oauth.provider.refresh_lease import RefreshOutcome
from oauth.provider.token_set import TokenSet
from oauth.tokens import vault
from oauth.tokens.assertion_request import AssertionRequest
from oauth.tokens.fresh_token import REJECTED_AGE, Freshness, FreshToken
from oauth.tokens.providers import belongs_to, provider_of
from oauth.tokens.refresh_coordinator import Refresh
from oauth.tokens.remaining_access import RemainingAccess
from oauth.tokens.revocation import revoke_soon
from oauth.tokens.vault import SessionWrite, StoredTokenSet, TokenRepository
from sessions_kms import SessionStore, StoreUnavailable
from sessions_kms.concurrency.waits import BlockingCall
from sessions_kms.services import Services
from sessions_kms.signals import ReceiverCall

logger = logging.getLogger(__name__)

PREFIX: Final = "oauth_assertion_failed:"  # of session keys, one for each server
PAUSE: Final = 300  # seconds without another attempt
ID_TOKEN_LASTS: Final = 60  # seconds that an id token must be valid to be exchanged
LEASE_LABEL: Final = "oauth/id-jag"
REFUSED: Final = "refused"  # in the lease


def is_paused(session: SessionBase, server: McpServer, now: float) -> bool:
    """Return True if an attempt failed in this session, and nobody signed in since."""
    failed_at = session.get(PREFIX + server.name)
    if not isinstance(failed_at, int) or not -CLOCK_DIFFERENCE <= now - failed_at < PAUSE:
        return False
    account = vault.load_token_set(session, server.id_jag or "")
    return account is None or account.granted_at <= failed_at


def has_lasting_id_token(token_set: TokenSet, now: float) -> bool:
    """Return True if the id token of a token set can be exchanged."""
    __traceback_hide__ = True
    expires_at = decode_stored_claims(token_set.id_token).get("exp")
    return isinstance(expires_at, int | float) and expires_at > now + ID_TOKEN_LASTS


@dataclass(frozen=True)
class _IdTokenFreshness(Freshness):
    """Decides whether a token set's id token can be exchanged; the access token does not count."""

    def is_good(self, token_set: TokenSet) -> bool:
        """Return True if no refresh is needed, or another would not help."""
        age = self.clock() - (token_set.issued_at or 0)
        return self.lasts(token_set) or 0 <= age < REJECTED_AGE

    def lasts(self, token_set: TokenSet) -> bool:
        """Return True if the id token can be exchanged."""
        return has_lasting_id_token(token_set, self.clock())


class _FreshAccount(FreshToken):
    """One call for a provider's token set, refreshed if its id token cannot be exchanged."""

    def _freshness_of(self, token_set: TokenSet) -> Freshness:
        return _IdTokenFreshness(provider_of(self._name, token_set), self._services.clock)


def make_placeholder(
    session: SessionStore, server: McpServer, provider: str, user: str
) -> TokenSet:
    """Return an expired token set without tokens; its `grant_secret` is that of the work's lease.

    It takes the place of a missing token set: a request replaces it, as a refresh would.
    """
    __traceback_hide__ = True
    parts = (LEASE_LABEL, server.name, session.session_key or secrets.token_hex(16))
    return TokenSet(
        access_token="",
        token_type="",
        scope=(),
        subject=user,
        client_id="",
        expires_at=0,
        grant_secret=hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32],
        issuer=server.issuer,
        resource=server.url,
        asserted_by=provider,
    )


class _Repository(TokenRepository):
    """One session's token set of a server; a placeholder if there is none, or a useless one."""

    def __init__(
        self, services: Services, session: SessionStore, server: McpServer, provider: str
    ) -> None:
        super().__init__(services, session, server.name)
        self._services = services
        self._server = server
        self._assertion_issuer = provider

    async def put(self, new: TokenSet) -> StoredTokenSet:
        """Store a token set, unless the user connected the server meanwhile.

        Raises NotConnected if the session has ended, and SessionFull.
        """
        session = self._reload()
        if await session.aget(SESSION_KEY) != new.subject:
            raise NotConnected("The session has ended meanwhile.")
        held = await self._find(session)
        if held is not None and held.asserted_by is None and await self._is_usable(session, held):
            return StoredTokenSet(held, session)
        vault.store_token_set(session, self._server.name, new)
        session.pop(PREFIX + self._server.name, None)
        saved = await self._save_new(session)
        if saved is None:
            raise NotConnected("The session or the connection has ended meanwhile.")
        return StoredTokenSet(saved, session)

    async def pause(self) -> bool:
        """Note in the stored session that an attempt failed; return False if that has no room."""
        session, now = self._reload(), self._services.clock()
        if await session.aget(SESSION_KEY) is None or is_paused(session, self._server, now):
            return True
        session[PREFIX + self._server.name] = int(now)
        if session is not self._session:
            try:
                await SessionWrite(session, "save")
            except UpdateError:  # It has ended.
                return True
            except SessionFull:
                return False
        return True

    async def require(self, session: SessionStore) -> TokenSet:
        """Return the token set of a session object, or a placeholder."""
        held = await self._find(session)
        if held is None or not await self._is_usable(session, held):
            user = await session.aget(SESSION_KEY)
            return make_placeholder(session, self._server, self._assertion_issuer, user or "")
        return held if held.asserted_by else await super().require(session)

    async def _is_usable(self, session: SessionStore, held: TokenSet) -> bool:
        """Return False if an assertion can replace a token set, however long it lasts."""
        if not belongs_to(self._server, held):
            return False
        if held.asserted_by is None:
            expires_at = held.expires_at
            lasts = expires_at is None or expires_at > self._services.clock()
            return lasts or held.refresh_token is not None
        name = self._assertion_issuer
        account = vault.parse_token_set(await session.aget(vault.session_key(name)), name)
        return (
            account is not None
            and (held.asserted_by, held.asserted_subject) == (name, account.subject)
            and not await vault.is_ended(self._services, name, account)
            and not await vault.is_ended(self._services, self._server.name, held)
        )


class _SharedRequest(Refresh):
    """The request of one session for a token, which one process makes for all."""

    def __init__(
        self, request: AssertionRequest, lease: TokenSet, remaining: RemainingAccess
    ) -> None:
        super().__init__(
            request.services, provider_of_server(request.server, lease), lease, remaining
        )
        self._assertion_request = request

    def postpone(self) -> None:
        """Have this process make no other request for a few seconds."""
        self._start_back_off()

    async def refuse(self) -> None:
        """Have no process make another request for PAUSE seconds."""
        await BlockingCall(self._seal, (RefreshOutcome(refused=REFUSED), PAUSE))

    def _request(self) -> TokenSet:
        __traceback_hide__ = True
        with telemetry.spanned("refresh", "assertion", provider=self._provider.name):
            return self._assertion_request.send()


class AssertedToken(FreshToken):
    """One call for a valid token set of a session and server; ``provider`` vouches for the user."""

    def __init__(
        self,
        services: Services,
        session: SessionStore,
        server: McpServer,
        provider: ProviderConfig,
        rejected: TokenSet | None = None,
    ) -> None:
        super().__init__(services, session, server.name, rejected)
        self._server = server
        self._provider = provider
        self._stored = self._repository = _Repository(services, session, server, provider.name)

    async def refresh(self, *, patient: bool) -> StoredTokenSet:
        """Return the session's token set, after a request if it is not valid."""
        stored = await self._stored.load_stored()
        if stored.token_set.asserted_by is None:
            return await super().refresh(patient=patient)
        if self._is_good(stored):
            return stored
        self._require_no_pause(stored)
        try:
            account = await self._load_account(stored.session)
            return await self._obtain(stored.session, account, patient=patient)
        except (AssertionRefused, NoLongerAllowed):
            raise
        except ReauthenticationRequired:  # There is no id token.
            await self._stored.pause()
            raise

    async def _load_account(self, session: SessionStore) -> TokenSet:
        """Return the provider's token set, with an id token that can be exchanged."""
        account = await _FreshAccount(self._services, session, self._provider.name).get()
        if not has_lasting_id_token(account, self._services.clock()):
            logger.warning("%s returns no new id token at a refresh.", self._provider.name)
            raise ReauthenticationRequired("The provider returned no id token.")
        return account

    async def _obtain(
        self, session: SessionStore, account: TokenSet, *, patient: bool
    ) -> StoredTokenSet:
        """Request a token and store it, unless another process has done so."""
        user = str(await session.aget(SESSION_KEY))
        request = AssertionRequest(self._services, self._server, self._provider, account, user)
        lease = make_placeholder(session, self._server, self._provider.name, user)
        shared = _SharedRequest(request, lease, self._remaining)
        try:
            await shared.find(patient=patient)
        except ReauthenticationRequired:  # `refuse`
            raise AssertionRefused("An attempt failed in this full session a moment ago.") from None
        try:
            stored = await self._stored.load_stored()
            if self._is_good(stored):
                return stored
            self._require_no_pause(stored)
            new = await shared.perform()
            return await self._store(shared, new)
        except ReauthenticationRequired:
            # With the lease: the next process would try as well.
            if not await self._stored.pause():
                await shared.refuse()
            raise AssertionRefused("The assertion was refused.") from None
        finally:
            await shared.give_up()

    async def _store(self, shared: _SharedRequest, new: TokenSet) -> StoredTokenSet:
        """Store a new token set; revoke it if that cannot be done."""
        try:
            stored = await self._stored.put(new)
        except (NotConnected, SessionFull, StoreUnavailable):
            shared.postpone()
            revoke_soon(self._services, self._name, new, self._remaining)
            raise
        await ReceiverCall(self._send_refreshed)
        return stored

    async def _end_session(self, subject: str) -> None:
        """Drop what an assertion brought; the provider's own refresh has ended the session."""
        removed = await self._stored.remove(subject)
        if removed is not None:
            revoke_soon(self._services, self._name, removed, self._remaining)

    def _is_good(self, stored: StoredTokenSet) -> bool:
        return self._freshness_of(stored.token_set).is_good(stored.token_set)

    def _require_no_pause(self, stored: StoredTokenSet) -> None:
        if is_paused(stored.session, self._server, self._services.clock()):
            raise AssertionRefused("An attempt failed in this session a moment ago.")
