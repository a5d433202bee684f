"""Refreshes each token set exactly once across all processes.

Every token set has a random grant secret, and every refresh creates a new one. The lease with
that name (`oauth.provider.refresh_lease`) decides which process calls the provider. That process
first of all seals the new token set into the lease. A process with an old copy of the token set
(from a session that was not saved yet, or was saved before a crash or a key change) finds the
successor there and never spends the old refresh token again. A rejection by the provider is stored
in the same way for a minute.

One failure cannot be prevented. Between the provider's response and the sealing, the process has
the only copy of the new tokens. If it dies then, or cannot reach DynamoDB for longer than it
retries, the new tokens are lost, and a provider that rotates refresh tokens has already spent the
old one. The same is true of a response that is lost, or arrives after the timeout
(`refresh_request.REFRESH_TIMEOUT`). The provider then rejects the next refresh, and the person has
to sign in again. The window is one `GetItem` and one `PutItem` wide, tens of milliseconds per
refresh, and no protocol between two stores can close it.
"""

import logging
from collections import OrderedDict
from concurrent.futures import Future
from contextlib import suppress
from time import monotonic

from oauth.exceptions import NoLongerAllowed, ProviderUnavailable, ReauthenticationRequired
from oauth.metrics import telemetry
from oauth.network.concurrency import FutureResult, thread_pool
from oauth.provider.config import ProviderConfig
from oauth.provider.refresh_lease import LeaseHeld, RefreshLease, RefreshOutcome
from oauth.provider.token_set import TokenSet
from oauth.tokens.refresh_request import NOT_ALLOWED, GrantRefused, request_refresh
from oauth.tokens.remaining_access import RemainingAccess
from oauth.tokens.revocation import revoke_soon
from sessions_kms import StoreUnavailable
from sessions_kms.services import Services

logger = logging.getLogger(__name__)

RENEW_EVERY = 5.0  # seconds
WORK_MAX = 30.0  # seconds to wait for the provider, including for its metadata
QUEUED_MAX = 5.0  # seconds until it begins; one that begins later could outlive its lease
WAIT_MAX = 30.0  # seconds to wait for another process: a dead one's lease, then a refresh
KEPT = 3600  # seconds after the save for which old copies of a token set find its successor
KEPT_UNSAVED = 90 * 24 * 3600  # seconds, if sessions have no shorter maximum age
REJECTION_KEPT = 60  # seconds for which a rejected refresh token is not tried again
BACK_OFF = 5.0  # seconds after a failure during which this process does not retry
BACK_OFF_MAX = 10_000  # grants
SEAL_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)  # seconds between attempts to seal a response


