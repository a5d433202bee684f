"""The right to spend a grant's refresh token, which one of all processes has at a time.

Every token set has a random grant secret; the lease of that name
(`sessions_kms.sealed_items.leases`) says who spends its refresh token. What came of it is
sealed into the lease: the token set that follows, or the word why none does. Knows nothing of
how a provider is asked, and of whose session the token set is.
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

LEASE = 15  # seconds; longer than a provider may take for one answer
POLL = (0.05, 0.25)  # seconds between two looks at another's lease


class Taken(Exception):
    """Another holds the lease, for longer than one wants to wait."""


@dataclass(frozen=True)
class Outcome:
    """What came of a token set: the one that follows it, or the fixed word why none does."""

    token_set: TokenSet | None = None
    refused: str = ""

    def sealed(self) -> bytes:
        """Return what a lease keeps, under its seal."""
        __traceback_hide__ = True
        if self.token_set is None:
            return json.dumps({"refused": self.refused}).encode()
        return json.dumps({"token_set": self.token_set.to_session()}).encode()

    @classmethod
    def opened(cls, result: bytes) -> Outcome:
        """Read what a lease kept."""
        __traceback_hide__ = True
        kept = json.loads(result)
        if "refused" in kept:
            return cls(refused=str(kept["refused"]))
        return cls(TokenSet.from_session(kept["token_set"]))


@dataclass(frozen=True)
class Claimed:
    """The end of a wait of so many seconds: an outcome, or None for whoever holds the lease now."""

    outcome: Outcome | None
    waited: float


class GrantLease:
    """The lease of one token set's grant, for one who would spend its refresh token.

    All methods are coroutines except `complete`, which the thread that has the answer calls.
    """

    def __init__(self, services: Services, held: TokenSet) -> None:
        self._services = services
        self._leases = Leases(services)
        self._secret = held.grant_secret
        self._holder = secrets.token_hex(16)

    async def claimed(self, patience: float) -> Claimed:
        """Hold the lease from now on, or find what came of the token set by another's hand.

        Whoever holds it already is waited for, so many seconds. Raises Taken, StoreUnavailable.
        """
        __traceback_hide__ = True
        waited = 0.0
        while True:
            claim = await self._leases.claim(self._secret, self._holder, seconds=LEASE)
            if claim.result is not None:
                return Claimed(Outcome.opened(claim.result), waited)
            if claim.held:
                return Claimed(None, waited)
            if waited >= patience:
                raise Taken
            pause = min(random.uniform(*POLL), max(claim.wait, POLL[0]))  # noqa: S311 - spreads
            await Pause(pause, self._services.sleep)
            waited += pause

    async def renewed(self) -> None:
        """Hold it longer. Where that cannot be done now, it may be done later."""
        with suppress(StoreUnavailable):
            await self._leases.renew(self._secret, self._holder, seconds=LEASE)

    async def released(self) -> None:
        """Give it up with no outcome. Where that cannot be done, it ends by itself."""
        with suppress(StoreUnavailable):
            await self._leases.release(self._secret, self._holder)

    async def shortened(self, *, keep: int) -> None:
        """Keep an outcome for so many seconds at most. That is only thrift: it may fail."""
        with suppress(StoreUnavailable):
            await self._leases.shorten(self._secret, keep=keep)

    def complete(self, outcome: Outcome, *, keep: int) -> bool:
        """Keep the outcome for so many seconds; False when the lease went to another.

        Raises StoreUnavailable.
        """
        __traceback_hide__ = True
        return run_sync(
            self._leases.complete(self._secret, self._holder, outcome.sealed(), keep=keep)
        )
