"""The grants that people give to clients: creates, redeems, refreshes, loads and ends them.

Takes consents, codes and tokens; returns codes, tokens and the sessions of grants. Does not depend
on HTTP.
"""

import hmac
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.base_user import AbstractBaseUser

from oauth.clients import grant_end, live_grants, timed_deletions, token_pair
from oauth.clients.authentication.authenticator import Authenticator
from oauth.clients.authentication.dpop_proof import RequestProof
from oauth.clients.authentication.key_binding import TokenBinding, UsedProofs, check_call
from oauth.clients.consent import Consent, make_labels
from oauth.clients.grant_end import REVOKED, GrantRevoker
from oauth.clients.rules.errors import InvalidGrant, InvalidScope, InvalidTarget
from oauth.clients.sealed_grant import (
    CachedGrant,
    GrantCache,
    IssuedCode,
    SealedGrant,
    SealedResponse,
    TokenResponse,
)
from oauth.clients.token_pair import (
    CODE_AGE,
    LATE_ARRIVAL,
    UNREDEEMED_AGE,
    Lifetimes,
    items_of,
    items_of_response,
)
from oauth.clients.token_redemption import PresentedToken, TokenRedemption
from oauth.formats import hash_text
from oauth.logout import session_links
from oauth.metrics import ISSUED, count_grant
from oauth.provider.token_set import TokenSet
from oauth.sign_in.session_user import note_password
from oauth.signals import grant_created
from oauth.tokens import asserted_account, vault
from sessions_kms import SHORT_ID, GrantStore, StoreUnavailable, about, id_of, user_id_of
from sessions_kms.concurrency.waits import BlockingCall
from sessions_kms.sealed_items.tokens import NewToken, SealedToken, Tokens, TokenTombstone
from sessions_kms.services import Services, services

IsAllowed: TypeAlias = Callable[[str], bool]

_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")  # RFC 7636 section 4.1


@dataclass(frozen=True)
class OpenGrant:
    """A grant whose access token came with a request: its session, and its client's whole id.

    ``is_bound`` says whether the token is bound to a key, of which the request had a proof,
    ``is_authenticated`` whether the client proved who it is when it got the token.
    """

    session: GrantStore = field(repr=False)
    client_id: str
    is_bound: bool = False
    is_authenticated: bool = False

    @property
    def is_asserted(self) -> bool:
        """Whether it came with a provider's assertion, instead of a consent."""
        return asserted_account.KEY in self.session


