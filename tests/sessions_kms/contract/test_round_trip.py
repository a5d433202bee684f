"""Any session content is loaded as it was saved; sessions cannot be pickled."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import InvalidRecord, StoreUnavailable
from sessions_kms.format.attributes import Item
from sessions_kms.format.record import CLOCK_SKEW, SessionRecord
from sessions_kms.sealed_items.sealing import Sealing
from tests.sessions_kms.model.world import World
from tests.sessions_kms.support.sealed import COOKIE
from tests.sessions_kms.support.sessions import save_session

JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.text(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=10,
)
SESSIONS = st.dictionaries(
    # Names that the engine and Django give a meaning to.
    st.text().filter(lambda name: not name.startswith("_")),
    JSON,
    max_size=5,
)
BYTES = st.binary(max_size=40)


@settings(max_examples=50)
@given(SESSIONS)
def test_what_was_saved_is_what_another_process_loads(content: dict[str, object]) -> None:
    world = World()
    with world.running(0):
        session = save_session(**content)
    with world.running(1):
        assert SessionStore(session.session_key).load() == content


@given(
    lengths=st.tuples(
        st.binary(min_size=16, max_size=16),
        st.binary(min_size=32, max_size=32),
        st.binary(min_size=12, max_size=12),
        st.binary(min_size=16, max_size=16),
    ),
    data=BYTES,
    key=st.one_of(BYTES, st.just(b"")),
    numbers=st.lists(st.integers(0, 2_000_000_000), min_size=5, max_size=5),
    owner=st.one_of(st.none(), st.text(max_size=20)),
)
def test_record_of_any_content_is_refused_with_one_error(
    lengths: tuple[bytes, bytes, bytes, bytes],
    data: bytes,
    key: bytes,
    numbers: list[int],
    owner: str | None,
) -> None:
    """The parser takes it or not; what it takes is opened to one error, and nothing else."""
    salt, commitment, iv, tag = lengths
    names = ("createdAt", "updatedAt", "ttl", "revision", "keyPeriod")
    item: Item = {
        "id": {"S": "a" * 43},
        "version": {"N": "1"},
        "encryptedData": {"B": data},
        "encryptedKey": {"B": key},
        "salt": {"B": salt},
        "commitment": {"B": commitment},
        "iv": {"B": iv},
        "authTag": {"B": tag},
    }
    item |= {name: {"N": str(number)} for name, number in zip(names, numbers, strict=True)}
    ahead = numbers[1] > World().processes[0].clock() + CLOCK_SKEW
    with pytest.raises(StoreUnavailable if ahead else InvalidRecord):
        open_item(item if owner is None else item | {"owner": {"S": owner}})


def open_item(item: Item) -> bytes:
    return run_sync(Sealing(World().processes[0]).open(SessionRecord.from_item(item), COOKIE))


def test_session_cannot_be_pickled() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(SessionStore("a" * 32))
