"""`rewrap_sessions` on real local servers: everything moves to the present KMS key."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import boto3
import pytest

from sessions_kms import services
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.conf import Config
from sessions_kms.exceptions import FateUnknown
from sessions_kms.operations import rewrapping
from sessions_kms.sealed_items import about
from sessions_kms.sealed_items.about import ABOUT
from sessions_kms.sealed_items.documents import SealedDocuments
from sessions_kms.sealed_items.leases import Leases
from sessions_kms.sealed_items.tokens import NewToken, SealedToken, Tokens
from sessions_kms.services import id_of
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.commands import Run, run
from tests.sessions_kms.support.every_kind import spend_token
from tests.sessions_kms.support.faults import error
from tests.sessions_kms.support.faulty import FaultyStack
from tests.sessions_kms.support.sessions import save_changes, saved_key
from tests.sessions_kms.support.stacks import REGION, Stack, install, running_as

pytestmark = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)

NOW = 1_800_000_000
DAY = 86_400
PERIOD = NOW - NOW % DAY
WAIT = 300 + 3600  # DATA_KEY_CACHE_AGE and DATA_KEY_MAX_STALE
LEASE = "a" * 32
TOKEN, SPENT = "gwr_" + "a" * 32, "gwr_" + "b" * 32


def new_key(**more: Any) -> str:
    client = boto3.client("kms", region_name=more.pop("region", REGION))
    arn: str = client.create_key()["KeyMetadata"]["Arn"]
    client.close()
    return arn


def restart(stack: Stack, **changed: Any) -> None:
    """Begin as a new process does, with changed settings, whose waiting moves the clock."""
    config = replace(stack.config, **changed)
    stack.services = services.build(config, clock=stack.clock, sleep=stack.clock.advance)
    install(stack.services)


def switch(stack: Stack, **changed: Any) -> str:
    """Have a new KMS key wrap from now on; give the previous one."""
    old = stack.config.key_id
    restart(stack, key_id=new_key(), decrypt_key_ids=(old,), **changed)
    return old


def rewrap(*arguments: str) -> Run:
    return run("rewrap_sessions", "--no-input", "--json", *arguments)


def can_open(stack: Stack, *keys: str) -> bool:
    """Return True if a process that knows the present KMS key only opens all of these."""
    restart(stack, decrypt_key_ids=())
    return all(SessionStore(key).get("token") == "t" for key in keys)


def blobs(stack: Stack) -> dict[str, bytes]:
    items = stack.items().items()
    return {name: item["encryptedKey"]["B"] for name, item in items if "encryptedKey" in item}


def test_everything_moves_and_the_old_key_is_no_longer_needed(stack: Stack) -> None:
    keys = [saved_key(token="t"), saved_key("7", token="t", **{ABOUT: {"browser": "Firefox"}})]
    run_sync(Leases(services.services()).claim(LEASE, "holder", seconds=10))
    run_sync(Leases(services.services()).complete(LEASE, "holder", b"result", keep=WAIT * 2))
    tokens = Tokens(services.services())
    run_sync(tokens.begin(NewToken(TOKEN, b"opens", NOW + DAY)))
    run_sync(tokens.begin(NewToken(SPENT, b"opens", NOW + DAY)))
    with suppress(FateUnknown):  # roto answers no transaction in full
        spend_token(SPENT, ttl=NOW + DAY)
    assert run_sync(SealedDocuments(services.services()).store("wiki", b"content", expected=None))
    before = stack.items()
    switch(stack)
    done = rewrap()
    assert (done.status, done.json["moved"], done.json["invalid"]) == (0, 9, 0)
    assert can_open(stack, *keys)
    assert run_sync(about.SessionMetadata(stack.services).read(id_of(keys[1]))) == {
        "browser": "Firefox"
    }
    assert (
        run_sync(Leases(services.services()).claim(LEASE, "other", seconds=10)).result == b"result"
    )
    tokens = Tokens(services.services())
    for token, content in ((TOKEN, b"opens"), (SPENT, b"spent")):
        found = run_sync(tokens.find(token))
        assert isinstance(found, SealedToken)
        assert found.content == content
    assert run_sync(tokens.answer(SPENT)) == b"answer"
    document = run_sync(SealedDocuments(services.services()).load("wiki"))
    assert document is not None
    assert document.content == b"content"
    for name, item in stack.items().items():  # Nothing else of a record has changed.
        changed = {"encryptedKey"} | ({"createdAt"} if name.startswith("data-key#") else set())
        kept = {key: value for key, value in item.items() if key not in changed}
        assert kept == {key: value for key, value in before[name].items() if key not in changed}


def test_each_distinct_data_key_is_rewrapped_and_compared_once(faulty: FaultyStack) -> None:
    for _ in range(5):
        saved_key(token="t")
    switch(faulty.stack)
    faulty.kms.heal()
    done = rewrap()
    # The one that is moved, and what became of it is known.
    assert (done.json["moved"], done.json["data_keys"]) == (6, 1)
    assert faulty.kms.operations == ["ReEncrypt", "Decrypt", "Decrypt"]


def test_data_key_in_use_moves_first_and_the_wait_for_the_fleet_counts_from_then(
    stack: Stack,
) -> None:
    saved_key(token="t")
    switch(stack)
    stack.clock.advance(7200)
    rewrap()
    item = stack.items()[f"data-key#django#{PERIOD}"]
    assert item["createdAt"] == {"N": str(NOW + 7200)}
    assert stack.clock() == NOW + 7200 + WAIT


def test_what_a_process_seals_with_the_old_blob_meanwhile_is_found_after_the_wait(
    stack: Stack,
) -> None:
    saved_key(token="t")
    other = stack.services
    run_sync(other.sealing_key())
    switch(stack)
    late: list[str] = []

    def time_passes(seconds: float) -> None:
        if not late:
            with running_as(other):
                late.append(saved_key(token="t"))
        stack.clock.advance(seconds)

    stack.services = replace(stack.services, sleep=time_passes)
    install(stack.services)
    done = rewrap()
    assert (done.json["moved"], done.json["passes"]) == (3, 3)
    assert can_open(stack, *late)


def test_interrupted_wait_is_resumed(stack: Stack) -> None:
    saved_key(token="t")
    switch(stack)

    def interrupt(_: float) -> None:
        if stack.clock() >= NOW + 1000:
            raise KeyboardInterrupt
        stack.clock.advance(1)

    install(replace(stack.services, sleep=interrupt))
    assert rewrap().status == 3
    install(stack.services)
    assert rewrap().status == 0
    assert stack.clock() == NOW + WAIT


def test_wait_can_be_left_out(stack: Stack) -> None:
    key = saved_key(token="t")
    switch(stack)
    assert rewrap("--no-wait").json["moved"] == 2
    assert stack.clock() == NOW
    assert can_open(stack, key)


def test_second_run_moves_nothing(stack: Stack) -> None:
    saved_key(token="t")
    switch(stack)
    assert [rewrap().json["moved"] for _ in range(2)] == [2, 0]


def test_strict_mode_moves_the_data_key_of_each_record_and_does_not_wait(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(data_key_period=0)
    keys = [saved_key(token="t"), saved_key("7", token="t"), saved_key(token="t")]
    switch(stack)
    done = rewrap()
    assert (done.json["moved"], done.json["data_keys"]) == (3, 3)
    assert stack.clock() == NOW
    assert can_open(stack, *keys)


def test_several_previous_keys_and_periods_move_at_once(stack: Stack) -> None:
    keys = [saved_key(token="t")]
    first = switch(stack)
    stack.clock.advance(DAY)
    keys.append(saved_key("7", token="t"))
    second = switch(stack)
    restart(stack, decrypt_key_ids=(first, second))
    assert rewrap().json["moved"] == 4
    assert can_open(stack, *keys)


def test_records_of_another_namespace_are_left_as_they_are(stack: Stack) -> None:
    restart(stack, namespace="shop")
    saved_key(token="t"), saved_key("7", token="t")
    theirs = blobs(stack)
    restart(stack, namespace="django")
    saved_key(token="t")
    switch(stack)
    done = rewrap()
    assert (done.json["moved"], done.json["invalid"]) == (2, 1)  # The anonymous one is asked about.
    assert {name: blob for name, blob in blobs(stack).items() if name in theirs} == theirs


def test_forged_data_key_is_not_moved(stack: Stack) -> None:
    saved_key(token="t")
    [item] = stack.sessions().values()
    stack.put_item({**item, "encryptedKey": {"B": b"forged"}})
    switch(stack)
    done = rewrap()
    assert (done.status, done.json["invalid"]) == (0, 1)
    assert next(iter(stack.sessions().values()))["encryptedKey"] == {"B": b"forged"}


def test_data_key_of_a_foreign_kms_key_is_not_rewrapped(stack: Stack) -> None:
    # Wrapped under our context by a key that KMS would let us use: moved, it would become valid.
    foreign = new_key()
    client = boto3.client("kms", region_name=REGION)
    response = client.generate_data_key(
        KeyId=foreign,
        KeySpec="AES_256",
        EncryptionContext={
            "purpose": "sessions_kms",
            "namespace": "django",
            "period": str(PERIOD),
        },
    )
    client.close()
    saved_key(token="t")
    [item] = stack.sessions().values()
    forged = response["CiphertextBlob"]
    stack.put_item({**item, "encryptedKey": {"B": forged}})
    switch(stack)
    assert rewrap().status == 0
    assert next(iter(stack.sessions().values()))["encryptedKey"] == {"B": forged}


def test_record_saved_in_the_meantime_is_kept(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = saved_key(token="t")
    switch(stack)
    put = rewrapping.Rewrapping._put

    def saved_meanwhile(self: Any, holder: rewrapping.Holder, new: bytes) -> bool:
        if "#" not in holder.item_id:
            save_changes(key, more=1)
        return put(self, holder, new)

    monkeypatch.setattr(rewrapping.Rewrapping, "_put", saved_meanwhile)
    assert rewrap("--no-wait").status == 0
    assert can_open(stack, key)
    assert SessionStore(key)["more"] == 1


def test_dry_run_counts_and_changes_nothing(stack: Stack) -> None:
    saved_key(token="t"), saved_key(token="t")
    switch(stack)
    before = stack.items()
    done = run("rewrap_sessions", "--dry-run", "--json")
    assert (done.status, done.json) == (0, {"found": 3})
    assert stack.items() == before


def test_without_previous_keys_there_is_nothing_to_move(stack: Stack) -> None:
    saved_key(token="t")
    assert (rewrap().status, rewrap().json) == (0, {"moved": 0})


def test_key_of_another_region_is_refused_with_a_remedy(stack: Stack) -> None:
    saved_key(token="t")
    switch(stack)
    restart(stack, decrypt_key_ids=(stack.config.key_id.replace(REGION, "us-east-1"),))
    done = rewrap()
    assert (done.status, "another Region" in done.err) == (1, True)


def test_previous_key_that_cannot_be_used_is_named_and_nothing_is_lost(stack: Stack) -> None:
    key = saved_key(token="t")
    old = switch(stack)
    client = boto3.client("kms", region_name=REGION)
    client.disable_key(KeyId=old)
    done = rewrap()
    assert done.status == 3
    assert "disabled" in done.err.lower()
    assert old in done.err
    client.enable_key(KeyId=old)
    client.close()
    assert rewrap().status == 0
    assert can_open(stack, key)


@pytest.mark.parametrize("operation", ["ReEncrypt", "UpdateItem", "Scan"])
def test_throttled_run_continues(faulty: FaultyStack, operation: str) -> None:
    key = saved_key(token="t")
    switch(faulty.stack)
    fault = error("ThrottlingException")
    proxy = faulty.kms if operation == "ReEncrypt" else faulty.table
    proxy.on(operation, fault, times=7)  # The SDK tries three times for one of ours.
    assert rewrap().json["moved"] == 2
    assert can_open(faulty.stack, key)


def test_outage_reports_that_another_run_continues(faulty: FaultyStack) -> None:
    key = saved_key(token="t")
    switch(faulty.stack)
    faulty.table.on("UpdateItem", error("ThrottlingException"))
    done = rewrap()
    assert (done.status, "Run the same command again" in done.err) == (3, True)
    faulty.table.heal()
    assert rewrap().status == 0
    assert can_open(faulty.stack, key)


def test_number_of_data_keys_remembered_is_bounded(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_kms.data_keys.keyring.REMEMBERED", 2)
    restart(stack, data_key_period=0)
    for _ in range(5):
        saved_key(token="t")
    old = switch(stack)
    config: Config = replace(stack.config, decrypt_key_ids=(old,))
    made = rewrapping.Rewrapping(stack.services, services.build_kms_keyring(config))
    assert sum(made.scan()) == 5
    assert len(made._known) == 2
    assert made.moved.moved == 5
    assert made.moved.asked == 5


@pytest.mark.parametrize("created", [{"createdAt": {"N": str(NOW + 20_000)}}, {}], ids=str)
def test_forged_time_of_the_published_key_delays_nothing(
    stack: Stack, created: dict[str, Any]
) -> None:
    saved_key(token="t")
    switch(stack)
    rewrap()
    published = stack.items()[f"data-key#django#{PERIOD}"]
    del published["createdAt"]
    stack.put_item(published | created)
    before = stack.clock()
    assert rewrap().status == 0
    assert stack.clock() <= before + WAIT
