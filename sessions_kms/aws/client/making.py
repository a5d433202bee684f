"""The engine's client of its table: a Region and a wish enter, a client leaves.

Importing it imports no boto, using it does.
"""

import logging

from sessions_kms.aws import clients
from sessions_kms.aws.client.asking import TableClient
from sessions_kms.aws.client.wish import Wish

logger = logging.getLogger(__name__)


def table_client(region: str | None, wish: Wish = "auto") -> TableClient:
    """Return a new client: boto's, with the wire beside it where that is to ask.

    Raises TableUnavailable as `clients.dynamodb_client` does, or WireImpossible.
    """
    from sessions_kms.aws.client.choice import choose

    boto = clients.dynamodb_client(region)
    choice = choose(boto, wish)
    asker = "the wire" if choice.by_wire else "boto"
    logger.info("DynamoDB is asked by %s: %s.", asker, choice.why)
    if not choice.by_wire:
        return boto
    from sessions_kms.aws.client.wire_client import WireClient

    return WireClient(boto, clients.credentials(), clients.clock, choice.authorities)
