"""A grant is refreshed ten times in any minute; one more is refused, and spends nothing."""

import random
from functools import partial
from typing import Any

import pytest

from oauth.clients import grant_end
from oauth.clients.rules.errors import InvalidScope, TooManyRefreshes
from oauth.clients.sealed_grant import TokenResponse
from oauth.clients.token_pair import (
    REFRESH_WINDOW,
    REFRESHES_MAX,
    recent_refreshes,
    seconds_to_wait,
)
from sessions_kms.exceptions import StoreUnavailable
from tests.oauth.support.grants import GrantWorld, install_world
from tests.sessions_kms.support.fakes import together
from tests.sessions_kms.support.memory_dynamodb import refuse_write
from tests.support.cases import each_case

NOW = 1_800_000_000.25


def refresh_times(
    one: GrantWorld, held: TokenResponse, times: int, *, every: float = 0
) -> TokenResponse:
    for _ in range(times):
        one.clock.advance(every)
        held = one.refresh(held.refresh_token)
    return held


def refresh(one: GrantWorld, shown: str, _: int) -> TokenResponse:
    return one.refresh(shown)


def wait_told(one: GrantWorld, held: TokenResponse) -> int:
    """Return the Retry-After of a rejected refresh, which is at most a minute."""
    with pytest.raises(TooManyRefreshes) as caught:
        one.refresh(held.refresh_token)
    assert 1 <= caught.value.retry_after <= REFRESH_WINDOW
    return caught.value.retry_after


def test_ten_at_once_succeed_and_the_eleventh_gets_retry_after(one: GrantWorld) -> None:
    held = refresh_times(one, one.begin(), REFRESHES_MAX)
    assert wait_told(one, held) == 60
    one.clock.advance(59)
    assert wait_told(one, held) == 1
    one.clock.advance(1)
    assert one.lives(one.refresh(held.refresh_token))


@pytest.mark.parametrize("fraction", [0.0001, 0.4999999, 0.9996])
def test_retry_after_is_at_most_a_minute(one: GrantWorld, fraction: float) -> None:
    one.clock.advance(fraction)
    held = refresh_times(one, one.begin(), REFRESHES_MAX)
    one.clock.advance(wait_told(one, held))
    assert one.refresh(held.refresh_token)


def test_rejected_refresh_reads_one_item_and_writes_nothing(one: GrantWorld) -> None:
    held = refresh_times(one, one.begin(), REFRESHES_MAX)
    assert grant_end.drain_deletions(10)
    before = dict(one.items)
    for _ in range(20):
        one.calls.clear()
        wait_told(one, held)
        assert one.calls == ["GetItem token"]
    assert one.items == before
    assert one.lives(held)


def test_code_counts_for_nothing(one: GrantWorld) -> None:
    held = refresh_times(one, one.begin(), REFRESHES_MAX)
    assert wait_told(one, held)
    refresh_times(one, one.begin(), REFRESHES_MAX)


def test_another_grant_of_the_person_is_not_delayed(one: GrantWorld) -> None:
    held, other = one.begin(), one.begin()
    wait_told(one, refresh_times(one, held, REFRESHES_MAX))
    assert one.lives(refresh_times(one, other, REFRESHES_MAX))


def test_repeated_response_is_not_counted(one: GrantWorld) -> None:
    first = one.begin()
    held = one.refresh(first.refresh_token)
    for _ in range(30):
        assert one.refresh(first.refresh_token).refresh_token == held.refresh_token
    held = refresh_times(one, held, REFRESHES_MAX - 1)
    wait_told(one, held)


def test_many_at_once_with_one_token_count_once(one: GrantWorld) -> None:
    held = one.begin()
    for _ in range(3):
        outcomes = together(16, partial(refresh, one, held.refresh_token))
        pairs = [each for each in outcomes if isinstance(each, TokenResponse)]
        assert len(pairs) == 16
        assert len({each.refresh_token for each in pairs}) == 1
        held = pairs[0]
    held = refresh_times(one, held, REFRESHES_MAX - 3)
    wait_told(one, held)


