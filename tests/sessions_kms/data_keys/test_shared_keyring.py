"""SharedKeyring: one data key a period for the whole fleet, whatever lies in its item."""

import dataclasses
import logging
from typing import Any

import pytest

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.data_keys.keyring import REMEMBERED, DataKey, KnownKeys, SharedKeyring
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


class Fleet:
    """A KMS and a table of published data keys, which all processes share."""

    def __init__(self) -> None:
        self.kms = FakeKMS()
        self.table = FakeDataKeyTable()

    def wrap(self, period: int = PERIOD, **options: Any) -> DataKey:
        """Return a data key that is not published."""
        return run_sync(kms_keyring(self.kms, **options).generate(period))

    def plant(self, encrypted: bytes) -> None:
        """Publish a blob as the data key of the period."""
        self.table.keys[PERIOD] = PublishedKey(PERIOD, encrypted, NOW, NOW + DAY)

    def process(self, now: float = NOW, **options: Any) -> SharedKeyring:
        """Return the keyring of one process, by its clock."""
        direct = kms_keyring(self.kms, **options)
        return SharedKeyring(direct, self.table.items, period_length=DAY, clock=FakeClock(now))

    def generate(self, now: float = NOW, **options: Any) -> DataKey:
        """Return the data key of the period that a process gets."""
        return run_sync(self.process(now, **options).generate(PERIOD))


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def test_first_process_publishes_its_data_key(fleet: Fleet) -> None:
    key = fleet.generate(NOW + 0.9)
    assert fleet.table.keys == {PERIOD: PublishedKey(PERIOD, key.encrypted, NOW, PERIOD + 2 * DAY)}
    assert key.period == PERIOD
    assert [call.operation for call in fleet.kms.calls] == ["generate_data_key", "decrypt"]


def test_next_one_adopts_the_published_data_key(fleet: Fleet) -> None:
    first = fleet.generate()
    assert fleet.generate() == first
    assert (fleet.kms.count("generate_data_key"), fleet.kms.count("decrypt")) == (1, 2)


def test_processes_with_skewed_clocks_share_a_key(fleet: Fleet) -> None:
    first = fleet.generate(NOW + 290)
    assert fleet.generate(NOW - 290) == first


def test_loser_of_the_race_adopts_and_discards_its_own(fleet: Fleet) -> None:
    winner = fleet.wrap()
    fleet.table.before_put = lambda _: fleet.plant(winner.encrypted)
    assert fleet.generate() == winner
    assert fleet.table.puts == 0


def test_racing_threads_publish_one_data_key(fleet: Fleet) -> None:
    keys = together(16, lambda _: fleet.generate())
    assert set(keys) == {keys[0]}
    assert fleet.table.puts == 1


def test_crash_between_generating_and_publishing_leaves_no_trace(fleet: Fleet) -> None:
    def crash(_: PublishedKey) -> None:
        raise SystemExit

    fleet.table.before_put = crash
    with pytest.raises(SystemExit):
        fleet.generate()
    fleet.table.before_put = lambda _: None
    key = fleet.generate()
    assert fleet.table.keys[PERIOD].encrypted == key.encrypted


def test_lost_response_of_a_publish_is_recognised_without_unwrapping(fleet: Fleet) -> None:
    fleet.table.losing_responses = True
    key = fleet.generate()
    assert fleet.table.keys[PERIOD].encrypted == key.encrypted
    assert fleet.kms.count("decrypt") == 1


def test_item_deleted_after_the_lost_race_leaves_ours_to_serve(fleet: Fleet) -> None:
    class Vanishing(FakeDataKeyTable):
        def publish(self, key: PublishedKey) -> bool:
            return False

    fleet.table = Vanishing()
    key = fleet.generate()
    assert key.period == PERIOD
    assert len(fleet.kms.calls) == 2


def test_item_under_a_previous_kms_key_is_adopted(fleet: Fleet) -> None:
    old = fleet.wrap(key_id=OLD_KEY)
    fleet.plant(old.encrypted)
    assert fleet.generate(decrypt_key_ids=(OLD_KEY,)) == old
    assert fleet.table.puts == 0


@pytest.mark.parametrize("planted", ["stale", "forged"])
def test_invalid_blob_is_replaced_and_raises_an_alarm(
    fleet: Fleet, planted: str, caplog: pytest.LogCaptureFixture
) -> None:
    stale = fleet.wrap(PERIOD - DAY).encrypted
    fleet.plant(stale if planted == "stale" else b"forged")
    key = fleet.generate()
    assert key.period == PERIOD
    assert fleet.table.keys[PERIOD].encrypted == key.encrypted
    assert [(r.name, r.levelno) for r in caplog.records] == [
        ("sessions_kms.data_keys.keyring", logging.ERROR)
    ]
    assert f"{PERIOD} is invalid" in caplog.text
    assert "is replaced" in caplog.text
    assert "forged" not in caplog.text


def test_loser_of_a_replacement_adopts_the_winners_item(fleet: Fleet) -> None:
    fleet.plant(b"forged")
    winner = fleet.wrap()
    fleet.table.before_put = lambda _: fleet.plant(winner.encrypted)
    assert fleet.generate() == winner
    assert fleet.table.keys[PERIOD].encrypted == winner.encrypted


