"""Where a page of a listing starts, as text that a link carries and nobody can forge.

It names an item of the table, which may be of another kind or project than those
that are shown: signed, it opens the listing that it was made for and no other.
"""

from django.core import signing

from sessions_kms.format.attributes import Item
from sessions_kms.services import Services


def token_of(services: Services, start: Item, *, listing: str) -> str:
    """Return the token of a start in a listing, which is named by any text."""
    return signing.dumps(start, salt=_salt(services, listing))


def start_of(services: Services, token: str, *, listing: str) -> Item:
    """Return the start that a token names. Raises django.core.signing.BadSignature."""
    start: Item = signing.loads(token, salt=_salt(services, listing))
    return start


def _salt(services: Services, listing: str) -> str:
    config = services.config
    return f"sessions_kms.page:{config.table_name}:{config.namespace}:{listing}"
