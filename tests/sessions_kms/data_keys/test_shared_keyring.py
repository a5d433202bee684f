"""SharedKeyring: one data key a period for the whole fleet, whatever lies in its item."""

import dataclasses
import logging

import pytest

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.data_keys.keyring import REMEMBERED, KMSKeyring, KnownKeys, SharedKeyring
from sessions_kms.exceptions import KMSUnavailable, TableUnavailable
from sessions_kms.storage.published_keys import PublishedKey
from tests.sessions_kms.support.fakes import (
    FOREIGN_KEY,
    KEY,
    OLD_KEY,
    FakeDataKeyTable,
    FakeKMS,
    State,
    together,
)
from tests.sessions_kms.support.fleet import DAY, NOW, PERIOD, kms_keyring
from tests.support.clock import FakeClock


@pytest.fixture
def kms() -> FakeKMS:
    return FakeKMS()


@pytest.fixture
def table() -> FakeDataKeyTable:
    return FakeDataKeyTable()


def shared_keyring(keyring: KMSKeyring, table: FakeDataKeyTable, now: float = NOW) -> SharedKeyring:
    return SharedKeyring(keyring, table.items, period_length=DAY, clock=FakeClock(now))


def plant(table: FakeDataKeyTable, encrypted: bytes) -> PublishedKey:
    table.keys[PERIOD] = PublishedKey(PERIOD, encrypted, NOW, NOW + DAY)
    return table.keys[PERIOD]


def test_first_process_publishes_its_data_key(kms: FakeKMS, table: FakeDataKeyTable) -> None:
    key = run_sync(shared_keyring(kms_keyring(kms), table, NOW + 0.9).generate(PERIOD))
    assert table.keys == {PERIOD: PublishedKey(PERIOD, key.encrypted, NOW, PERIOD + 2 * DAY)}
    assert key.period == PERIOD
    assert [call.operation for call in kms.calls] == ["generate_data_key", "decrypt"]


def test_next_one_adopts_the_published_data_key(kms: FakeKMS, table: FakeDataKeyTable) -> None:
    first = run_sync(shared_keyring(kms_keyring(kms), table).generate(PERIOD))
    assert run_sync(shared_keyring(kms_keyring(kms), table).generate(PERIOD)) == first
    assert (kms.count("generate_data_key"), kms.count("decrypt")) == (1, 2)


def test_processes_with_skewed_clocks_share_a_key(kms: FakeKMS, table: FakeDataKeyTable) -> None:
    first = run_sync(shared_keyring(kms_keyring(kms), table, NOW + 290).generate(PERIOD))
    assert run_sync(shared_keyring(kms_keyring(kms), table, NOW - 290).generate(PERIOD)) == first


def test_loser_of_the_race_adopts_and_discards_its_own(
    kms: FakeKMS, table: FakeDataKeyTable
) -> None:
    winner = run_sync(kms_keyring(kms).generate(PERIOD))
    table.before_put = lambda _: plant(table, winner.encrypted)
    assert run_sync(shared_keyring(kms_keyring(kms), table).generate(PERIOD)) == winner
    assert table.puts == 0


def test_racing_threads_publish_one_data_key(kms: FakeKMS, table: FakeDataKeyTable) -> None:
    keys = together(
        16, lambda _: run_sync(shared_keyring(kms_keyring(kms), table).generate(PERIOD))
    )
    assert set(keys) == {keys[0]}
    assert table.puts == 1


def test_crash_between_generating_and_publishing_leaves_no_trace(
    kms: FakeKMS, table: FakeDataKeyTable
) -> None:
    def crash(_: PublishedKey) -> None:
        raise SystemExit

    table.before_put = crash
    with pytest.raises(SystemExit):
        run_sync(shared_keyring(kms_keyring(kms), table).generate(PERIOD))
    table.before_put = lambda _: None
    key = run_sync(shared_keyring(kms_keyring(kms), table).generate(PERIOD))
    assert table.keys[PERIOD].encrypted == key.encrypted


def test_lost_response_of_a_publish_is_recognised_without_unwrapping(
    kms: FakeKMS, table: FakeDataKeyTable
) -> None:
    table.losing_responses = True
    key = run_sync(shared_keyring(kms_keyring(kms), table).generate(PERIOD))
    assert table.keys[PERIOD].encrypted == key.encrypted
    assert kms.count("decrypt") == 1


