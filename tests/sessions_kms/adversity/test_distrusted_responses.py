"""Wrong responses sign nobody out: the request is repeated, or answered with 503."""

import base64
import json
import logging
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import (
    KMSUnavailable,
    SessionMoved,
    StoreUnavailable,
    TableUnavailable,
)
from sessions_kms.operations import ending
from sessions_kms.operations.listing import Inspection
from sessions_kms.sealed_items.leases import Leases
from sessions_kms.services import id_of, services
from sessions_kms.storage.session_items import Conflict
from tests.sessions_kms.support import faults
from tests.sessions_kms.support.faulty import FaultyStack
from tests.sessions_kms.support.sessions import saved_key

pytestmark = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)

OTHER_OWNER = "user#django#8"


def is_unavailable(call: Callable[[], object]) -> bool:
    try:
        call()
    except StoreUnavailable:
        return True
    return False


def with_item(change: Callable[[dict[str, Any]], object]) -> faults.Fault:
    """Forward, and change the item that was answered."""

    def alter(body: bytes) -> bytes:
        content = json.loads(body)
        for item in [content["Item"]] if "Item" in content else content.get("Items", []):
            change(item)
        return json.dumps(content).encode()

    return faults.change_response(alter)


def add_checksum(change: Callable[[bytes], bytes]) -> faults.Fault:
    """Forward, and change the bytes of the response, with the checksum of what was sent."""

    def alter(exchange: faults.Exchange) -> faults.Response:
        honest = exchange.forward()
        headers = honest.headers | {"x-amz-crc32": str(zlib.crc32(honest.body))}
        return honest._replace(body=change(honest.body), headers=headers)

    return alter


def other_letter(item: dict[str, Any]) -> None:
    """Change one letter of the ciphertext, as a broken memory or line does."""
    data = item["encryptedData"]["B"]
    item["encryptedData"]["B"] = ("B" if data[0] == "A" else "A") + data[1:]


def strange_letter(item: dict[str, Any]) -> None:
    """Add four characters that lenient base64 drops, with all that was there."""
    data = item["encryptedData"]["B"]
    item["encryptedData"]["B"] = "!!!!" + data[4:]


OTHERS: dict[str, Callable[[dict[str, Any]], object]] = {
    "another id": lambda item: item.update(id={"S": "A" * 43}),
    "no id": lambda item: item.pop("id"),
    "id of another type": lambda item: item.update(id={"N": "1"}),
    "strange letters": strange_letter,
}