@pytest.mark.parametrize(
    ("times", "every"),
    [
        pytest.param(REFRESHES_MAX, 0.2, id="a program that is restarted"),
        pytest.param(40, 6, id="every six seconds"),
    ],
)
def test_slower_refreshes_are_not_rejected(one: GrantWorld, times: int, every: float) -> None:
    """Whatever the age of its token: each start of a program is soon after the one before."""
    assert one.lives(refresh_times(one, one.begin(), times, every=every))


def test_all_processes_count_together() -> None:
    one = install_world(processes=3)
    held = one.begin()
    for number in range(REFRESHES_MAX):
        one.grants = one.started(number % 3)
        held = one.refresh(held.refresh_token)
    one.grants = one.started(1)
    wait_told(one, held)


@pytest.mark.parametrize("seed", range(3))
def test_limit_allows_ten_in_any_minute_and_no_more(seed: int) -> None:
    one = install_world(grant_timeout=30 * 86_400)
    chance = random.Random(seed)  # noqa: S311 - what is wanted is the same again
    held, given = one.begin(), list[float]()
    for _ in range(80):
        one.clock.advance(chance.choice((0, 0.125, 0.5, 3.75, 11, 25)))
        lately = [each for each in given if one.clock() - each < REFRESH_WINDOW]
        try:
            held = one.refresh(held.refresh_token)
        except TooManyRefreshes as refusal:
            assert len(lately) == REFRESHES_MAX
            one.clock.advance(refusal.retry_after)
            held = one.refresh(held.refresh_token)
        else:
            assert len(lately) < REFRESHES_MAX
        given.append(one.clock())
    for start in given:
        assert sum(start <= each < start + REFRESH_WINDOW for each in given) <= REFRESHES_MAX
    assert one.lives(held)


def test_refresh_whose_outcome_is_unknown_can_be_made_later(one: GrantWorld) -> None:
    """One that failed is not counted: nothing was written."""
    held = refresh_times(one, one.begin(), REFRESHES_MAX - 1)
    one.world.table.on("TransactWriteItems token answer token token token answer", refuse_write)
    for _ in range(5):
        one.assert_not_refreshed(held.refresh_token, StoreUnavailable)
    one.world.table.heal()
    wait_told(one, refresh_times(one, held, 1))


def test_wrong_client_or_scope_is_reported_before_the_limit(one: GrantWorld) -> None:
    held = refresh_times(one, one.begin(), REFRESHES_MAX)
    one.assert_not_refreshed(held.refresh_token, client_id="dcr.other")
    one.assert_not_refreshed(held.refresh_token, InvalidScope, scope="mcp more")
    wait_told(one, held)


def test_ended_grant_is_reported_after_the_minute(one: GrantWorld) -> None:
    held = refresh_times(one, one.begin(), REFRESHES_MAX)
    one.ends()
    one.clock.advance(wait_told(one, held))
    one.assert_not_refreshed(held.refresh_token)


@pytest.mark.parametrize("ahead", [61, 299])
def test_earlier_fast_clock_locks_nobody_out(one: GrantWorld, ahead: int) -> None:
    held = refresh_times(one, one.begin(), REFRESHES_MAX)
    one.clock.advance(-ahead)
    assert one.refresh(held.refresh_token)


@each_case(
    ("times", "wait"),
    [
        ([], 0),
        ([NOW] * 9, 0),
        ([NOW] * 10, 60),
        ([NOW - 59.5] * 10, 1),
        ([NOW - 60] * 10, 0),
        ([NOW - 60, *[NOW - 1] * 9], 0),
        ([NOW - 30, *[NOW - 1] * 9], 30),
        ([NOW - 30, NOW - 20, *[NOW - 1] * 9], 40),
        ([NOW + 60] * 10, 0),
        ([NOW + 10**9] * 10, 0),
    ],
)
def test_wait_is_until_the_tenth_last_is_a_minute_ago(times: list[Any], wait: int) -> None:
    assert seconds_to_wait(times, NOW) == wait
    assert len(recent_refreshes(times, NOW)) <= len(times)
