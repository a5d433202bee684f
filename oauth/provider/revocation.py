"""Revokes grants at their provider (RFC 7009).

This happens after the token set was removed from the session (`oauth.tokens.revocation`). First the
lease of the token set (`oauth.provider.refresh_lease`) is claimed and completed. So a running
refresh is waited for and its result is revoked, no later refresh can start, and only one of several
concurrent sign-outs revokes the grant.
"""

import logging
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TypeVar

from oauth.exceptions import ProviderUnavailable
from oauth.provider import metadata, token_endpoint
from oauth.provider.config import ProviderConfig
from oauth.provider.metadata import Metadata
from oauth.provider.refresh_lease import LeaseHeld, RefreshLease, RefreshOutcome
from oauth.provider.token_set import TokenSet
from sessions_kms import StoreUnavailable
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.services import Services

logger = logging.getLogger(__name__)

REVOKED_KEPT = 3600  # seconds for which the lease tells old copies that the grant was revoked
WAIT_MAX = 60.0  # seconds to wait for a running refresh
PAUSES = (1.0, 5.0)  # seconds before each retry
T = TypeVar("T")
REVOKED = RefreshOutcome(refused="revoked")


class Outcome(StrEnum):
    """What became of a grant that was to be revoked."""

    REVOKED = "revoked"
    ENDED = "ended"  # it was revoked before, or its provider does not refresh it any more
    KEPT = "kept"  # by the setting `revocation`: the user has other access, or it is never revoked
    UNDECIDED = "undecided"  # whether the user has other access cannot be read
    UNSUPPORTED = "unsupported"  # the provider has no endpoint for it
    REFUSED = "refused"
    FAILED = "failed"
    LATE = "late"  # nobody waited any longer


class _Kept(Exception):
    """The grant is kept, with this outcome."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class Revocation:
    """One revocation, with the services of the process that requested it.

    ``find_reason_to_keep`` is called if the provider can revoke, and returns the outcome if the
    grant is kept. It is called again before each request, since a running refresh or a provider in
    trouble may have been waited for. ``every_token`` is True for a server that is not known to end
    the access token with the refresh token (RFC 7009 section 2.1: it should): both are sent, first
    the refresh token.
    """

    def __init__(
        self,
        provider: ProviderConfig,
        services: Services,
        find_reason_to_keep: Callable[[], Outcome | None],
        *,
        every_token: bool = False,
    ) -> None:
        self._provider = provider
        self._services = services
        self._find_reason_to_keep = find_reason_to_keep
        self._every_token = every_token

    def run(self, token_set: TokenSet) -> Outcome:
        """Revoke the grant, unless it is kept, and log the result. Never raises."""
        __traceback_hide__ = True
        name = self._provider.name
        try:
            found = self._retry(lambda: metadata.load_metadata(self._provider, anonymous=False))
            if found.revocation_endpoint is None:
                return Outcome.UNSUPPORTED
            self._require_unused()
            newest = self._find_newest(token_set)
            if newest is None:
                return Outcome.ENDED
            responses = [self._revoke(found, form) for form in self._forms(newest)]
        except _Kept as exc:
            return exc.outcome
        except Exception as exc:  # noqa: BLE001 - no caller could handle it, and its text may have a token
            logger.warning("A grant of %s was not revoked: %s", name, type(exc).__name__)
            return Outcome.FAILED
        if not all(responses):
            logger.warning("A grant of %s was not revoked: the provider refuses.", name)
            return Outcome.REFUSED
        logger.info("A grant of %s was revoked.", name)
        return Outcome.REVOKED

    def _require_unused(self) -> None:
        """Raise _Kept if the grant is kept."""
        if (outcome := self._find_reason_to_keep()) is not None:
            raise _Kept(outcome)

    def _find_newest(self, token_set: TokenSet) -> TokenSet | None:
        """Return the newest token set of the grant; None if it was rejected or revoked already."""
        __traceback_hide__ = True
        remaining = WAIT_MAX
        try:
            while True:
                lease = RefreshLease(self._services, token_set)
                claimed = run_sync(lease.claim(remaining))
                remaining -= claimed.waited
                if claimed.outcome is not None:
                    if claimed.outcome.token_set is None:
                        return None
                    token_set = claimed.outcome.token_set
                elif lease.complete(REVOKED, keep=REVOKED_KEPT):
                    return token_set
        except LeaseHeld:
            pass  # The holder may have died. The grant is revoked nevertheless.
        except StoreUnavailable:
            logger.warning("A grant is revoked without its lease.")
        return token_set

    def _retry(self, ask: Callable[[], T]) -> T:
        """Call ``ask``, and again if the provider is unavailable. Raises ProviderUnavailable."""
        __traceback_hide__ = True
        for pause in PAUSES:
            try:
                return ask()
            except ProviderUnavailable:
                self._services.sleep(pause)
        return ask()

    def _forms(self, token_set: TokenSet) -> list[dict[str, str]]:
        """Return the requests to send, without the client's authentication."""
        __traceback_hide__ = True
        forms = [{"token": token_set.access_token, "token_type_hint": "access_token"}]
        if token_set.refresh_token is None:
            return forms
        refresh = {"token": token_set.refresh_token, "token_type_hint": "refresh_token"}
        return [refresh, *forms] if self._every_token else [refresh]

    def _revoke(self, found: Metadata, form: Mapping[str, str]) -> bool:
        """Send one request, and again if the provider is unavailable. Raises _Kept."""
        __traceback_hide__ = True
        return self._retry(lambda: self._send(found, form))

    def _send(self, found: Metadata, form: Mapping[str, str]) -> bool:
        __traceback_hide__ = True
        self._require_unused()
        response = token_endpoint.post_as_client(
            self._provider, found, form, clock=self._services.clock, url=found.revocation_endpoint
        )
        if response.is_overloaded:
            raise ProviderUnavailable("The provider cannot revoke a token now.")
        return response.status == 200
