"""Services that read the item of a test vector."""

from collections.abc import Mapping
from typing import Any

from sessions_kms.conf import Config
from sessions_kms.data_keys.keyring import DataKey, KMSKeyring
from sessions_kms.exceptions import InvalidRecord, KMSUnavailable
from sessions_kms.services import Services
from sessions_kms.storage.not_before import NotBefore
from sessions_kms.storage.table import Table
from tests.sessions_kms.support import reference_format as ref
from tests.sessions_kms.support.stacks import FAKE_KEY
from tests.sessions_kms.support.stepping import as_coroutine
from tests.vectors.vector import Vector


class OneItem:
    """A DynamoDB client that answers every read with one item."""

    def __init__(self, item: Mapping[str, Any]) -> None:
        self._item = item

    def get_item(self, **_: Any) -> dict[str, Any]:
        return {"Item": self._item, "ConsumedCapacity": {}}


class VectorKeyring:
    """Unwraps what the vector says that KMS unwraps."""

    def __init__(self, vector: Vector, config: Config) -> None:
        self._vector = vector
        self._kms = KMSKeyring(
            None,  # type: ignore[arg-type]  # only the encryption context is asked for
            key_id=FAKE_KEY,
            decrypt_key_ids=(),
            namespace=config.namespace,
            encryption_context=config.encryption_context,
        )

    async def generate(self, period: int) -> DataKey:
        raise KMSUnavailable  # Nothing is sealed, such as a document that is old.

    async def confirmed(self, key: DataKey) -> DataKey:
        return await self.unwrap(key.encrypted, key.period)

    async def unwrap(self, encrypted: bytes, period: int) -> DataKey:
        plaintext = self._vector.unwrap(encrypted, self._kms.context(period))
        if plaintext is None:
            raise InvalidRecord("encrypted_key")
        return DataKey(period, encrypted, plaintext, FAKE_KEY)


def open_by_reference(vector: Vector) -> bytes:
    """Return what the second program decrypts. Raises `ref.Invalid` and `ref.CannotTell`."""

    def unwrap(encrypted_key: bytes, period: int) -> bytes:
        context = ref.encryption_context(vector.namespace, period, vector.configured_context)
        if (data_key := vector.unwrap(encrypted_key, context)) is None:
            raise ref.Invalid("encrypted_key")
        return data_key

    return ref.open_item(
        vector.item,
        namespace=vector.namespace,
        session_key=vector.session_key,
        now=vector.now,
        unwrap=unwrap,
        absolute_timeout=vector.absolute_timeout,
        not_before=vector.not_before,
    )


def services_of(vector: Vector) -> Services:
    config = Config(
        key_id=FAKE_KEY,
        table_name="vectors",
        namespace=vector.namespace,
        encryption_context=vector.configured_context,
        absolute_timeout=vector.absolute_timeout,
        grant_timeout=vector.grant_timeout,
    )
    client: Any = OneItem(vector.item)
    return Services(
        config,
        Table(client, name="vectors"),
        VectorKeyring(vector, config),
        NotBefore(as_coroutine(lambda: vector.not_before), at_least=0, clock=lambda: vector.now),
        clock=lambda: vector.now,
    )
