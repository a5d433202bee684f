"""The successor of a token set, made once, however many processes ask for it.

Every token set has a random grant secret, and every refresh makes a new one. The
lease of that name decides who asks the provider. The winner seals the new token set
into the lease before anything else; whoever comes with an old copy (a session not
yet saved, one saved before a crash or a key change) finds it there and never spends
the old refresh token again. A refusal is kept in the same way, for a minute.

What cannot be made good: a process that dies, or loses DynamoDB for longer than
it tries, between the provider's answer and the sealing has the only copy of the new
tokens, and a provider that rotates refresh tokens has spent the old one. The same
holds for an answer that is lost on the way, or comes later than it is waited for
(`refreshing.PATIENCE`). The next refresh is then refused, and the person signs in again.
The window is one `GetItem` and one `PutItem` wide, tens of milliseconds a refresh, and no
protocol between two stores closes it.
"""

from __future__ import annotations

import json
import logging
import os
import random
import secrets
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from oauth.exceptions import NoLongerAllowed, ProviderUnavailable, ReauthenticationRequired
from oauth.network.complaints import Complaints
from oauth.provider.config import Provider
from oauth.provider.token_set import TokenSet
from oauth.telemetry import telemetry
from oauth.tokens.refresh_request import NOT_ALLOWED, GrantRefused, refresh
from sessions_kms import Leases, StoreUnavailable
from sessions_kms.services import Services, services

logger = logging.getLogger(__name__)

LEASE = 15  # seconds; longer than the provider may take for one answer
RENEW_EVERY = 5.0  # seconds
WORK_MAX = 30.0  # seconds that one waits for the provider, its metadata included
WAIT_MAX = 30.0  # seconds that one waits for another: a dead one's lease, then a refresh
POLL = (0.05, 0.25)  # seconds between two looks at another's lease
KEPT = 3600  # seconds after the save for which old copies of a token set find its successor
KEPT_UNSAVED = 90 * 24 * 3600  # seconds, where no session ends by itself earlier
REFUSAL_KEPT = 60  # seconds for which a dead refresh token is not tried again
BACK_OFF = 5.0  # seconds after a failure during which this process does not ask again
RESTING_MAX = 10_000  # grants
SEAL_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)  # seconds between tries to seal an answer
CALLS = 16  # answers of one provider that one process awaits at once


@dataclass(frozen=True)
class Successor:
    """The token set that follows another; ``made`` just now, or found."""

    token_set: TokenSet
    made: bool