def test_item_deleted_after_the_lost_race_leaves_ours_to_serve(
    kms: FakeKMS, table: FakeDataKeyTable
) -> None:
    class Vanishing(FakeDataKeyTable):
        def publish(self, key: PublishedKey) -> bool:
            return False

    key = run_sync(shared_keyring(kms_keyring(kms), Vanishing()).generate(PERIOD))
    assert key.period == PERIOD
    assert len(kms.calls) == 2


def test_item_under_a_previous_kms_key_is_adopted(kms: FakeKMS, table: FakeDataKeyTable) -> None:
    old = run_sync(kms_keyring(kms, key_id=OLD_KEY).generate(PERIOD))
    plant(table, old.encrypted)
    moved = kms_keyring(kms, decrypt_key_ids=(OLD_KEY,))
    assert run_sync(shared_keyring(moved, table).generate(PERIOD)) == old
    assert table.puts == 0


@pytest.mark.parametrize("planted", ["stale", "forged"])
def test_invalid_blob_is_replaced_and_raises_an_alarm(
    kms: FakeKMS, table: FakeDataKeyTable, planted: str, caplog: pytest.LogCaptureFixture
) -> None:
    stale = run_sync(kms_keyring(kms).generate(PERIOD - DAY)).encrypted
    plant(table, stale if planted == "stale" else b"forged")
    key = run_sync(shared_keyring(kms_keyring(kms), table).generate(PERIOD))
    assert key.period == PERIOD
    assert table.keys[PERIOD].encrypted == key.encrypted
    assert [(r.name, r.levelno) for r in caplog.records] == [
        ("sessions_kms.data_keys.keyring", logging.ERROR)
    ]
    assert f"{PERIOD} is invalid" in caplog.text
    assert "is replaced" in caplog.text
    assert "forged" not in caplog.text


def test_loser_of_a_replacement_adopts_the_winners_item(
    kms: FakeKMS, table: FakeDataKeyTable
) -> None:
    plant(table, b"forged")
    winner = run_sync(kms_keyring(kms).generate(PERIOD))
    table.before_put = lambda _: plant(table, winner.encrypted)
    assert run_sync(shared_keyring(kms_keyring(kms), table).generate(PERIOD)) == winner
    assert table.keys[PERIOD].encrypted == winner.encrypted


def test_lost_response_of_a_replacement_is_recognised(
    kms: FakeKMS, table: FakeDataKeyTable
) -> None:
    plant(table, b"forged")
    table.losing_responses = True
    key = run_sync(shared_keyring(kms_keyring(kms), table).generate(PERIOD))
    assert table.keys[PERIOD].encrypted == key.encrypted
    assert kms.count("decrypt") == 2


def test_loser_of_a_replacement_by_another_invalid_blob_uses_its_own(
    kms: FakeKMS, table: FakeDataKeyTable
) -> None:
    plant(table, b"forged")
    table.before_put = lambda _: plant(table, b"forged again")
    key = run_sync(shared_keyring(kms_keyring(kms), table).generate(PERIOD))
    assert (key.period, table.keys[PERIOD].encrypted) == (PERIOD, b"forged again")


def assert_own(
    keyring: KMSKeyring, table: FakeDataKeyTable, caplog: pytest.LogCaptureFixture
) -> None:
    """Assert that writing continues with the process's own data key, and the item is unchanged."""
    before = dict(table.keys)
    key = run_sync(shared_keyring(keyring, table).generate(PERIOD))
    assert (key.period, key.kms_key_id) == (PERIOD, KEY)
    assert run_sync(keyring.unwrap(key.encrypted, PERIOD)) == key
    assert table.keys == before
    assert [(r.name, r.levelno) for r in caplog.records] == [
        ("sessions_kms.data_keys.keyring", logging.ERROR)
    ]
    assert f"{PERIOD} cannot be used" in caplog.text
    assert "uses its own data keys" in caplog.text


def test_item_under_a_foreign_kms_key_does_not_stop_writing(
    kms: FakeKMS, table: FakeDataKeyTable, caplog: pytest.LogCaptureFixture
) -> None:
    plant(table, run_sync(kms_keyring(kms, key_id=FOREIGN_KEY).generate(PERIOD)).encrypted)
    assert_own(kms_keyring(kms, decrypt_key_ids=(OLD_KEY,)), table, caplog)