@pytest.mark.parametrize("what", OTHERS)
def test_item_with_another_key_is_rejected(
    faulty: FaultyStack, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    key, other = saved_key("7"), saved_key("7")
    faulty.table.on("GetItem", with_item(OTHERS[what]))
    late = SessionStore(key)
    for call in (
        late.load,
        lambda: SessionStore().exists(key),
        lambda: SessionStore(other).update({"a": 1}),
        lambda: run_sync(Inspection(services()).find(next(iter(faulty.stack.sessions())))),
    ):
        assert is_unavailable(call)
    assert late.session_key == key
    assert "refused" not in caplog.text
    faulty.table.heal()
    assert SessionStore(key).get("_auth_user_id") == "7"


def refused_with_item(
    faulty: FaultyStack, key: str, change: Callable[[dict[str, Any]], object]
) -> faults.Fault:
    """Return the stored item with a failed condition, as AWS does, but changed."""

    def refuse(exchange: faults.Exchange) -> faults.Response:
        stands = faulty.stack.items()[id_of(key)]
        item: dict[str, Any] = {
            name: {kind: base64.b64encode(value).decode() if kind == "B" else value}
            for name, attribute in stands.items()
            for kind, value in attribute.items()
        }
        change(item)
        return faults.error("ConditionalCheckFailedException", Item=item)(exchange)

    return refuse


def change_in_two() -> tuple[str, SessionStore, SessionStore]:
    """Return the key of a session that two have changed, one of whom has saved it."""
    key = saved_key("7")
    mine, theirs = SessionStore(key), SessionStore(key)
    mine["mine"] = 1
    theirs["theirs"] = 1
    theirs.save()
    return key, mine, theirs


@pytest.mark.parametrize(
    "change", [other_letter, lambda item: item.update(version={"N": "2"})], ids=["sealed", "clear"]
)
def test_garbled_item_of_a_failed_condition_is_read_once_more(
    faulty: FaultyStack, change: Callable[[dict[str, Any]], object]
) -> None:
    key, mine, _ = change_in_two()
    faulty.table.on("PutItem", refused_with_item(faulty, key, change), times=1)
    mine.save()
    assert dict(SessionStore(key).items()) == {"_auth_user_id": "7", "mine": 1, "theirs": 1}


def test_session_that_moves_before_it_is_read_once_more_is_not_refused(
    faulty: FaultyStack, caplog: pytest.LogCaptureFixture
) -> None:
    key, mine, theirs = change_in_two()

    def move(item: dict[str, Any]) -> None:
        other_letter(item)
        theirs.cycle_key()

    faulty.table.on("PutItem", refused_with_item(faulty, key, move), times=1)
    with pytest.raises(SessionMoved):
        mine.save()
    assert "refused" not in caplog.text


def test_garbled_look_for_a_write_whose_response_was_lost_is_taken_once_more(
    faulty: FaultyStack, caplog: pytest.LogCaptureFixture
) -> None:
    key = saved_key("7")
    session = SessionStore(key)
    session["mine"] = 1
    faulty.table.on("PutItem", faults.apply_and(faults.drop_connection), times=1)
    faulty.table.on(
        "GetItem", with_item(lambda item: item.update(version={"N": "2"})),
        times=1, matching=id_of(key).encode(),
    )  # fmt: skip
    faulty.table.operations.clear()
    session.save()
    assert faulty.table.operations.count("PutItem") == 1
    assert SessionStore(key)["mine"] == 1
    assert "refused" not in caplog.text


def test_lease_with_another_key_is_rejected(faulty: FaultyStack) -> None:
    run_sync(Leases(services()).claim("secret", "me", seconds=10))
    faulty.table.on("GetItem", with_item(OTHERS["another id"]))
    assert is_unavailable(lambda: run_sync(Leases(services()).claim("secret", "you", seconds=10)))


def test_published_key_of_another_id_is_no_response(faulty: FaultyStack) -> None:
    saved_key("7")
    faulty.restart()
    faulty.table.on("GetItem", with_item(OTHERS["another id"]), matching=b"data-key#")
    assert is_unavailable(lambda: saved_key("7"))


def test_sessions_of_another_owner_are_no_response(faulty: FaultyStack) -> None:
    saved_key("7")
    faulty.table.on("Query", with_item(lambda item: item.update(owner={"S": OTHER_OWNER})))
    assert is_unavailable(
        lambda: run_sync(faulty.stack.services.queries.owned_ids("user#django#7"))
    )


def test_wrong_item_of_a_failed_condition_is_read_again(faulty: FaultyStack) -> None:
    key = saved_key("7")
    records = faulty.stack.services.session_items
    stale = run_sync(records.get(id_of(key)))
    assert stale is not None
    session, other = SessionStore(key), SessionStore(key)
    session["mine"], other["theirs"] = 1, 1
    other.save()

    def mislead(body: bytes) -> bytes:
        content = json.loads(body)
        if "Item" in content:
            content["Item"]["id"] = {"S": "A" * 43}
        return json.dumps(content).encode()

    def alter(exchange: faults.Exchange) -> faults.Response:
        honest = exchange.forward()
        return honest._replace(body=mislead(honest.body))

    faulty.table.on("PutItem", alter)
    with pytest.raises(Conflict) as caught:
        run_sync(records.replace(stale, expected=stale, now=int(faulty.stack.clock())))
    assert caught.value.current is not None
    assert caught.value.current.id == stale.id
    session.save()
    assert dict(SessionStore(key).items()) == {"_auth_user_id": "7", "mine": 1, "theirs": 1}


@pytest.mark.parametrize("times", [1, 2, None])
def test_garbled_record_is_read_once_more_before_it_is_refused(
    faulty: FaultyStack, times: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    key = saved_key("7")
    assert SessionStore().exists(key)
    faulty.table.operations.clear()
    faulty.table.on("GetItem", with_item(other_letter), times=times)
    found = SessionStore(key).get("_auth_user_id")
    assert found == ("7" if times == 1 else None)
    assert faulty.table.operations == ["GetItem"] * 2
    assert ("refused: authentication" in caplog.text) == (times != 1)


@pytest.mark.parametrize("times", [1, None])
def test_body_of_another_checksum_is_no_response(faulty: FaultyStack, times: int | None) -> None:
    key = saved_key("7")
    garbled = add_checksum(lambda body: body.replace(b'"revision"', b'"revision "'))
    faulty.table.on("GetItem", garbled, times=times)
    session = SessionStore(key)
    if times:
        assert session.get("_auth_user_id") == "7"
    else:
        with pytest.raises(TableUnavailable):
            session.load()
        assert session.session_key == key


# Data keys


def wrong_plaintext(*bytes_given: int) -> faults.Fault:
    """Forward, and answer 32 other bytes: the ones given, in turn, the last one for good."""
    left = list(bytes_given)

    def alter(body: bytes) -> bytes:
        content = json.loads(body)
        byte = left.pop(0) if len(left) > 1 else left[0]
        content["Plaintext"] = base64.b64encode(bytes([byte]) * 32).decode()
        return json.dumps(content).encode()

    return faults.change_response(alter)


def test_wrong_data_key_is_asked_for_once_more(
    faulty: FaultyStack, caplog: pytest.LogCaptureFixture
) -> None:
    keys = [saved_key("7") for _ in range(3)]
    faulty.restart()
    faulty.kms.on("Decrypt", wrong_plaintext(1), times=1)
    assert [SessionStore(key).get("_auth_user_id") for key in keys] == ["7"] * 3
    assert faulty.kms.operations == ["Decrypt"] * 2
    assert "KMS unwrapped one data key to different bytes" in caplog.text
    assert "refused" not in caplog.text


def test_changing_data_key_keeps_everyone_signed_in(faulty: FaultyStack) -> None:
    key = saved_key("7")
    faulty.restart()
    faulty.kms.on("Decrypt", wrong_plaintext(*range(200)))
    for _ in range(10):
        session = SessionStore(key)
        with pytest.raises(StoreUnavailable):
            session.load()
        assert session.session_key == key


def test_wrong_record_has_kms_asked_once_for_its_data_key_however_often_it_comes(
    faulty: FaultyStack,
) -> None:
    good, bad = saved_key("7"), saved_key("7")
    for item in faulty.stack.sessions().values():
        if item["id"]["S"] == ending._id_of(services(), bad):
            faulty.stack.put_item(item | {"commitment": {"B": b"c" * 32}})
    faulty.restart()
    assert SessionStore(good).get("_auth_user_id") == "7"
    assert faulty.kms.operations == ["Decrypt"]
    for _ in range(5):
        assert SessionStore(bad).get("_auth_user_id") is None
    assert faulty.kms.operations == ["Decrypt"] * 2
    assert SessionStore(good).get("_auth_user_id") == "7"


def test_wrong_record_is_not_refused_while_kms_cannot_confirm_its_data_key(
    faulty: FaultyStack,
) -> None:
    key = saved_key("7")
    (item,) = faulty.stack.sessions().values()
    faulty.stack.put_item(item | {"commitment": {"B": b"c" * 32}})
    faulty.restart()
    faulty.kms.on("Decrypt", lambda exchange: exchange.forward(), times=1)
    faulty.kms.on("Decrypt", faults.change_response(lambda _: b"", status=503))
    session = SessionStore(key)
    with pytest.raises(KMSUnavailable):
        session.load()
    assert session.session_key == key


# Times


def test_record_from_the_future_is_logged_and_keeps_everyone_signed_in(
    faulty: FaultyStack, caplog: pytest.LogCaptureFixture
) -> None:
    key = saved_key("7")
    faulty.stack.clock.advance(-400)
    session = SessionStore(key)
    with pytest.raises(StoreUnavailable):
        session.load()
    assert session.session_key == key
    alarms = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.name for record in alarms] == ["sessions_kms.storage.suspect_responses"]
    assert not any(record.name.startswith("django.security") for record in caplog.records)
    faulty.stack.clock.advance(100)
    assert SessionStore(key).get("_auth_user_id") == "7"
