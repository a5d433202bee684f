"""The account of a grant that came with an assertion: who the user is at the provider, no token.

It is stored in the grant's session. Nothing renews it: the grant ends, and the next assertion
brings the account as it is then.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from django.contrib.sessions.backends.base import SessionBase

from oauth.exceptions import NotConnected, ReauthenticationRequired
from sessions_kms.services import Services

KEY: Final = "oauth_asserted"  # in the session


@dataclass(frozen=True, kw_only=True)
class AssertedAccount:
    """An account at a provider. ``granted_at`` is when it was asserted, in epoch seconds.

    ``groups``, ``email`` and ``name`` are as in `oauth.provider.token_set.TokenSet`.
    """

    provider: str
    subject: str
    granted_at: int
    groups: tuple[str, ...] = ()
    email: str | None = None
    name: str | None = None

    def __repr__(self) -> str:
        """Show nothing about the person."""
        return f"AssertedAccount(provider={self.provider!r})"


def store_account(session: SessionBase, account: AssertedAccount) -> None:
    """Store the account of a new grant in its session."""
    session[KEY] = asdict(account) | {"groups": list(account.groups)}


def parse_account(data: object) -> AssertedAccount | None:
    """Return the account in a session's entry; None if there is none."""
    if not isinstance(data, Mapping):
        return None
    members: dict[str, Any] = {name: data.get(name) for name in AssertedAccount.__annotations__}
    return AssertedAccount(**members | {"groups": tuple(members["groups"] or ())})


async def require_account(
    services: Services, account: AssertedAccount, provider: str
) -> AssertedAccount:
    """Return the account if it is one of this provider.

    Raises NotConnected if not, ReauthenticationRequired if an operator ended the grants of its
    time, and StoreUnavailable.
    """
    if account.provider != provider:
        raise NotConnected("The grant is for another provider.")
    if 0 < await services.not_before_of(provider).moment() >= account.granted_at:
        raise ReauthenticationRequired("An operator ended the grants of that time.")
    return account
