"""A store in two Regions: failover, and the cost of last-writer-wins.

`serve` says which Region answers the requests, `replicate` lets the replication catch up.
docs/multi-region.md tells the same to those who operate it.
"""

import uuid
from collections.abc import Iterator

import pytest
from django.contrib.sessions.backends.base import UpdateError
from pytest_django import Settings

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import KMSUnavailable, SessionMoved, StoreUnavailable
from sessions_kms.format.item_types import session_id
from sessions_kms.operations.listing import Inspection
from sessions_kms.sealed_items.leases import Leases
from sessions_kms.services import services
from tests.sessions_kms.support.fakes import State
from tests.sessions_kms.support.regions import (
    HOME,
    OTHER,
    SINGLE,
    TwoRegions,
    two_regions,
)
from tests.sessions_kms.support.sessions import save_session
from tests.support.clock import FakeClock

DAY = 24 * 3600


@pytest.fixture
def regions(
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    roto_url: str,
) -> Iterator[TwoRegions]:
    settings.SESSION_ENGINE = "sessions_kms.backend"
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", roto_url)
    with two_regions(f"sessions-{uuid.uuid4().hex[:12]}", clock) as made:
        yield made


# What a failover keeps


def test_session_is_read_saved_and_ended_in_the_other_region(
    regions: TwoRegions, clock: FakeClock
) -> None:
    key = save_session(_auth_user_id="7", token="t").session_key
    regions.table.replicate()

    regions.restart(OTHER, clock)  # Nothing is cached there: KMS unwraps by the replica key.
    there = SessionStore(key)
    assert there["token"] == "t"
    there["token"] = "renewed"
    there.save()
    assert SessionStore(key)["token"] == "renewed"
    rows = run_sync(Inspection(services()).list_user_sessions("7")).rows
    assert [row.created_at.timestamp() for row in rows] == [int(clock())]
    there.delete()
    assert SessionStore(key).load() == {}


def test_after_failback_the_home_region_has_the_other_regions_writes(
    regions: TwoRegions, clock: FakeClock
) -> None:
    kept, ended = save_session(n=1).session_key, save_session(n=1).session_key
    regions.table.replicate()
    regions.serve(OTHER)
    session = SessionStore(kept)
    session["n"] = 2
    session.save()
    SessionStore(ended).delete()
    created = save_session(n=3).session_key
    regions.table.replicate()

    regions.serve(HOME)
    assert SessionStore(kept)["n"] == 2
    assert SessionStore(ended).load() == {}
    assert SessionStore(created)["n"] == 3


def test_key_of_a_session_is_changed_in_the_other_region(regions: TwoRegions) -> None:
    session = save_session(n=1)
    old = session.session_key
    regions.table.replicate()
    regions.serve(OTHER)
    there = SessionStore(old)
    there.cycle_key()
    regions.table.replicate()
    regions.serve(HOME)
    with pytest.raises(SessionMoved):
        SessionStore(old).load()
    assert SessionStore(there.session_key)["n"] == 1


def test_published_data_key_serves_both_regions(regions: TwoRegions, clock: FakeClock) -> None:
    save_session(n=1)
    regions.table.replicate()
    before = regions.table.items(OTHER)
    regions.restart(OTHER, clock)
    save_session(n=2)
    published = {name for name in regions.table.items(OTHER) if name.startswith("data-key#")}
    assert published == {name for name in before if name.startswith("data-key#")}
    wrapped = [
        item["encryptedKey"]["B"]
        for item in regions.table.items(OTHER).values()
        if "encryptedKey" in item
    ]
    assert len(wrapped) == 3
    assert len(set(wrapped)) == 1


def test_two_regions_that_begin_a_period_at_once_read_each_others_sessions(
    regions: TwoRegions, clock: FakeClock
) -> None:
    clock.advance(DAY)
    regions.serve(HOME)
    here = save_session(n=1).session_key
    regions.serve(OTHER)
    there = save_session(n=2).session_key  # Nothing was replicated: it published its own data key.
    regions.table.replicate()
    for region in (HOME, OTHER):
        regions.restart(region, clock)
        assert (SessionStore(here)["n"], SessionStore(there)["n"]) == (1, 2)
        save_session(n=3)


def test_finished_lease_is_replicated_to_the_other_region(regions: TwoRegions) -> None:
    leases = Leases(services())
    assert run_sync(leases.claim("secret", "here", seconds=10)).held
    assert run_sync(leases.complete("secret", "here", b"tokens", keep=60))
    regions.table.replicate()
    regions.serve(OTHER)
    assert run_sync(Leases(services()).claim("secret", "there", seconds=10)).result == b"tokens"


def test_lease_of_a_region_that_went_down_is_taken_over_when_it_ends(
    regions: TwoRegions, clock: FakeClock
) -> None:
    assert run_sync(Leases(services()).claim("secret", "here", seconds=10)).held
    regions.table.replicate()
    regions.serve(OTHER)
    claim = run_sync(Leases(services()).claim("secret", "there", seconds=10))
    assert not claim.held
    clock.advance(claim.wait)
    assert run_sync(Leases(services()).claim("secret", "there", seconds=10)).held


def test_not_before_is_in_force_in_every_region(regions: TwoRegions, clock: FakeClock) -> None:
    key = save_session(n=1).session_key
    assert run_sync(
        regions.services[HOME].not_before_items.raise_to(int(clock()), latest=int(clock()))
    )
    regions.table.replicate()
    regions.serve(OTHER)
    clock.advance(30)
    assert SessionStore(key).load() == {}


