"""The items in which the moments are before which nothing counts: read, and moved forward."""

from sessions_kms.exceptions import TableUnavailable
from sessions_kms.format.attributes import Item, as_number, number
from sessions_kms.format.kinds import NOT_BEFORE, not_before_id
from sessions_kms.storage.condition import Condition
from sessions_kms.storage.table import Table, held


class NotBeforeItems:
    """The items of one namespace in which the moments are.

    With a name it is the moment of something else that began, such as a grant of tokens.
    """

    def __init__(self, table: Table, namespace: str) -> None:
        self._table = table
        self._namespace = namespace

    async def get(self, name: str | None = None) -> int:
        """Return the moment in the table; 0 when none is set. Raises InvalidRecord."""
        item = await self._table.get(not_before_id(self._namespace, name))
        if item is None:
            return 0
        NOT_BEFORE.version_of(item)
        return number(item, "notBefore")

    async def raise_to(self, moment: int, name: str | None = None, *, latest: int) -> bool:
        """Move that moment forward; back only from one after ``latest``, which counts for nobody.

        False when it stands as high already, and counts.
        """
        if await held(self._table.put(self._item(name, moment), when=_lower(moment, latest))):
            return True
        # It stands as high, or nothing is known.
        if not moment <= await self.get(name) <= latest:
            raise TableUnavailable
        return False

    def _item(self, name: str | None, moment: int) -> Item:
        item_id = not_before_id(self._namespace, name)
        return NOT_BEFORE.item(item_id) | {"notBefore": as_number(moment)}


def _lower(moment: int, latest: int) -> Condition:
    return Condition(
        "attribute_not_exists(#id) OR #notBefore < :moment OR #notBefore > :latest",
        {":moment": as_number(moment), ":latest": as_number(latest)},
    )
