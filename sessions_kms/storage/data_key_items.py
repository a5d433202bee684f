"""The data keys that the fleet publishes in the table, wrapped by KMS: one item a period."""

from functools import partial

from sessions_kms.exceptions import InvalidRecord
from sessions_kms.format.attributes import as_binary
from sessions_kms.format.kinds import data_key_id
from sessions_kms.format.published_key import PublishedKey
from sessions_kms.storage.condition import ABSENT, Condition, equal
from sessions_kms.storage.doubts import once_more
from sessions_kms.storage.table import Table, held


class DataKeyItems:
    """The published data keys of one namespace. All raise TableUnavailable."""

    def __init__(self, table: Table, namespace: str) -> None:
        self._table = table
        self._namespace = namespace

    async def get(self, period: int) -> PublishedKey | None:
        """Return the published data key of a period. Raises InvalidRecord."""
        return await once_more(partial(self._get, period))

    async def _get(self, period: int) -> PublishedKey | None:
        item = await self._table.get(data_key_id(self._namespace, period))
        if item is None:
            return None
        key = PublishedKey.from_item(item)
        if key.period != period:
            raise InvalidRecord("keyPeriod")
        return key

    async def publish(self, key: PublishedKey) -> bool:
        """Publish the data key of its period; False when one is there already."""
        return await self._put(key, ABSENT)

    async def replace(self, key: PublishedKey, *, old: bytes) -> bool:
        """Put a data key in the place of the one with exactly the old blob; False if it is not."""
        return await self._put(key, equal("encryptedKey", as_binary(old)))

    async def _put(self, key: PublishedKey, when: Condition) -> bool:
        """Put a data key; sent again it meets itself, which whoever asked recognises."""
        item = key.to_item(data_key_id(self._namespace, key.period))
        return await held(self._table.put(item, when=when))