def test_replication_that_arrives_during_a_request_is_merged(regions: TwoRegions) -> None:
    key = save_session(a=1).session_key
    regions.table.replicate()
    here = SessionStore(key)
    here["b"] = 2
    regions.serve(OTHER)
    there = SessionStore(key)
    there["c"] = 3
    there.save()
    regions.table.replicate()

    regions.serve(HOME)
    here.save()
    assert dict(SessionStore(key).items()) == {"a": 1, "b": 2, "c": 3}


# The keys of the Regions


@pytest.mark.parametrize("region", [HOME, OTHER])
def test_key_disabled_in_one_region_serves_on_in_the_others(
    regions: TwoRegions, clock: FakeClock, region: str
) -> None:
    key = save_session(n=1).session_key
    regions.table.replicate()
    regions.kms.set_state(State.REFUSING, regions.keys[region])
    regions.restart(region, clock)
    with pytest.raises(KMSUnavailable):
        SessionStore(key).load()
    (other,) = {HOME, OTHER} - {region}
    regions.restart(other, clock)
    assert SessionStore(key)["n"] == 1


def test_key_of_one_region_only_leaves_the_other_without_its_sessions(
    regions: TwoRegions, clock: FakeClock
) -> None:
    regions.restart(HOME, clock, key_id=SINGLE)
    key = save_session(n=1).session_key
    regions.table.replicate()
    regions.restart(OTHER, clock)
    with pytest.raises(StoreUnavailable):
        SessionStore(key).load()
    # While the home Region's KMS can be reached, naming its key there helps.
    regions.restart(OTHER, clock, decrypt_key_ids=(SINGLE,))
    assert SessionStore(key)["n"] == 1


# What last-writer-wins costs: each of these holds within one Region


def test_cost_changes_of_two_regions_at_once_are_not_merged(regions: TwoRegions) -> None:
    key = save_session(a=1).session_key
    regions.table.replicate()
    here = SessionStore(key)
    here["b"] = 2
    here.save()
    regions.serve(OTHER)
    there = SessionStore(key)
    there["c"] = 3
    there.save()
    regions.table.replicate()
    for region in (HOME, OTHER):
        regions.serve(region)
        assert dict(SessionStore(key).items()) == {"a": 1, "c": 3}  # Not b.


def test_cost_session_ended_in_one_region_is_revived_by_a_later_save_in_another(
    regions: TwoRegions,
) -> None:
    key = save_session(a=1).session_key
    regions.table.replicate()
    SessionStore(key).delete()
    regions.serve(OTHER)
    there = SessionStore(key)
    there["b"] = 2
    there.save()
    regions.table.replicate()
    regions.serve(HOME)
    assert dict(SessionStore(key).items()) == {"a": 1, "b": 2}


def test_session_ended_after_a_save_in_another_region_stays_ended(regions: TwoRegions) -> None:
    key = save_session(a=1).session_key
    regions.table.replicate()
    regions.serve(OTHER)
    there = SessionStore(key)
    there["b"] = 2
    there.save()
    regions.serve(HOME)
    SessionStore(key).delete()
    regions.table.replicate()
    for region in (HOME, OTHER):
        regions.serve(region)
        assert SessionStore(key).load() == {}
    there["c"] = 3
    with pytest.raises(UpdateError):
        there.save()


def test_cost_session_whose_key_was_changed_lives_on_under_the_old_key(
    regions: TwoRegions,
) -> None:
    session = save_session(a=1)
    old = session.session_key
    regions.table.replicate()
    session.cycle_key()
    regions.serve(OTHER)
    there = SessionStore(old)
    there["b"] = 2
    there.save()
    regions.table.replicate()
    regions.serve(HOME)
    assert SessionStore(session.session_key)["a"] == 1
    assert SessionStore(old)["b"] == 2


def test_cost_lease_is_held_in_both_regions(regions: TwoRegions) -> None:
    assert run_sync(Leases(services()).claim("secret", "here", seconds=10)).held
    regions.serve(OTHER)
    assert run_sync(Leases(services()).claim("secret", "there", seconds=10)).held


def test_cost_not_before_raised_in_two_regions_may_end_up_lower(
    regions: TwoRegions, clock: FakeClock
) -> None:
    now = int(clock())
    assert run_sync(regions.services[HOME].not_before_items.raise_to(now, latest=now))
    assert run_sync(regions.services[OTHER].not_before_items.raise_to(now - 60, latest=now))
    clock.advance(30)
    assert run_sync(regions.services[HOME].not_before.moment()) == now
    regions.table.replicate()
    clock.advance(30)
    assert run_sync(regions.services[OTHER].not_before.moment()) == now - 60
    assert (
        run_sync(regions.services[HOME].not_before.moment()) == now
    )  # Only processes that saw it know.


def test_cost_unreplicated_writes_are_lost_after_a_failover(
    regions: TwoRegions,
) -> None:
    key = save_session(a=1).session_key
    regions.table.replicate()
    session = SessionStore(key)
    session["a"] = 2
    session.save()
    new = save_session(b=1).session_key
    regions.serve(OTHER)
    assert SessionStore(key)["a"] == 1
    assert SessionStore(new).load() == {}
    regions.table.replicate()  # The home Region is back: its writes arrive late.
    assert SessionStore(key)["a"] == 2
    assert SessionStore(new)["b"] == 1


# The model itself


def test_regions_are_apart_until_replication(regions: TwoRegions) -> None:
    name = session_id("django", save_session(n=1).session_key or "")
    assert regions.table.item(name, HOME) is not None
    assert regions.table.item(name, OTHER) is None
    regions.table.replicate()
    assert regions.table.items(HOME) == regions.table.items(OTHER)
