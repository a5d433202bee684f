"""What people allowed clients: made, redeemed, refreshed, used and ended.

Consents, codes and tokens enter; codes, tokens and the sessions of grants leave. Each verb is
written once, as steps. Knows nothing of HTTP.
"""

from __future__ import annotations

from django.contrib.auth.base_user import AbstractBaseUser

from oauth.clients.consent import Consent
from oauth.clients.grant_store import GrantStore
from oauth.clients.issued import Issued
from oauth.clients.lifetimes import Lifetimes
from oauth.provider.token_set import TokenSet
from sessions_kms.concurrency.steps import Steps, blocking
from sessions_kms.services import Services


class GrantSteps:
    """The verbs of grants, as steps. All raise StoreUnavailable when they cannot tell."""

    def __init__(self, services: Services, lifetimes: Lifetimes) -> None:
        self._services = services
        self._lifetimes = lifetimes

    def allow(
        self,
        user: AbstractBaseUser,
        consent: Consent,
        provider_id: str,
        token_set: TokenSet,
        *,
        backend: str,
    ) -> Steps[str]:
        """Begin a grant; return the code for the client, good for 60 s and one use.

        ``backend`` is the dotted path by which the person signed in (the browser session's
        `BACKEND_SESSION_KEY`).
        """
        raise NotImplementedError
        yield

    def redeem(
        self,
        code: str,
        *,
        verifier: str,
        client_id: str,
        redirect_uri: str | None,
        resource: str | None,
    ) -> Steps[Issued]:
        """Give the first pair of tokens for a code. Raises InvalidGrant, InvalidTarget."""
        raise NotImplementedError
        yield

    def refresh(
        self,
        token: str,
        *,
        client_id: str,
        resource: str | None,
        scope: str | None,
        arrived_at: float,
    ) -> Steps[Issued]:
        """Give the next pair for a refresh token. Raises InvalidGrant, InvalidScope.

        ``arrived_at`` is the services' clock at the arrival of the request.
        """
        raise NotImplementedError
        yield

    def revoke(self, token: str, *, client_id: str) -> Steps[None]:
        """End the grant of a token of this client (RFC 7009); an unknown one is no error.

        Raises InvalidGrant for another client's.
        """
        raise NotImplementedError
        yield

    def session(self, access_token: str, *, upstream: str) -> Steps[GrantStore | None]:
        """Return the loaded session of the grant that an access token is good for now."""
        raise NotImplementedError
        yield


class Grants:
    """The same, each done in the thread that calls it."""

    def __init__(self, services: Services, lifetimes: Lifetimes) -> None:
        self.steps = GrantSteps(services, lifetimes)

    allow = blocking(GrantSteps.allow)
    redeem = blocking(GrantSteps.redeem)
    refresh = blocking(GrantSteps.refresh)
    revoke = blocking(GrantSteps.revoke)
    session = blocking(GrantSteps.session)


def grants() -> Grants:
    """Return this process's grants, as the settings say."""
    raise NotImplementedError
