"""Which grants were ended by an operator (`end_sessions --provider`): those given until a moment.

The sessions stay. Whoever holds tokens of such a grant must consent again.
"""

from oauth.provider.token_set import TokenSet
from oauth.tokens.turns import in_thread
from sessions_kms.services import services


def ended_until(provider: str) -> int:
    """Return the moment until which a provider's grants are ended; 0 for none.

    Raises StoreUnavailable.
    """
    return services().not_before_of(provider).moment()


async def aended_until(provider: str) -> int:
    """Do what `ended_until` does, without blocking the event loop."""
    moment = services().not_before_of(provider).held()
    if moment is not None:
        return moment
    return await in_thread(provider, lambda: ended_until(provider))


def is_ended(held: TokenSet, until: int) -> bool:
    """Tell whether a token set is of a grant that was given until that moment."""
    return until > 0 and held.granted_at <= until


def standing(provider: str, held: TokenSet | None) -> TokenSet | None:
    """Return a token set unless its grant was ended. Raises StoreUnavailable."""
    return None if held is None or is_ended(held, ended_until(provider)) else held
