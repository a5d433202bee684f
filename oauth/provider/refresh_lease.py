"""The lease of a token set: only the process that holds it may spend the refresh token.

Each token set has a random name (`grant_secret`) under which the lease is stored
(`sessions_kms.sealed_items.leases`). The outcome is sealed into the lease: the next token set, or
the reason why there is none. This module calls no provider and knows no session.
"""

import json
import random
import secrets
from contextlib import suppress
from dataclasses import dataclass

from oauth.provider.token_set import TokenSet
from sessions_kms import Leases, StoreUnavailable
from sessions_kms.concurrency.waits import Pause, run_sync
from sessions_kms.services import Services

LEASE_SECONDS = 15  # seconds; renewed while the provider has not responded
POLL_SECONDS = (0.05, 0.25)  # seconds between two reads of a lease that another process holds


class LeaseHeld(Exception):
    """Another process holds the lease for longer than the caller can wait."""


@dataclass(frozen=True)
class RefreshOutcome:
    """The outcome of a refresh: the successor, or the reason (a fixed word) why there is none."""

    token_set: TokenSet | None = None
    refused: str = ""

    def to_bytes(self) -> bytes:
        """Serialize the outcome for the lease, which seals it."""
        __traceback_hide__ = True
        if self.token_set is None:
            return json.dumps({"refused": self.refused}).encode()
        return json.dumps({"token_set": self.token_set.to_session()}).encode()

    @classmethod
    def from_bytes(cls, result: bytes) -> "RefreshOutcome":
        """Parse the outcome that a lease stored."""
        __traceback_hide__ = True
        content = json.loads(result)
        if "refused" in content:
            return cls(refused=str(content["refused"]))
        return cls(TokenSet.from_session(content["token_set"]))


@dataclass(frozen=True)
class LeaseClaim:
    """The result of a claim: an outcome, or None if the caller holds the lease now.

    ``waited`` is the time that the claim took in seconds.
    """

    outcome: RefreshOutcome | None
    waited: float


class RefreshLease:
    """The lease of one token set, to be claimed before its refresh token is spent.

    All methods are coroutines except `complete`, which is called in the thread of the request.
    """

    def __init__(self, services: Services, token_set: TokenSet) -> None:
        self._services = services
        self._leases = Leases(services)
        self._secret = token_set.grant_secret
        self._holder = secrets.token_hex(16)
        self._stamp: bytes | None = None  # of the outcome that `complete` stored

    async def claim(self, max_wait: float) -> LeaseClaim:
        """Claim the lease, or return the outcome that another process stored.

        Waits up to ``max_wait`` seconds for another holder. Raises LeaseHeld and StoreUnavailable.
        """
        __traceback_hide__ = True
        waited = 0.0
        while True:
            claim = await self._leases.claim(self._secret, self._holder, seconds=LEASE_SECONDS)
            if claim.result is not None:
                return LeaseClaim(RefreshOutcome.from_bytes(claim.result), waited)
            if claim.held:
                return LeaseClaim(None, waited)
            if waited >= max_wait:
                raise LeaseHeld
            pause = min(random.uniform(*POLL_SECONDS), max(claim.wait, POLL_SECONDS[0]))  # noqa: S311 - spreads
            await Pause(pause, self._services.sleep)
            waited += pause

    async def renew(self) -> None:
        """Renew the lease. Ignores an outage of the store: the next renewal may succeed."""
        with suppress(StoreUnavailable):
            await self._leases.renew(self._secret, self._holder, seconds=LEASE_SECONDS)

    async def release(self) -> None:
        """Release the lease without an outcome. If the store is down, the lease expires instead."""
        with suppress(StoreUnavailable):
            await self._leases.release(self._secret, self._holder)

    async def shorten(self, outcome: RefreshOutcome, *, keep: int) -> None:
        """Store the outcome that `complete` stored for ``keep`` seconds from now only.

        Failing is harmless: it only saves storage.
        """
        __traceback_hide__ = True
        if self._stamp is not None:
            with suppress(StoreUnavailable):
                await self._leases.replace(
                    self._secret, self._holder, outcome.to_bytes(), stamp=self._stamp, keep=keep
                )

    def complete(self, outcome: RefreshOutcome, *, keep: int) -> bool:
        """Store the outcome for ``keep`` seconds; return False if another process has the lease.

        Raises StoreUnavailable.
        """
        __traceback_hide__ = True
        self._stamp = run_sync(
            self._leases.complete(self._secret, self._holder, outcome.to_bytes(), keep=keep)
        )
        return self._stamp is not None
