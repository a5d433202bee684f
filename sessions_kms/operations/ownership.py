"""Whose namespace a record is of, where several share a table.

The owner says so where somebody is signed in. An anonymous record does not: it is ours
when its data key unwraps under our encryption context.
"""

from sessions_kms.aws.translation import IncorrectKey
from sessions_kms.data_keys.known_keys import KnownKeys
from sessions_kms.exceptions import InvalidRecord
from sessions_kms.format.kinds import owner_prefix
from sessions_kms.format.record import RecordHead
from sessions_kms.services import Services


class Ownership:
    """Tells records of one namespace from others, with one KMS call for each data key at most."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._owner_prefix = owner_prefix(services.config.namespace)
        self._known: KnownKeys[bool] = KnownKeys()

    async def is_ours(self, record: RecordHead) -> bool:
        """Tell whether a record is of this namespace. Raises KMSUnavailable."""
        if record.owner is not None:
            return record.owner.startswith(self._owner_prefix)
        wrapped = (record.encrypted_key, record.key_period)
        if wrapped not in self._known:
            self._known[wrapped] = await self._unwraps(*wrapped)
        return self._known[wrapped]

    async def _unwraps(self, encrypted_key: bytes, period: int) -> bool:
        try:
            await self._services.keyring.unwrap(encrypted_key, period)
        except (InvalidRecord, IncorrectKey):  # Or wrapped by a KMS key of another project.
            return False
        return True