def test_lost_response_of_a_replacement_is_recognised(fleet: Fleet) -> None:
    fleet.plant(b"forged")
    fleet.table.losing_responses = True
    key = fleet.generate()
    assert fleet.table.keys[PERIOD].encrypted == key.encrypted
    assert fleet.kms.count("decrypt") == 2


def test_loser_of_a_replacement_by_another_invalid_blob_uses_its_own(fleet: Fleet) -> None:
    fleet.plant(b"forged")
    fleet.table.before_put = lambda _: fleet.plant(b"forged again")
    key = fleet.generate()
    assert (key.period, fleet.table.keys[PERIOD].encrypted) == (PERIOD, b"forged again")


def assert_own(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """Assert that writing continues with the process's own data key, and the item is unchanged."""
    before = dict(fleet.table.keys)
    key = fleet.generate(decrypt_key_ids=(OLD_KEY,))
    assert (key.period, key.kms_key_id) == (PERIOD, KEY)
    assert run_sync(kms_keyring(fleet.kms).unwrap(key.encrypted, PERIOD)) == key
    assert fleet.table.keys == before
    assert [(r.name, r.levelno) for r in caplog.records] == [
        ("sessions_kms.data_keys.keyring", logging.ERROR)
    ]
    assert f"{PERIOD} cannot be used" in caplog.text
    assert "uses its own data keys" in caplog.text


def test_item_under_a_foreign_kms_key_does_not_stop_writing(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.plant(fleet.wrap(key_id=FOREIGN_KEY).encrypted)
    assert_own(fleet, caplog)


def test_item_refused_by_a_previous_kms_key_does_not_stop_writing(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.plant(fleet.wrap(key_id=OLD_KEY).encrypted)
    fleet.kms.set_state(State.REFUSING, OLD_KEY)
    assert_own(fleet, caplog)


def test_malformed_item_does_not_stop_writing(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.table.malformed.add(PERIOD)
    assert_own(fleet, caplog)


def test_repaired_item_is_adopted_again(fleet: Fleet) -> None:
    keyring = fleet.process()
    fleet.table.malformed.add(PERIOD)
    own = run_sync(keyring.generate(PERIOD))
    assert own.period == PERIOD
    fleet.table.malformed.clear()
    mended = fleet.wrap()
    fleet.plant(mended.encrypted)
    assert run_sync(keyring.generate(PERIOD)) == mended != own


@pytest.mark.parametrize("published", [True, False])
def test_refusing_current_kms_key_stops_writing(fleet: Fleet, published: bool) -> None:
    if published:
        fleet.plant(fleet.wrap().encrypted)
    fleet.kms.set_state(State.REFUSING, KEY)
    with pytest.raises(KMSUnavailable) as caught:
        fleet.generate(decrypt_key_ids=(OLD_KEY,))
    assert caught.value.refused_key == KEY


@pytest.mark.parametrize("state", [State.UNREACHABLE, State.CUTTING, State.MISNAMING])
@pytest.mark.parametrize("published", [True, False])
def test_incomplete_response_of_kms_raises_and_keeps_the_item(
    fleet: Fleet, state: State, published: bool
) -> None:
    if published:
        fleet.plant(fleet.wrap().encrypted)
    before = dict(fleet.table.keys)
    fleet.kms.set_state(state)
    with pytest.raises(KMSUnavailable) as caught:
        fleet.generate()
    assert caught.value.refused_key is None
    assert fleet.table.keys == before


def test_previous_kms_key_out_of_reach_raises(fleet: Fleet) -> None:
    fleet.plant(fleet.wrap(key_id=OLD_KEY).encrypted)
    fleet.kms.set_state(State.UNREACHABLE, OLD_KEY)
    with pytest.raises(KMSUnavailable) as caught:
        fleet.generate(decrypt_key_ids=(OLD_KEY,))
    assert caught.value.refused_key is None


def test_unreachable_table_raises_before_a_kms_call(fleet: Fleet) -> None:
    fleet.table.reachable = False
    with pytest.raises(TableUnavailable):
        fleet.generate()
    assert fleet.kms.calls == []


def test_published_key_of_a_past_period_is_unwrapped_without_the_table(fleet: Fleet) -> None:
    key = fleet.wrap(PERIOD - DAY)
    fleet.table.reachable = False
    assert run_sync(fleet.process().unwrap(key.encrypted, PERIOD - DAY)) == key


def test_two_settings_of_the_context_do_not_share(fleet: Fleet) -> None:
    ours = fleet.generate()
    theirs = fleet.generate(stage="prod")
    assert dataclasses.replace(theirs, encrypted=b"") != dataclasses.replace(ours, encrypted=b"")


def test_only_the_most_recent_keys_are_remembered() -> None:
    known: KnownKeys[int] = KnownKeys()
    for number in range(REMEMBERED + 2):
        known[number.to_bytes(4, "big"), 0] = number
    assert list(known.values()) == list(range(2, REMEMBERED + 2))
