"""A sealed record for tests with a canary in it, and checks that errors do not contain it."""

from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any

import pytest

from sessions_kms.exceptions import InvalidRecord
from sessions_kms.format import envelope
from sessions_kms.format.item_types import session_id
from sessions_kms.format.record import Header, SessionRecord

NOW = 1_800_000_000
PERIOD = NOW - NOW % 86_400
NAMESPACE = "django"
COOKIE = "0123456789abcdefghijklmnopqrstuv"
OTHER_COOKIE = "vutsrqponmlkjihgfedcba9876543210"
DATA_KEY = bytes(range(32))
OTHER_DATA_KEY = bytes(range(1, 33))
CANARY = b"canary-0c3f1e"
PLAINTEXT = b'{"token":"' + CANARY + b'"}'
BINARIES = ("encryptedData", "iv", "authTag", "encryptedKey", "salt", "commitment")
HEADER = Header(
    id=session_id(NAMESPACE, COOKIE),
    created_at=NOW - 3600,
    updated_at=NOW,
    ttl=NOW + 3600,
    revision=3,
    owner="user#django#42",
)


def seal(plaintext: bytes = PLAINTEXT, header: Header = HEADER, **changes: Any) -> SessionRecord:
    members: dict[str, Any] = {
        "namespace": NAMESPACE,
        "session_key": COOKIE,
        "data_key": DATA_KEY,
        "encrypted_key": b"wrapped",
        "key_period": PERIOD,
        "salt": b"s" * 16,
        "iv": b"i" * 12,
    }
    return envelope.seal(plaintext, header, **(members | changes))


def open_(record: SessionRecord, **changes: Any) -> bytes:
    members: dict[str, Any] = {
        "namespace": NAMESPACE,
        "session_key": COOKIE,
        "data_key": DATA_KEY,
    }
    return envelope.open_(record, **(members | changes))


def rejection_of(read: Callable[[], bytes]) -> str:
    """Return the reason of a rejection, which must not contain plaintext."""
    with pytest.raises(InvalidRecord) as caught:
        read()
    assert_without_plaintext(caught.value)
    return caught.value.reason


def assert_without_plaintext(error: BaseException) -> None:
    """Assert that the canary is neither in the error chain nor in the package's frames."""
    for each in chain(error):
        shown = [repr(each), str(each), repr(each.args), repr(vars(each))]
        for frame in frames(each.__traceback__):
            shown += [repr(value) for value in frame.f_locals.values()]
        assert not any(CANARY.decode() in text for text in shown)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def frames(traceback: TracebackType | None) -> Iterator[FrameType]:
    while traceback is not None:
        if traceback.tb_frame.f_globals["__name__"].startswith("sessions_kms"):
            yield traceback.tb_frame
        traceback = traceback.tb_next


def flips_of(value: bytes) -> Iterator[bytes]:
    number = int.from_bytes(value, "big")
    for bit in range(8 * len(value)):
        yield (number ^ 1 << bit).to_bytes(len(value), "big")
