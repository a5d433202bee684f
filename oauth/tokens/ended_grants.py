"""Which grants were ended by an operator (`end_sessions --provider`): those given until a moment.

The sessions stay. Whoever holds tokens of such a grant must consent again.
"""

from dataclasses import dataclass

from oauth.network.thread_pools import pool
from oauth.provider.token_set import TokenSet
from sessions_kms.concurrency.executors import in_thread
from sessions_kms.services import Services


@dataclass(frozen=True)
class EndedUntil:
    """The wait for the moment until which a provider's grants are ended; 0 for none.

    Raises StoreUnavailable.
    """

    services: Services
    provider: str

    def blocking(self) -> int:
        """Wait in this thread."""
        return self.services.not_before_of(self.provider).moment()

    async def looping(self) -> int:
        """Wait in the event loop, and for nobody where the moment is known."""
        moment = self.services.not_before_of(self.provider).held()
        if moment is not None:
            return moment
        return await in_thread(pool(self.provider, "session"), self.blocking)


def is_ended(held: TokenSet, until: int) -> bool:
    """Tell whether a token set is of a grant that was given until that moment."""
    return until > 0 and held.granted_at <= until


def standing(services: Services, provider: str, held: TokenSet | None) -> TokenSet | None:
    """Return a token set unless its grant was ended. Raises StoreUnavailable."""
    if held is None or is_ended(held, EndedUntil(services, provider).blocking()):
        return None
    return held
