"""Processes of the engine with one table and one KMS in memory, and the stored truth.

`World` gives each process its own services. The stored content of a session is decrypted with KMS's
own key material, independently of caches, faults and states.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.conf import Config
from sessions_kms.data_keys.cached_keyring import CachingKeyring
from sessions_kms.data_keys.keyring import KMSKeyring, SharedKeyring
from sessions_kms.format import envelope
from sessions_kms.format.record import SessionRecord, read_tombstone
from sessions_kms.services import Services, id_of
from sessions_kms.storage.not_before import NotBefore, NotBeforeItems
from sessions_kms.storage.published_keys import DataKeyItems
from tests.sessions_kms.support.fakes import KEY, State
from tests.sessions_kms.support.memory_dynamodb import MemoryDynamoDB
from tests.sessions_kms.support.stacks import install, table_over
from tests.sessions_kms.support.wire import Wire, WiredKMS
from tests.support.clock import FakeClock

NEVER = -(10**9)
DISTURBED_FOR = 60  # seconds for which a failure may have effects (back-offs, not-before)


@dataclass(frozen=True)
class Stored:
    """The content of one session. ``salt`` changes with each write."""

    content: dict[str, Any]
    created: int
    ends: int
    salt: bytes
    user: str | None


class World:
    """The shared services, and ``processes``, each with its current services.

    With ``has_connections``, responses are confirmed, as for the built-in client.
    """

    def __init__(
        self,
        processes: int = 2,
        *,
        returns_old: bool = True,
        has_connections: bool = False,
        **config: Any,
    ) -> None:
        self.wire = Wire()
        self.clock = FakeClock()
        self.table = MemoryDynamoDB(self.wire, returns_old=returns_old)
        self.table.has_connections = has_connections
        self.kms = WiredKMS(self.wire, KEY)
        self.config = Config(key_id=KEY, table_name="sessions", **config)
        self.state = State.ENABLED
        self.disturbed_at = NEVER
        self.sleep: Callable[[float], None] = lambda _: None
        self.processes: list[Services] = [self.started() for _ in range(processes)]

    def started(self) -> Services:
        """Return the services of a new process."""
        table, namespace = table_over(self.table), self.config.namespace
        kms = self._kms_keyring()
        length = self.config.data_key_period
        shared = SharedKeyring(
            kms, DataKeyItems(table, namespace), period_length=length, clock=self.clock
        )
        keyring = CachingKeyring(
            shared if length else kms,
            context=kms.context,
            max_age=self.config.data_key_cache_age,
            max_stale=self.config.data_key_max_stale,
            period_length=length,
            clock=self.clock,
            monotonic=self.clock,
            background=False,
        )
        not_before = NotBefore(NotBeforeItems(table, namespace).get, at_least=0, clock=self.clock)
        return Services(self.config, table, keyring, not_before, clock=self.clock, sleep=self.sleep)

    def restart(self, process: int) -> None:
        """Restart a process, with empty memory."""
        self.processes[process] = self.started()

    @contextmanager
    def running(self, process: int) -> Iterator[None]:
        """Run a block as one process; may be nested in a block of another."""
        from sessions_kms import services

        before = services._services
        install(self.processes[process])
        try:
            yield
        finally:
            services._services = before

    def turn(self, state: State) -> None:
        """Put KMS into a state."""
        self.disturbed_at = int(self.clock())
        self.state = state
        self.kms.set_state(state)

    def disturb(self) -> None:
        self.disturbed_at = int(self.clock())

    @property
    def disturbed(self) -> bool:
        """Return True if something may fail, or failed recently."""
        lately = self.clock() - self.disturbed_at <= DISTURBED_FOR
        return lately or self.state is not State.ENABLED

    def truth(self, key: str) -> Stored | None:
        """Return the stored content of a session key, live or not."""
        with self.running(0):
            item = self.table.items.get(id_of(key))
        if item is None or read_tombstone(item):
            return None
        record = SessionRecord.from_item(item)
        data_key = self._unwrap(record)
        payload = envelope.open_(
            record, namespace=self.config.namespace, session_key=key, data_key=data_key
        )
        content = json.loads(payload)
        user = None if record.owner is None else record.owner.rpartition("#")[2]
        return Stored(content, record.created_at, record.ttl, record.salt, user)

    def sessions(self) -> int:
        """Count the items that are sessions, under any key."""
        return sum(
            "#" not in item_id and read_tombstone(item) is None
            for item_id, item in self.table.items.items()
        )

    def dump(self) -> bytes:
        """Return all bytes in the table."""
        return repr(self.table.items).encode()

    def _unwrap(self, record: SessionRecord) -> bytes:
        kms = self.kms
        asked, calls, faults = kms.calls, self.wire.calls, self.wire._faults
        kms.calls, self.wire.calls, self.wire._faults = [], [], {}
        kms.set_state(State.ENABLED)
        try:
            return run_sync(
                self._kms_keyring().unwrap(record.encrypted_key, record.key_period)
            ).plaintext
        finally:
            kms.set_state(self.state)
            kms.calls, self.wire.calls, self.wire._faults = asked, calls, faults

    def _kms_keyring(self) -> KMSKeyring:
        return KMSKeyring(
            self.kms,
            key_id=KEY,
            decrypt_key_ids=(),
            namespace=self.config.namespace,
            encryption_context={},
        )
