"""Stand-ins for AWS KMS and for the table's data keys: in memory, well-behaved.

`FakeKMS` is the test kit's KMS, whose keys a test can disable; it answers the errors that
`aws.kms.KMS` translates AWS's responses to.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import partial

from sessions_kms.aws.kms import DataKeyResponse
from sessions_kms.exceptions import InvalidRecord, KMSUnavailable, TableUnavailable
from sessions_kms.storage.published_keys import PublishedKey
from sessions_kms.testing.kms import MemoryKMS
from tests.sessions_kms.support.stepping import as_coroutine

KEY = "arn:aws:kms:eu-west-1:111122223333:key/11111111-1111-4111-8111-111111111111"
OLD_KEY = "arn:aws:kms:eu-west-1:111122223333:key/22222222-2222-4222-8222-222222222222"
FOREIGN_KEY = "arn:aws:kms:eu-west-1:999988887777:key/33333333-3333-4333-8333-333333333333"


class State(Enum):
    """What a KMS key does when it is asked."""

    ENABLED = auto()
    REFUSING = auto()  # disabled, denied, pending deletion or not found: one error of ours
    UNREACHABLE = auto()
    CUTTING = auto()  # responses with a plaintext cut short
    MISNAMING = auto()  # responses in the name of another KMS key


@dataclass(frozen=True)
class Call:
    """One call that KMS was asked."""

    operation: str
    key_id: str
    context: dict[str, str]


class FakeKMS(MemoryKMS):
    """KMS keys in memory. ``calls`` lists what was asked; ``during`` runs within each call."""

    def __init__(self, *key_ids: str) -> None:
        super().__init__()
        self._states = dict.fromkeys(key_ids or (KEY, OLD_KEY, FOREIGN_KEY), State.ENABLED)
        self.calls: list[Call] = []
        self.during: Callable[[Call], object] = lambda _call: None

    def set_state(self, state: State, *key_ids: str) -> None:
        """Put KMS keys (all of them by default) into a state."""
        for key_id in key_ids or list(self._states):
            self._states[key_id] = state

    def count(self, operation: str, key_id: str | None = None) -> int:
        """Return how often an operation was asked, of one KMS key or of all."""
        return sum(
            call.operation == operation and key_id in (None, call.key_id)
            for call in list(self.calls)
        )

    def generate_data_key(self, key_id: str, context: Mapping[str, str]) -> DataKeyResponse:
        state = self._find_state("generate_data_key", key_id, context)
        return _response(state, super().generate_data_key(key_id, context))

    def decrypt(
        self, key_id: str, ciphertext: bytes, context: Mapping[str, str]
    ) -> DataKeyResponse:
        state = self._find_state("decrypt", key_id, context)
        return _response(state, super().decrypt(key_id, ciphertext, context))

    def _find_state(self, operation: str, key_id: str, context: Mapping[str, str]) -> State:
        call = Call(operation, key_id, dict(context))
        self.calls.append(call)
        self.during(call)
        state = self._states.get(key_id)
        if state is None or state is State.REFUSING:
            raise KMSUnavailable(refused_key=key_id)
        if state is State.UNREACHABLE:
            raise KMSUnavailable
        return state


def _response(state: State, response: DataKeyResponse) -> DataKeyResponse:
    """Return the response of a key in a state."""
    if state is State.CUTTING:
        return replace(response, plaintext=response.plaintext[:-1])
    return replace(response, key_id=FOREIGN_KEY) if state is State.MISNAMING else response


class FakeDataKeyTable:
    """The published data keys of one namespace, with the conditions of the real table.

    ``reachable`` off makes each call raise; a period in ``malformed`` is an item
    that is not what the format says; ``losing_responses`` reports each put as lost
    to another, as the table does when its response was lost on the way.
    ``before_put`` runs before each put takes effect.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.keys: dict[int, PublishedKey] = {}
        self.malformed: set[int] = set()
        self.reachable = True
        self.losing_responses = False
        self.before_put: Callable[[PublishedKey], object] = lambda _key: None
        self.puts = 0

    @property
    def items(self) -> "PublishedItems":
        """The same, as coroutines."""
        return PublishedItems(self)

    def get(self, period: int) -> PublishedKey | None:
        self._check_reachable()
        if period in self.malformed:
            raise InvalidRecord("encryptedKey")
        with self._lock:
            return self.keys.get(period)

    def publish(self, key: PublishedKey) -> bool:
        return self._put(key, lambda current: current is None)

    def replace(self, key: PublishedKey, *, old: bytes) -> bool:
        return self._put(key, lambda current: current is not None and current.encrypted == old)

    def _put(self, key: PublishedKey, condition: Callable[[PublishedKey | None], bool]) -> bool:
        self._check_reachable()
        self.before_put(key)
        with self._lock:
            if not condition(self.keys.get(key.period)):
                return False
            self.keys[key.period] = key
            self.puts += 1
        return not self.losing_responses

    def _check_reachable(self) -> None:
        if not self.reachable:
            raise TableUnavailable


class PublishedItems:
    """The verbs of a table of data keys, each a call that blocks."""

    def __init__(self, table: FakeDataKeyTable) -> None:
        self.get = as_coroutine(table.get)
        self.publish = as_coroutine(table.publish)
        self._table = table

    async def replace(self, key: PublishedKey, *, old: bytes) -> bool:
        return await as_coroutine(partial(self._table.replace, old=old))(key)


def together(threads: int, job: Callable[[int], object]) -> list[object]:
    """Run a job in threads that start at one moment; return results, errors among them."""
    barrier = threading.Barrier(threads)
    results: list[object] = [None] * threads

    def run(index: int) -> None:
        barrier.wait(timeout=30)
        try:
            results[index] = job(index)
        except Exception as exc:  # noqa: BLE001 - the caller asserts on what was raised
            results[index] = exc

    workers = [threading.Thread(target=run, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert not any(worker.is_alive() for worker in workers), "a thread is stuck"
    return results
