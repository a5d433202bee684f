"""Which grants were ended by an operator (`end_sessions --provider`): those given until a moment.

The sessions stay. Whoever holds tokens of such a grant must consent again.
"""

from django.utils.asyncio import async_unsafe

from oauth.provider.token_set import TokenSet
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.services import Services


async def is_ended(services: Services, provider: str, held: TokenSet) -> bool:
    """Tell whether a token set is of a grant that an operator ended. Raises StoreUnavailable."""
    return _ends(await services.not_before_of(provider).moment(), held)


def standing(services: Services, provider: str, held: TokenSet | None) -> TokenSet | None:
    """Return a token set unless its grant was ended.

    Raises StoreUnavailable, and SynchronousOnlyOperation where an event loop would have to wait.
    """
    __traceback_hide__ = True
    if held is None:
        return None
    moments = services.not_before_of(provider)
    if (until := moments.held()) is None:
        _will_wait()
        until = run_sync(moments.moment())
    return None if _ends(until, held) else held


@async_unsafe("Which grants were ended has to be read: use oauth.astanding in an async view.")
def _will_wait() -> None:
    """Raise SynchronousOnlyOperation in an event loop."""


def _ends(until: int, held: TokenSet) -> bool:
    return until > 0 and held.granted_at <= until
