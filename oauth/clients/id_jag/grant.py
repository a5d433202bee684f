"""Starts the grant of an assertion: a session without a token, and an access token.

The grant is encrypted under its access token alone, and nothing extends it. Once the index lists
`live_grants.ASSERTED_MAX` of a user, client and upstream, the next one ends the oldest.
"""

import logging
import math
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.base_user import AbstractBaseUser

from oauth.clients import live_grants, timed_deletions, token_pair
from oauth.clients.consent import make_asserted_labels
from oauth.clients.rules.errors import InvalidAssertion
from oauth.clients.sealed_grant import SealedGrant
from oauth.logout import session_links
from oauth.metrics import ISSUED, count_grant
from oauth.sign_in.session_user import note_password
from oauth.signals import grant_asserted
from oauth.tokens.asserted_account import AssertedAccount, store_account
from sessions_kms import SHORT_ID, StoreUnavailable, about, id_of, user_id_of
from sessions_kms.concurrency.waits import BlockingCall
from sessions_kms.grant_store import BriefGrantStore
from sessions_kms.sealed_items.tokens import NewToken, Tokens
from sessions_kms.services import BRIEF_GRANT_AGE, Services

logger = logging.getLogger(__name__)

# Stores that an assertion was used; returns False if it was before.
UseAssertion: TypeAlias = Callable[[], Coroutine[Any, Any, bool]]


@dataclass(frozen=True, repr=False)
class IssuedAccessToken:
    """An access token without a refresh token; ``expires_in`` is in seconds.

    ``jkt`` is the thumbprint of the key to which it is bound (RFC 9449), if it is.
    """

    access_token: str
    expires_in: int
    scope: str
    jkt: str | None


@dataclass(frozen=True, kw_only=True)
class NewGrant:
    """One user, client and upstream. ``links`` are logout index entries of the account, ``jkt`` is
    the thumbprint of the key to which the token is bound.

    ``client_host`` is the host that verifies the client's name. With ``is_authenticated`` the
    client proved who it is, and has to do so again to revoke the token. ``backend`` is the dotted
    path of the authentication backend of the user.
    """

    user: AbstractBaseUser
    backend: str
    client_id: str
    client_name: str
    client_host: str | None
    is_authenticated: bool
    upstream: str
    resource: str
    account: AssertedAccount
    jkt: str | None = None
    links: tuple[str, ...] = ()

    @property
    def user_id(self) -> str:
        """The id of the user, as in sessions."""
        return user_id_of(self.user)

    @property
    def entry(self) -> tuple[str, str, str]:
        """User, client and upstream, by which grants are limited and listed."""
        return self.user_id, about.short_client_id(self.client_id), self.upstream


async def start_grant(services: Services, new: NewGrant, use: UseAssertion) -> IssuedAccessToken:
    """Store a grant and return its access token, unless its assertion was used before.

    ``use`` is called last: after a failure, the client may send the same assertion again. Raises
    InvalidAssertion and StoreUnavailable.
    """
    __traceback_hide__ = True
    began = services.clock()
    stored = _make_session(new)
    await stored.start_grant()
    is_first = False
    try:
        issued = await _store_token(services, new, stored)
        is_first = await use()
    finally:
        if not is_first:
            with suppress(StoreUnavailable):  # It ends by itself, and nobody has its token.
                await stored.end_grant()
    if not is_first:
        raise InvalidAssertion("It was used before.")
    session_id = id_of(stored.session_key or "")
    # Otherwise the index would list ended ones until DynamoDB deletes them, which may take days.
    ends_at = token_pair.grant_end(stored)
    timed_deletions.delete_once_ended(services, session_id, ends_at, is_secret=False)
    count_grant(ISSUED)
    await BlockingCall(_announce, (session_id[:SHORT_ID], new))
    await BlockingCall(_end_oldest, (services, new, began))
    return issued


def _make_session(new: NewGrant) -> BriefGrantStore:
    stored = BriefGrantStore()
    stored[SESSION_KEY] = new.user_id
    stored[BACKEND_SESSION_KEY] = new.backend
    stored[HASH_SESSION_KEY] = new.user.get_session_auth_hash()
    note_password(stored, new.user)
    stored[about.ABOUT] = make_asserted_labels(
        client_id=new.client_id,
        client_name=new.client_name,
        client_host=new.client_host,
        upstream=new.upstream,
        provider=new.account.provider,
    )
    store_account(stored, new.account)
    names = live_grants.asserted_links(*new.entry)
    session_links.store_links(stored, live_grants.LINK_KEY, names)
    session_links.store_links(stored, new.account.provider, list(new.links))
    stored.set_expiry(BRIEF_GRANT_AGE)
    return stored


async def _store_token(
    services: Services, new: NewGrant, stored: BriefGrantStore
) -> IssuedAccessToken:
    __traceback_hide__ = True
    key, token = stored.session_key or "", token_pair.new_token(token_pair.ACCESS)
    content = SealedGrant(
        key=key,
        session=id_of(key),
        client_id=new.client_id,
        redirect_uri="",
        upstream=new.upstream,
        scope=new.upstream,
        resource=new.resource,
        needs_authentication=new.is_authenticated,
        user=new.user_id,
        jkt=new.jkt,
    )
    now, ends = services.clock(), token_pair.grant_end(stored)
    await Tokens(services).begin(NewToken(token, content.to_bytes(), ends))
    return IssuedAccessToken(token, max(1, math.floor(ends - now)), new.upstream, new.jkt)


def _end_oldest(services: Services, new: NewGrant, began: float) -> None:
    """Apply the limit; a failure is logged, since the assertion was used."""
    try:
        live_grants.end_oldest_asserted(services, *new.entry, began)
    except StoreUnavailable as error:
        logger.warning("The limit of a user's grants could not be applied: %s", error)


def _announce(session: str, new: NewGrant) -> None:
    """Send the signal `grant_asserted`."""
    grant_asserted.send_robust(
        sender=None,
        session=session,
        user_id=new.user_id,
        client_id=about.short_client_id(new.client_id),
        upstream=new.upstream,
        provider=new.account.provider,
    )