class Grants:
    """Operations on grants. All methods raise StoreUnavailable if DynamoDB or KMS is down."""

    def __init__(self, services: Services, lifetimes: Lifetimes) -> None:
        self.services = self._services = services
        self._lifetimes = lifetimes
        self._tokens = Tokens(services, grant_end.expired_item_remover(services))
        self._revoker = GrantRevoker(services)
        self._cache = GrantCache(services.clock)
        self._used_proofs = UsedProofs()

    async def allow(
        self,
        user: AbstractBaseUser,
        consent: Consent,
        provider_id: str,
        token_set: TokenSet,
        *,
        backend: str,
    ) -> IssuedCode:
        """Create a grant; return a code for the client that is valid for a minute and one use.

        ``backend`` is the dotted path of the authentication backend with which the person signed in
        (the browser session's `BACKEND_SESSION_KEY`). A person's 51st grant ends the least recently
        used one.
        """
        __traceback_hide__ = True
        ended = await BlockingCall(live_grants.make_room, (self._services, user_id_of(user)))
        stored = GrantStore()
        stored[SESSION_KEY] = user_id_of(user)
        stored[BACKEND_SESSION_KEY] = backend
        stored[HASH_SESSION_KEY] = user.get_session_auth_hash()
        note_password(stored, user)
        stored[about.ABOUT] = make_labels(consent, provider_id)
        vault.store_token_set(stored, provider_id, token_set)
        # This may fetch the provider's metadata, to see whether it supports back-channel logout.
        await BlockingCall(
            session_links.link_session, (stored, provider_id, token_set, self._link_kinds)
        )
        live_grants.link_to_user(stored, user_id_of(user))
        stored.set_expiry(UNREDEEMED_AGE)
        await stored.start_grant()
        key = stored.session_key or ""
        code = token_pair.new_token(token_pair.CODE)
        content = _make_sealed_grant(key, consent, user_id_of(user))
        ends = int(self._services.clock()) + CODE_AGE
        await self._tokens.begin(NewToken(code, content.to_bytes(), ends))
        timed_deletions.delete_once_ended(self._services, self._tokens.id_of(code), ends)
        count_grant(ISSUED)
        await BlockingCall(_announce_grant, (key, user_id_of(user), consent, provider_id))
        return IssuedCode(code, tuple(ended))

    async def redeem(
        self,
        code: str,
        *,
        verifier: str,
        client_id: str,
        redirect_uri: str | None,
        resource: str | None,
        arrived_at: float,
        is_allowed: IsAllowed,
        client: Authenticator | None = None,
        proof: RequestProof | None = None,
    ) -> TokenResponse:
        """Return the first pair of tokens for a code.

        ``arrived_at`` is the services' clock at the arrival of the request. ``is_allowed`` returns
        whether the operator still allows the client with the redirect URI to which the code was
        sent. ``client`` authenticates it, without one it is public. The tokens are bound to the key
        of ``proof``. Raises InvalidGrant, InvalidTarget, ClientNotAuthenticated, InvalidProof and
        Undecided; none spends the code. If everything matches but the code was redeemed more than
        `CODE_GRACE` ago, its grant is ended (RFC 6749 section 4.1.2).
        """
        __traceback_hide__ = True
        if not token_pair.is_token(code, token_pair.CODE) or not _VERIFIER.fullmatch(verifier):
            raise InvalidGrant

        def check(grant: SealedGrant) -> None:
            __traceback_hide__ = True
            _check_client(grant, client_id, is_allowed)
            if redirect_uri not in {None, grant.redirect_uri}:
                raise InvalidGrant
            if not hmac.compare_digest(hash_text(verifier), grant.challenge or ""):
                raise InvalidGrant
            _check_resource(grant, resource)

        return await self._redeem(
            PresentedToken(
                code,
                verifier,
                check,
                arrived_at,
                client or Authenticator(),
                self.make_binding(proof),
            )
        )

    async def refresh(
        self,
        refresh_token: str,
        *,
        client_id: str,
        resource: str | None,
        scope: str | None,
        arrived_at: float,
        is_allowed: IsAllowed,
        client: Authenticator | None = None,
        proof: RequestProof | None = None,
    ) -> TokenResponse:
        """Return the next pair of tokens for a refresh token.

        ``arrived_at`` is the services' clock at the arrival of the request. ``client``
        authenticates the client, without one it is public. The tokens are bound to the key of
        ``proof``. Raises InvalidGrant; also InvalidTarget and InvalidScope for more than the person
        consented to, ClientNotAuthenticated, InvalidProof, Undecided and TooManyRefreshes, none of
        which spends the token.
        """
        __traceback_hide__ = True
        if not token_pair.is_token(refresh_token, token_pair.REFRESH):
            raise InvalidGrant

        def check(grant: SealedGrant) -> None:
            _check_client(grant, client_id, is_allowed)
            _check_resource(grant, resource)
            if not set((scope or "").split()) <= set(grant.scope.split()):
                raise InvalidScope

        return await self._redeem(
            PresentedToken(
                refresh_token,
                "",
                check,
                arrived_at,
                client or Authenticator(),
                self.make_binding(proof),
            )
        )

    async def revoke(
        self, any_token: str, *, client_id: str, client: Authenticator | None = None
    ) -> None:
        """End the grant of this client's token, here and at the provider (RFC 7009).

        Unknown tokens and codes are ignored: a code passes through a browser's address bar, and
        proves nothing without its verifier. ``client`` authenticates the client, without one it is
        public. Raises InvalidGrant for another client's token, ClientNotAuthenticated and
        Undecided.
        """
        __traceback_hide__ = True
        if not token_pair.is_token(any_token) or token_pair.is_token(any_token, token_pair.CODE):
            return
        item = await self._tokens.find(any_token)
        if isinstance(item, TokenTombstone):
            await self._revoker.end_by_id(item.session, REVOKED, [item.id])
        if not isinstance(item, SealedToken):
            return
        grant = SealedGrant.from_bytes(item.content)
        if grant.client_id != client_id:
            raise InvalidGrant
        client = client or Authenticator()
        await client.authenticate(grant)
        await client.use_up(any_token, ends_grant=True)
        key, items = grant.key, items_of(grant, item.id)
        if key is None and (content := await self._tokens.answer(any_token)) is not None:
            response = SealedResponse.from_bytes(content)
            key, items = response.key, items + items_of_response(response, self._tokens.id_of)
        if key is None:
            await self._revoker.end_by_id(grant.session, REVOKED, items)
        else:
            await self._revoker.end_by_key(key, REVOKED, items)

    async def end(self, stored: GrantStore, *, access_token: str) -> None:
        """End the grant that `session` returned for a token, here and at the provider."""
        __traceback_hide__ = True
        cached = None
        with suppress(StoreUnavailable):  # Then the token's items remain, but are useless.
            cached = await self._find_cached(access_token)
        await self._revoker.end(stored, REVOKED, () if cached is None else cached.items)

    async def open(
        self, access_token: str, *, upstream: str, proof: RequestProof | None = None
    ) -> OpenGrant | None:
        """Return the grant of an access token, with its loaded session.

        ``proof`` is what came with a token that was sent as `DPoP`; without, it was sent as
        `Bearer`. Returns None if the token is not valid for this upstream. The caller has to check
        that the person is active, as for every session. Raises WrongTokenType, and InvalidProof.
        """
        __traceback_hide__ = True
        if not token_pair.is_token(access_token, token_pair.ACCESS):
            return None
        cached = await self._find_cached(access_token)
        if cached is None or cached.upstream != upstream:
            return None
        now = self._services.clock()
        check_call(cached.jkt, proof, access_token, self._used_proofs, now)
        stored = GrantStore(cached.key)
        is_there = await stored.load_grant()
        await self._delete_previous_response(cached)
        if not is_there:
            return None
        return OpenGrant(stored, cached.client_id, cached.jkt is not None, cached.is_authenticated)

    async def _redeem(self, presented: PresentedToken) -> TokenResponse:
        __traceback_hide__ = True
        return await TokenRedemption(self._services, self._lifetimes, presented).redeem()

    def make_binding(self, proof: RequestProof | None) -> TokenBinding:
        """Return what decides to which key the tokens for a request are bound."""
        return TokenBinding(proof, self._used_proofs, self._services.clock)

    async def _find_cached(self, access_token: str) -> CachedGrant | None:
        __traceback_hide__ = True
        token_id = self._tokens.id_of(access_token)
        if (cached := self._cache.find(token_id)) is not None:
            return cached
        item = await self._tokens.find(access_token)
        if not isinstance(item, SealedToken):
            return None
        grant = SealedGrant.from_bytes(item.content)
        if grant.key is None:
            return None
        items = tuple(items_of(grant, item.id))
        cached = CachedGrant(
            key=grant.key,
            client_id=grant.client_id,
            upstream=grant.upstream,
            ends_at=item.ttl,
            previous=grant.previous,
            items=items,
            jkt=grant.jkt,
            is_authenticated=grant.needs_authentication,
        )
        self._cache.keep(token_id, cached)
        return cached

    async def _delete_previous_response(self, cached: CachedGrant) -> None:
        """Delete the stored response to the previous token after the grace period.

        As long as it is stored, the previous token can decrypt the grant, given KMS and the table.
        """
        previous, grace = cached.previous, self._lifetimes.refresh_grace
        if previous is None or self._services.clock() <= previous.spent_at + grace + LATE_ARRIVAL:
            return
        if self._cache.may_delete(previous.id) and await self._tokens.forget(previous.id):
            self._cache.note_deleted(previous.id)

    @property
    def _link_kinds(self) -> tuple[str, ...]:
        """The kinds of logout index entries that let a back-channel logout find a grant."""
        more = (session_links.SESSION,) if self._lifetimes.end_with_sid else ()
        return (session_links.SUBJECT, *more)


