"""The end of a grant at its provider (RFC 7009): a token set enters, nothing leaves.

Runs in the background, after the session has let the token set go. The lease of the
token set's grant (`oauth.provider.refresh_lease`) is claimed for good first: a refresh
that was under way is waited for and what it fetched is revoked, none begins afterwards, and of
several sign-outs one revokes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from oauth.exceptions import ProviderUnavailable
from oauth.network import concurrency
from oauth.provider import config, metadata, token_endpoint
from oauth.provider.config import ProviderConfig
from oauth.provider.refresh_lease import LeaseHeld, RefreshLease, RefreshOutcome
from oauth.provider.token_set import TokenSet
from sessions_kms import StoreUnavailable
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.services import Services

logger = logging.getLogger(__name__)

REVOKED_KEPT = 3600  # seconds for which old copies of the token set find that it is revoked
WAIT_MAX = 60.0  # seconds that a refresh is waited for
PAUSES = (1.0, 5.0)  # seconds before the provider is asked again
T = TypeVar("T")
REVOKED = RefreshOutcome(refused="revoked")


def revoke_soon(services: Services, name: str, token_set: TokenSet) -> None:
    """Revoke a token set that nobody holds any more, in the background."""
    provider = config.find_provider(name)
    if provider is None or provider.client_id != token_set.client_id:
        logger.warning("A grant of %s was not revoked: its client is not configured.", name)
        return
    revocation = _Revocation(provider, services)
    concurrency.run_in_background(
        lambda: revocation.run(token_set), account=f"{name}/{token_set.subject}"
    )


class _Revocation:
    """One revocation, with the services of the process that asked for it."""

    def __init__(self, provider: ProviderConfig, made: Services) -> None:
        self._provider = provider
        self._services = made

    def run(self, token_set: TokenSet) -> None:
        """Revoke, and log what became of it. Raises nothing."""
        __traceback_hide__ = True
        name = self._provider.name
        try:
            found = self._patiently(lambda: metadata.load_metadata(self._provider, anonymous=False))
            if found.revocation_endpoint is None:
                return
            last = self._last(token_set)
            if last is None:
                return
            done = self._patiently(lambda: self._revoke(last))
        except Exception as exc:  # noqa: BLE001 - nobody is there to be told, and it may hold a token
            logger.warning("A grant of %s was not revoked: %s", name, type(exc).__name__)
            return
        if done:
            logger.info("A grant of %s was revoked.", name)
        else:
            logger.warning("A grant of %s was not revoked: the provider refuses.", name)

    def _last(self, held: TokenSet) -> TokenSet | None:
        """Return the newest token set of the grant; None if it is dead or revoked already."""
        __traceback_hide__ = True
        remaining = WAIT_MAX
        try:
            while True:
                lease = RefreshLease(self._services, held)
                claimed = run_sync(lease.claim(remaining))
                remaining -= claimed.waited
                if claimed.outcome is not None:
                    if claimed.outcome.token_set is None:
                        return None
                    held = claimed.outcome.token_set
                elif lease.complete(REVOKED, keep=REVOKED_KEPT):
                    return held
        except LeaseHeld:
            pass  # Whoever holds it may have died, and the grant ends all the same.
        except StoreUnavailable:
            logger.warning("A grant is revoked without its lease.")
        return held

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Ask the provider, again if it cannot answer now. Raises ProviderUnavailable."""
        __traceback_hide__ = True
        for pause in PAUSES:
            try:
                return ask()
            except ProviderUnavailable:
                self._services.sleep(pause)
        return ask()

    def _revoke(self, held: TokenSet) -> bool:
        __traceback_hide__ = True
        found = metadata.load_metadata(self._provider, anonymous=False)
        form = {"token": held.access_token, "token_type_hint": "access_token"}
        if held.refresh_token is not None:
            form = {"token": held.refresh_token, "token_type_hint": "refresh_token"}
        url = found.revocation_endpoint
        answer = token_endpoint.post_as_client(
            self._provider, found, form, clock=self._services.clock, url=url
        )
        if answer.is_overloaded:
            raise ProviderUnavailable("The provider cannot revoke a token now.")
        return answer.status == 200