class Refresh:
    """The refresh of the token set ``held``, made by another process or by this one.

    If `find` returns None, this process holds the lease until `perform` or `give_up` returns.
    """

    def __init__(
        self,
        services: Services,
        provider: ProviderConfig,
        held: TokenSet,
        remaining: RemainingAccess,
    ) -> None:
        """``remaining`` is the user's access beside the session of the token set."""
        self.held = held
        self._remaining = remaining
        self.is_made = False  # by this object
        self._services = services
        self._provider = provider
        self._lease = RefreshLease(services, held)
        # Until the successor is saved, store it as long as a session may have the old token set.
        self._lifetime = services.config.longest_age or KEPT_UNSAVED
        self._work: Future[TokenSet] | None = None
        self._is_decided = False  # The provider has responded, and the lease stores the outcome.

    async def find(self, *, patient: bool) -> TokenSet | None:
        """Return the successor that another process made; None if this one has to make it.

        Unless ``patient``, does not wait for another process's refresh. Raises
        ReauthenticationRequired, ProviderUnavailable or StoreUnavailable.
        """
        if _back_off.contains(self.held.grant_secret, self._services.clock()):
            raise ProviderUnavailable("The provider could not be asked a moment ago.")
        try:
            claimed = await self._lease.claim(WAIT_MAX if patient else 0)
        except LeaseHeld:
            if patient:
                self._start_back_off()
            raise _in_progress(patient=patient) from None
        telemetry.record("lease.wait", claimed.waited, provider=self._provider.name)
        return None if claimed.outcome is None else _outcome_token_set(claimed.outcome)

    async def perform(self) -> TokenSet:
        """Request the successor and store it for all processes. Raises the errors of `find`."""
        try:
            # Load the key first: do not spend a refresh token if its successor cannot be sealed.
            await self._services.sealing_key()
            self._work = thread_pool(self._provider.name).submit(self._run, monotonic())
            token_set = await self._wait_for(self._work)
        except ProviderUnavailable:
            self._start_back_off()
            raise
        except GrantRefused as exc:
            raise _reauthentication(exc.reason) from None
        self.is_made = True
        return token_set

    async def give_up(self) -> None:
        """Release the lease, unless it stores an outcome or may still get one.

        If the request is still running, the lease expires by itself.
        """
        if self._is_decided:
            return
        if self._work is None or self._work.cancel() or self._work.done():
            await self._lease.release()

    async def shorten_result(self, successor: TokenSet) -> None:
        """Store the successor no longer than old copies of the token set may need it."""
        if self._lifetime > KEPT:
            await self._lease.shorten(RefreshOutcome(successor), keep=KEPT)

    async def _wait_for(self, work: Future[TokenSet]) -> TokenSet:
        """Wait for the response and renew the lease meanwhile."""
        waited = 0.0
        while True:
            try:
                token_set: TokenSet = await FutureResult(work, RENEW_EVERY)
            except TimeoutError:
                waited += RENEW_EVERY
            else:
                return token_set
            if waited >= WORK_MAX:
                raise ProviderUnavailable("The provider responds too slowly.")
            await self._lease.renew()

    def _run(self, submitted: float) -> TokenSet:
        """Request the token set. Runs in a thread that is never cancelled."""
        __traceback_hide__ = True
        if monotonic() - submitted > QUEUED_MAX:
            raise ProviderUnavailable("Too many refreshes wait for this provider.")
        return self._request()

    def _request(self) -> TokenSet:
        """Call the provider and store the outcome."""
        __traceback_hide__ = True
        try:
            with telemetry.spanned("refresh", "refresh", provider=self._provider.name):
                new = request_refresh(self._services, self._provider, self.held)
        except GrantRefused as exc:
            logger.info("%s refuses to refresh a grant: %s.", self._provider.name, exc.reason)
            keep = self._lifetime if exc.reason == NOT_ALLOWED else REJECTION_KEPT
            self._seal(RefreshOutcome(refused=exc.reason), keep)
            if exc.unused is not None:
                revoke_soon(self._services, self._provider.name, exc.unused, self._remaining)
            raise
        except ProviderUnavailable as exc:
            logger.warning("A refresh at %s failed: %s", self._provider.name, exc)
            raise
        self._seal(RefreshOutcome(new), self._lifetime)
        return new

    def _seal(self, outcome: RefreshOutcome, keep: int) -> None:
        __traceback_hide__ = True
        self._is_decided = True
        for pause in (*SEAL_PAUSES, None):
            try:
                is_sealed = self._lease.complete(outcome, keep=keep)
            except StoreUnavailable:
                if pause is not None:
                    self._services.sleep(pause)
                continue
            if not is_sealed:
                logger.error(
                    "A refresh of %s took so long that another began.", self._provider.name
                )
            return
        logger.error("A refreshed token of %s could not be sealed.", self._provider.name)

    def _start_back_off(self) -> None:
        _back_off.add(self.held.grant_secret, self._services.clock())


class _BackOff:
    """The grants that this process does not try to refresh for a few seconds."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()

    def add(self, secret: str, now: float) -> None:
        self._until[secret] = now + BACK_OFF
        if len(self._until) > BACK_OFF_MAX:
            with suppress(KeyError):
                self._until.popitem(last=False)

    def contains(self, secret: str, now: float) -> bool:
        # Never longer than the back-off, even if the clock is set back.
        if now < self._until.get(secret, 0) <= now + BACK_OFF:
            return True
        self._until.pop(secret, None)
        return False


def _outcome_token_set(outcome: RefreshOutcome) -> TokenSet:
    if outcome.token_set is None:
        raise _reauthentication(outcome.refused)
    return outcome.token_set


def _reauthentication(reason: str) -> ReauthenticationRequired:
    if reason == NOT_ALLOWED:
        return NoLongerAllowed("The provider told that the person may not sign in any more.")
    return ReauthenticationRequired("The provider refuses to refresh the token.")


def _in_progress(*, patient: bool) -> ProviderUnavailable:
    if patient:
        return ProviderUnavailable("Another request does not finish refreshing the token.")
    return ProviderUnavailable("Another request is refreshing the token.")


_back_off = _BackOff()