_grants: Grants | None = None


def grants() -> Grants:
    """Return this process's `Grants`, as configured. Raises StoreUnavailable."""
    global _grants  # noqa: PLW0603 - one per process, made on first use
    made, found = services(), _grants
    if found is None or found.services is not made:
        _grants = found = Grants(made, Lifetimes.configured())
    return found


def _announce_grant(key: str, user_id: str, consent: Consent, provider_id: str) -> None:
    """Send the signal `grant_created`."""
    __traceback_hide__ = True
    grant_created.send_robust(
        sender=None,
        session=id_of(key)[:SHORT_ID],
        user_id=user_id,
        client_id=about.short_client_id(consent.client_id),
        upstream=consent.upstream,
        provider=provider_id,
    )


def _make_sealed_grant(key: str, consent: Consent, user_id: str) -> SealedGrant:
    __traceback_hide__ = True
    return SealedGrant(
        key=key,
        session=id_of(key),
        client_id=consent.client_id,
        redirect_uri=consent.redirect_uri,
        upstream=consent.upstream,
        scope=consent.scope,
        resource=consent.resource,
        challenge=consent.challenge,
        needs_authentication=consent.needs_authentication,
        user=user_id,
        needs_proof=consent.needs_proof,
    )


def _check_client(grant: SealedGrant, client_id: str, is_allowed: IsAllowed) -> None:
    """Raise InvalidGrant for another client, or one that the operator no longer allows."""
    if grant.client_id != client_id or not is_allowed(grant.redirect_uri):
        raise InvalidGrant


def _check_resource(grant: SealedGrant, resource: str | None) -> None:
    """Raise InvalidTarget for another audience (RFC 8707); ignores a trailing slash."""
    if resource is not None and resource.rstrip("/") != grant.resource.rstrip("/"):
        raise InvalidTarget