def test_item_refused_by_a_previous_kms_key_does_not_stop_writing(
    kms: FakeKMS, table: FakeDataKeyTable, caplog: pytest.LogCaptureFixture
) -> None:
    plant(table, run_sync(kms_keyring(kms, key_id=OLD_KEY).generate(PERIOD)).encrypted)
    kms.set_state(State.REFUSING, OLD_KEY)
    assert_own(kms_keyring(kms, decrypt_key_ids=(OLD_KEY,)), table, caplog)


def test_malformed_item_does_not_stop_writing(
    kms: FakeKMS, table: FakeDataKeyTable, caplog: pytest.LogCaptureFixture
) -> None:
    table.malformed.add(PERIOD)
    assert_own(kms_keyring(kms), table, caplog)


def test_repaired_item_is_adopted_again(kms: FakeKMS, table: FakeDataKeyTable) -> None:
    keyring = shared_keyring(kms_keyring(kms), table)
    table.malformed.add(PERIOD)
    own = run_sync(keyring.generate(PERIOD))
    assert own.period == PERIOD
    table.malformed.clear()
    mended = run_sync(kms_keyring(kms).generate(PERIOD))
    plant(table, mended.encrypted)
    assert run_sync(keyring.generate(PERIOD)) == mended != own


@pytest.mark.parametrize("published", [True, False])
def test_refusing_current_kms_key_stops_writing(
    kms: FakeKMS, table: FakeDataKeyTable, published: bool
) -> None:
    if published:
        plant(table, run_sync(kms_keyring(kms).generate(PERIOD)).encrypted)
    kms.set_state(State.REFUSING, KEY)
    with pytest.raises(KMSUnavailable) as caught:
        run_sync(
            shared_keyring(kms_keyring(kms, decrypt_key_ids=(OLD_KEY,)), table).generate(PERIOD)
        )
    assert caught.value.refused_key == KEY


@pytest.mark.parametrize("state", [State.UNREACHABLE, State.CUTTING, State.MISNAMING])
@pytest.mark.parametrize("published", [True, False])
def test_incomplete_response_of_kms_raises_and_keeps_the_item(
    kms: FakeKMS, table: FakeDataKeyTable, state: State, published: bool
) -> None:
    if published:
        plant(table, run_sync(kms_keyring(kms).generate(PERIOD)).encrypted)
    before = dict(table.keys)
    kms.set_state(state)
    with pytest.raises(KMSUnavailable) as caught:
        run_sync(shared_keyring(kms_keyring(kms), table).generate(PERIOD))
    assert caught.value.refused_key is None
    assert table.keys == before


def test_previous_kms_key_out_of_reach_raises(kms: FakeKMS, table: FakeDataKeyTable) -> None:
    plant(table, run_sync(kms_keyring(kms, key_id=OLD_KEY).generate(PERIOD)).encrypted)
    kms.set_state(State.UNREACHABLE, OLD_KEY)
    with pytest.raises(KMSUnavailable) as caught:
        run_sync(
            shared_keyring(kms_keyring(kms, decrypt_key_ids=(OLD_KEY,)), table).generate(PERIOD)
        )
    assert caught.value.refused_key is None


def test_unreachable_table_raises_before_a_kms_call(kms: FakeKMS, table: FakeDataKeyTable) -> None:
    table.reachable = False
    with pytest.raises(TableUnavailable):
        run_sync(shared_keyring(kms_keyring(kms), table).generate(PERIOD))
    assert kms.calls == []


def test_published_key_of_a_past_period_is_unwrapped_without_the_table(
    kms: FakeKMS, table: FakeDataKeyTable
) -> None:
    key = run_sync(kms_keyring(kms).generate(PERIOD - DAY))
    table.reachable = False
    assert (
        run_sync(shared_keyring(kms_keyring(kms), table).unwrap(key.encrypted, PERIOD - DAY)) == key
    )


def test_two_settings_of_the_context_do_not_share(kms: FakeKMS, table: FakeDataKeyTable) -> None:
    ours = run_sync(shared_keyring(kms_keyring(kms), table).generate(PERIOD))
    theirs = run_sync(shared_keyring(kms_keyring(kms, stage="prod"), table).generate(PERIOD))
    assert dataclasses.replace(theirs, encrypted=b"") != dataclasses.replace(ours, encrypted=b"")


def test_only_the_most_recent_keys_are_remembered() -> None:
    known: KnownKeys[int] = KnownKeys()
    for number in range(REMEMBERED + 2):
        known[number.to_bytes(4, "big"), 0] = number
    assert list(known.values()) == list(range(2, REMEMBERED + 2))