class Renewal:
    """Finds or makes the successors of one provider's token sets."""

    def __init__(self, provider: Provider, made: Services | None = None) -> None:
        self._provider = provider
        self._services = made or services()
        self._leases = Leases(self._services)
        self._holder = secrets.token_hex(16)

    def successor(
        self, held: TokenSet, *, is_current: Callable[[], bool], patient: bool
    ) -> Successor | None:
        """Return the successor of a token set; None when the session has another one by now.

        ``is_current`` looks again whether the session still holds this one. Who is not
        patient does not wait for another's refresh. Raises ReauthenticationRequired,
        ProviderUnavailable or StoreUnavailable.
        """
        if _resting.holds(held.grant_secret, self._services.clock()):
            raise ProviderUnavailable("The provider could not be asked a moment ago.")
        waited = 0.0
        while True:
            claim = self._leases.claim(held.grant_secret, self._holder, seconds=LEASE)
            if claim.held or claim.result is not None:
                telemetry.record("lease.wait", waited, provider=self._provider.name)
            if claim.result is not None:
                return Successor(_unpacked(claim.result), made=False)
            if claim.held:
                return self._work(held, is_current)
            if not patient:
                raise ProviderUnavailable("Another request is refreshing the token.")
            if waited >= WAIT_MAX:
                self._rest(held)
                raise ProviderUnavailable("Another request does not finish refreshing the token.")
            pause = min(random.uniform(*POLL), max(claim.wait, POLL[0]))  # noqa: S311 - spreads
            self._services.sleep(pause)
            waited += pause

    def _work(self, held: TokenSet, is_current: Callable[[], bool]) -> Successor | None:
        work: Future[TokenSet] | None = None
        finished = False
        try:
            if not is_current():
                return None
            # Nothing is spent that could not be sealed, nor while KMS has to be asked first.
            self._services.sealing_key()
            work = _calls(self._provider.name).submit(self._refresh_and_seal, held)
            token_set = self._awaited(work, held)
            finished = True
        except ProviderUnavailable:
            self._rest(held)
            raise
        except GrantRefused as exc:
            finished = True
            raise _reauthentication(exc.reason) from None
        finally:
            # A call that still runs may yet bring an answer: its lease ends by itself.
            if not finished and (work is None or work.cancel() or work.done()):
                with suppress(StoreUnavailable):
                    self._leases.release(held.grant_secret, self._holder)
        return Successor(token_set, made=True)

    def _awaited(self, work: Future[TokenSet], held: TokenSet) -> TokenSet:
        """Wait for the answer, renewing the lease meanwhile."""
        waited = 0.0
        while True:
            try:
                return work.result(timeout=RENEW_EVERY)
            except TimeoutError:
                waited += RENEW_EVERY
            if waited >= WORK_MAX:
                raise ProviderUnavailable("The provider answers too slowly.")
            with suppress(StoreUnavailable):
                self._leases.renew(held.grant_secret, self._holder, seconds=LEASE)

    def _refresh_and_seal(self, held: TokenSet) -> TokenSet:
        """Ask the provider and keep what it says. Runs in a thread that nobody cancels."""
        __traceback_hide__ = True
        # Until it is known to be saved it is kept as long as a session may hold the old one.
        lifetime = self._services.config.absolute_timeout or KEPT_UNSAVED
        try:
            with telemetry.spanned("refresh", "refresh", provider=self._provider.name):
                new = refresh(self._provider, held, now=int(self._services.clock()))
        except GrantRefused as exc:
            logger.info("%s refuses to refresh a grant: %s.", self._provider.name, exc.reason)
            keep = lifetime if exc.reason == NOT_ALLOWED else REFUSAL_KEPT
            self._seal(held, {"refused": exc.reason}, keep)
            raise
        except ProviderUnavailable as exc:
            _failures.add(self._provider.name, str(exc))
            raise
        self._seal(held, {"token_set": new.to_session()}, lifetime)
        return new

    def saved(self, held: TokenSet) -> None:
        """Keep the successor of a token set no longer than stale copies may need it."""
        with suppress(StoreUnavailable):
            self._leases.shorten(held.grant_secret, keep=KEPT)

    def _seal(self, held: TokenSet, outcome: dict[str, object], keep: int) -> None:
        __traceback_hide__ = True
        result = json.dumps(outcome).encode()
        for pause in (*SEAL_PAUSES, None):
            try:
                kept = self._leases.complete(held.grant_secret, self._holder, result, keep=keep)
            except StoreUnavailable:
                if pause is not None:
                    self._services.sleep(pause)
                continue
            if not kept:
                logger.error(
                    "A refresh of %s took so long that another began.", self._provider.name
                )
            return
        logger.error("A refreshed token of %s could not be sealed.", self._provider.name)

    def _rest(self, held: TokenSet) -> None:
        _resting.add(held.grant_secret, self._services.clock())


class _Resting:
    """The grants that this process does not try to refresh for a moment."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()

    def add(self, secret: str, now: float) -> None:
        self._until[secret] = now + BACK_OFF
        if len(self._until) > RESTING_MAX:
            with suppress(KeyError):
                self._until.popitem(last=False)

    def holds(self, secret: str, now: float) -> bool:
        # Never longer than the back-off, should the clock be set back.
        if now < self._until.get(secret, 0) <= now + BACK_OFF:
            return True
        self._until.pop(secret, None)
        return False

    def clear(self) -> None:
        self._until.clear()


def _unpacked(result: bytes) -> TokenSet:
    __traceback_hide__ = True
    outcome = json.loads(result)
    if "refused" in outcome:
        raise _reauthentication(outcome["refused"])
    return TokenSet.from_session(outcome["token_set"])


def _reauthentication(reason: object) -> ReauthenticationRequired:
    if reason == NOT_ALLOWED:
        return NoLongerAllowed("The provider told that the person may not sign in any more.")
    return ReauthenticationRequired("The provider refuses to refresh the token.")


@cache
def _calls(provider: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(CALLS, thread_name_prefix=f"oauth-{provider}-refresh")


_resting = _Resting()
_failures = Complaints(logger, "A refresh at %s failed: %s")
os.register_at_fork(after_in_child=_calls.cache_clear)
