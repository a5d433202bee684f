"""Which grants were ended by an operator (`end_sessions --provider`): those given until a moment.

The sessions stay. Whoever holds tokens of such a grant must consent again.
"""

from oauth.provider.token_set import TokenSet
from sessions_kms.concurrency.steps import Steps, run
from sessions_kms.services import Services


def is_ended(services: Services, provider: str, held: TokenSet) -> Steps[bool]:
    """Tell whether a token set is of a grant that an operator ended. Raises StoreUnavailable."""
    until = yield from services.not_before_of(provider).steps.moment()
    return until > 0 and held.granted_at <= until


def standing(services: Services, provider: str, held: TokenSet | None) -> TokenSet | None:
    """Return a token set unless its grant was ended. Raises StoreUnavailable."""
    if held is None or run(is_ended(services, provider, held)):
        return None
    return held
