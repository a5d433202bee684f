"""The lease of a token set: the one process that holds it may spend the refresh token.

Each token set has a random name (`grant_secret`) under which the lease is stored
(`sessions_kms.sealed_items.leases`). The outcome is sealed into the lease: the next token set, or
the reason why there is none. Knows neither how a provider is called nor whose session it is.
"""

from __future__ import annotations

import json
import random
import secrets
from contextlib import suppress
from dataclasses import dataclass

from oauth.provider.token_set import TokenSet
from sessions_kms import Leases, StoreUnavailable
from sessions_kms.concurrency.waits import Pause, run_sync
from sessions_kms.services import Services

LEASE_SECONDS = 15  # seconds; longer than a provider may take for one answer
POLL_SECONDS = (0.05, 0.25)  # seconds between two looks at another's lease


class LeaseHeld(Exception):
    """Another holds the lease, for longer than one wants to wait."""


@dataclass(frozen=True)
class RefreshOutcome:
    """What came of a token set: the one that follows it, or the fixed word why none does."""

    token_set: TokenSet | None = None
    refused: str = ""

    def to_bytes(self) -> bytes:
        """Return what a lease keeps, under its seal."""
        __traceback_hide__ = True
        if self.token_set is None:
            return json.dumps({"refused": self.refused}).encode()
        return json.dumps({"token_set": self.token_set.to_session()}).encode()

    @classmethod
    def from_bytes(cls, result: bytes) -> RefreshOutcome:
        """Read what a lease kept."""
        __traceback_hide__ = True
        kept = json.loads(result)
        if "refused" in kept:
            return cls(refused=str(kept["refused"]))
        return cls(TokenSet.from_session(kept["token_set"]))


@dataclass(frozen=True)
class LeaseClaim:
    """The end of a wait of so many seconds: an outcome, or None for whoever holds the lease now."""

    outcome: RefreshOutcome | None
    waited: float


class RefreshLease:
    """The lease of one token set's grant, for one who would spend its refresh token.

    All methods are coroutines except `complete`, which the thread that has the answer calls.
    """

    def __init__(self, services: Services, token_set: TokenSet) -> None:
        self._services = services
        self._leases = Leases(services)
        self._secret = token_set.grant_secret
        self._holder = secrets.token_hex(16)

    async def claim(self, max_wait: float) -> LeaseClaim:
        """Hold the lease from now on, or find what came of the token set by another's hand.

        Whoever holds it already is waited for, so many seconds. Raises LeaseHeld, StoreUnavailable.
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
        """Hold it longer. Where that cannot be done now, it may be done later."""
        with suppress(StoreUnavailable):
            await self._leases.renew(self._secret, self._holder, seconds=LEASE_SECONDS)

    async def release(self) -> None:
        """Give it up with no outcome. Where that cannot be done, it ends by itself."""
        with suppress(StoreUnavailable):
            await self._leases.release(self._secret, self._holder)

    async def shorten(self, *, keep: int) -> None:
        """Keep an outcome for so many seconds at most. That is only thrift: it may fail."""
        with suppress(StoreUnavailable):
            await self._leases.shorten(self._secret, keep=keep)

    def complete(self, outcome: RefreshOutcome, *, keep: int) -> bool:
        """Keep the outcome for so many seconds; False when the lease went to another.

        Raises StoreUnavailable.
        """
        __traceback_hide__ = True
        return run_sync(
            self._leases.complete(self._secret, self._holder, outcome.to_bytes(), keep=keep)
        )
