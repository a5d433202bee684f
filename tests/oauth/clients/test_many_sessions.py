"""Consents of people with many sessions: their calls, duration, and which grants end."""

from collections import Counter

import pytest
from django.contrib.auth.models import User

from oauth.clients import live_grants
from oauth.clients.live_grants import COMPARED_MAX, ENDED_MAX, LIVE_MAX
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.services import services
from sessions_kms.session.links import LINKS
from sessions_kms.testing.dynamodb import Handle
from tests.oauth.support.grants import BACKEND, CONSENT, TOKENS, GrantWorld
from tests.sessions_kms.support.memory_dynamodb import refuse_write
from tests.sessions_kms.support.sessions import saved_id
from tests.support.clock import FakeClock

ROUND_TRIP = 0.005  # seconds
READS = ("Query user", "Query logout", "GetItem session", "GetItem about")
UNREDEEMED = 600  # seconds after which a grant is over whose code nobody redeemed


def count_calls(one: GrantWorld) -> Counter[str]:
    """Allow one more; return the calls that this took."""
    one.calls.clear()
    one.allow()
    return Counter(one.calls)


def test_consent_of_a_person_with_hundreds_of_sessions_is_fast_enough(
    one: GrantWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user or program that signs in each time and never signs out."""
    passing = FakeClock()
    monkeypatch.setattr(deadline, "monotonic", passing)

    def respond_slowly(handle: Handle) -> object:
        passing.advance(ROUND_TRIP)
        return handle()

    for _ in range(500):
        saved_id("7")
    for call in READS:
        one.world.table.on(call, respond_slowly)
    began = passing()
    with deadline.request():
        assert one.lives(one.begin())
    assert passing() - began < 10 * ROUND_TRIP


def test_no_other_session_of_the_person_is_read(one: GrantWorld) -> None:
    for _ in range(LIVE_MAX):
        saved_id("7")
    one.begin()
    calls = count_calls(one)
    assert calls["GetItem session"] == calls["GetItem about"] == 0
    assert calls["Query user"] + calls["Query logout"] == 3


def test_browser_sessions_hide_no_grant_from_the_limit(one: GrantWorld) -> None:
    """However often its person signed in since."""
    grants = []
    for _ in range(LIVE_MAX):
        one.clock.advance(1)
        grants.append(one.begin())
    for _ in range(600):
        one.clock.advance(1)
        saved_id("7")
    grants[0] = one.refresh(grants[0].refresh_token)
    grants += [one.begin(), one.begin()]
    assert [one.lives(each) for each in grants] == [True, False, False, *[True] * 49]


def test_grant_without_labels_counts_too(one: GrantWorld) -> None:
    """Its words are written if that can be done at that moment."""
    first = one.begin()
    for item_id in [each for each in one.items if each.startswith("about#")]:
        del one.items[item_id]
    for _ in range(LIVE_MAX):
        one.clock.advance(1)
        last = one.allow()
    assert not one.lives(first)
    assert one.redeem(last)


def test_concurrent_refreshes_do_not_delay_a_consent(one: GrantWorld) -> None:
    """Nor does a response that was lost on its way, as that of a process which was killed."""
    grants = [one.begin() for _ in range(LIVE_MAX)]
    for each in grants:
        one.refresh(each.refresh_token)
    assert one.lives(one.begin())
    assert sum(map(one.lives, grants)) == LIVE_MAX - 1


@pytest.mark.parametrize(
    "call", ["Query user", "Query logout", "GetItem session", "DeleteItem session"]
)
def test_in_an_outage_nothing_is_allowed(one: GrantWorld, call: str) -> None:
    for _ in range(LIVE_MAX):
        one.begin()
    before = one.kinds()
    one.world.table.on(call, refuse_write)
    with pytest.raises(StoreUnavailable):
        one.allow()
    assert one.kinds() == before
    one.world.table.heal()
    assert one.allow()


def test_abandoned_consents_hide_no_grant_and_cost_no_further_reads(one: GrantWorld) -> None:
    """The table keeps what is over for days, and so may have more of it than is read."""
    one.world.table.stop_index()
    hidden = []
    for _ in range(LIVE_MAX):
        one.clock.advance(1)
        hidden.append(one.id_of(one.begin()))
    for _ in range(COMPARED_MAX - 10):
        one.allow()
    one.clock.advance(UNREDEEMED)
    one.world.table.catch_up()
    for ended in (ENDED_MAX, 2 * ENDED_MAX):
        calls = count_calls(one)
        assert calls["GetItem session"] == COMPARED_MAX + ENDED_MAX
        assert [each in one.items for each in hidden] == [
            place >= ended for place in range(LIVE_MAX)
        ]


def test_surplus_grants_are_ended_a_few_at_a_time(one: GrantWorld) -> None:
    """More were allowed at one moment, say, than the index showed."""
    one.world.table.stop_index()
    many = [one.begin() for _ in range(LIVE_MAX + 3 * ENDED_MAX)]
    one.world.table.catch_up()
    for _ in range(5):
        one.clock.advance(1)
        assert count_calls(one)["DeleteItem session"] <= ENDED_MAX
    assert sum(map(one.lives, many)) == LIVE_MAX - 5


def test_grants_of_others_are_not_among_them(one: GrantWorld) -> None:
    one.begin()
    run_sync(
        one.grants.allow(User(pk=77, username="eve"), CONSENT, "corp", TOKENS, backend=BACKEND)
    )
    names = {each.split("#")[2] for each in one.items if each.startswith("logout#")}
    assert len(names) == 2
    for person in ("7", "77"):
        (found,) = run_sync(live_grants.list_grants(services(), person))
        assert found.row.user_id == person


def test_refresh_and_call_keep_the_name_that_a_grant_is_found_by(one: GrantWorld) -> None:
    issued = one.begin()
    before = one.session(issued.access_token)
    issued = one.refresh(issued.refresh_token)
    after = one.session(issued.access_token)
    assert before is not None
    assert after is not None
    assert before[LINKS] == after[LINKS]
    assert len(after[LINKS]) == 1
    assert [each.row.id for each in run_sync(live_grants.list_grants(services(), "7"))] == [
        one.id_of(issued)
    ]


def test_list_has_an_end(one: GrantWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_grants, "LISTED_MAX", 2)
    ids: list[str] = []
    for _ in range(3):
        one.clock.advance(1)
        ids.insert(0, one.id_of(one.begin()))
    assert [each.row.id for each in run_sync(live_grants.list_grants(services(), "7"))] == ids[:2]
