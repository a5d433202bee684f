"""When a session ends: idle and absolute timeout, at their exact seconds, on an injected clock."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID
from django.utils import timezone
from pytest_django import Settings

from sessions_kms.backend import SessionStore
from sessions_kms.exceptions import StoreUnavailable
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.sessions import again, save_session
from tests.sessions_kms.support.stacks import Stack, install
from tests.support.clock import FakeClock

HOUR = 3600
DAY = 24 * HOUR
START = 1_800_000_000
IDLE = 1000
ABSOLUTE = 5000


@pytest.fixture
def stack(make_fake: MakeStack, settings: Settings) -> Stack:
    settings.SESSION_COOKIE_AGE = IDLE
    return make_fake(absolute_timeout=ABSOLUTE)


def touch(session: SessionStore) -> SessionStore:
    """Give the session as the next request has it, saved with a change."""
    session = again(session)
    session["visits"] = session.get("visits", 0) + 1
    session.save()
    return session


def is_alive(session: SessionStore) -> bool:
    found = again(session).get("a") is not None
    assert SessionStore().exists(session.session_key or "") == found
    return found


def number(stack: Stack, name: str) -> int:
    (item,) = stack.sessions().values()
    return int(item[name]["N"])


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)


# Idle


def test_idle_session_ends_at_its_second(stack: Stack) -> None:
    session = save_session(a=1)
    stack.clock.advance(IDLE - 0.001)
    assert is_alive(session)
    stack.clock.advance(0.001)
    assert not is_alive(session)


def test_every_change_moves_the_idle_end(stack: Stack) -> None:
    session = save_session(a=1)
    stack.clock.advance(IDLE - 1)
    session = touch(session)
    assert number(stack, "ttl") == START + IDLE - 1 + IDLE
    stack.clock.advance(IDLE - 1)
    assert is_alive(session)


def test_item_that_dynamodb_has_not_deleted_yet_is_no_session(stack: Stack) -> None:
    session = save_session(a=1)
    stack.clock.advance(3 * DAY)
    assert len(stack.sessions()) == 1
    assert not is_alive(session)


# Absolute


def test_absolute_timeout_ends_a_session_in_use_at_its_second(stack: Stack) -> None:
    session = save_session(a=1)
    for _ in range(8):
        stack.clock.advance(600)
        session = touch(session)
    assert number(stack, "ttl") == START + ABSOLUTE
    stack.clock.now = START + ABSOLUTE - 0.001
    assert is_alive(session)
    stack.clock.now = START + ABSOLUTE
    assert not is_alive(session)


def test_lowered_absolute_timeout_ends_old_sessions_too(stack: Stack) -> None:
    session = save_session(a=1)
    lowered = replace(stack.config, absolute_timeout=300)
    install(replace(stack.services, config=lowered))
    stack.clock.advance(299)
    assert is_alive(session)
    stack.clock.advance(1)
    assert not is_alive(session)


def test_raised_absolute_timeout_holds_from_the_next_save(stack: Stack) -> None:
    session = save_session(a=1)
    session.set_expiry(10 * DAY)
    session.save()
    install(replace(stack.services, config=replace(stack.config, absolute_timeout=DAY)))
    assert number(stack, "ttl") == START + ABSOLUTE
    session = touch(session)
    assert number(stack, "ttl") == START + DAY


def test_none_disables_the_absolute_timeout(make_fake: MakeStack, settings: Settings) -> None:
    settings.SESSION_COOKIE_AGE = 30 * DAY
    stack = make_fake(absolute_timeout=None)
    session = save_session(a=1)
    assert session.absolute_end() is None
    assert session.get_expiry_age() == 30 * DAY
    stack.clock.advance(29 * DAY)
    session = touch(session)
    stack.clock.advance(29 * DAY)
    assert is_alive(session)


def test_absolute_end_is_seven_days_by_default(make_fake: MakeStack) -> None:
    make_fake()
    assert save_session(a=1).absolute_end() == at(START + 7 * DAY)


def test_absolute_end_counts_from_creation_and_of_a_new_session_from_now(stack: Stack) -> None:
    session = save_session(a=1)
    stack.clock.advance(600)
    assert again(session).absolute_end() == at(START + ABSOLUTE)
    assert SessionStore().absolute_end() == at(START + 600 + ABSOLUTE)


def test_creation_survives_cycle_key(stack: Stack) -> None:
    session = save_session(a=1)
    stack.clock.advance(600)
    session = again(session)
    session.cycle_key()
    assert number(stack, "createdAt") == START
    assert number(stack, "updatedAt") == START + 600
    assert again(session).absolute_end() == at(START + ABSOLUTE)


@pytest.mark.parametrize(("user_id", "created"), [("7", START), ("8", START + 600)])
def test_another_user_in_the_session_restarts_the_limit_without_a_signal(
    stack: Stack, user_id: str, created: int
) -> None:
    session = save_session(**{USER_ID: "7"})
    stack.clock.advance(600)
    session = again(session)
    session[USER_ID] = user_id
    session.set_expiry(10 * DAY)
    assert session.get_expiry_age() == created + ABSOLUTE - (START + 600)
    session.save()
    assert number(stack, "createdAt") == created


def test_flushed_session_is_new(stack: Stack) -> None:
    session = save_session(a=1)
    stack.clock.advance(600)
    session.flush()
    session["a"] = 2
    session.save()
    assert number(stack, "createdAt") == START + 600


# The age of the cookie


def test_expiry_age_and_date_are_capped(stack: Stack) -> None:
    session = save_session(a=1)
    for _ in range(5):
        stack.clock.advance(900)
        session = touch(session)
    assert session.get_expiry_age() == ABSOLUTE - 4500
    assert session.get_expiry_date() == at(START + ABSOLUTE)


async def test_async_expiry_age_and_date_are_capped(stack: Stack) -> None:
    session = SessionStore()
    await session.aset("a", 1)
    await session.aset_expiry(DAY)
    await session.asave()
    stack.clock.advance(600.5)
    later = SessionStore(session.session_key)
    assert await later.aget_expiry_age() == ABSOLUTE - 601
    assert await later.aget_expiry_date() == at(START + ABSOLUTE)


def test_capped_expiry_date_is_right_across_a_change_to_winter_time(
    make_fake: MakeStack, settings: Settings
) -> None:
    settings.USE_TZ, settings.TIME_ZONE = False, "Europe/Berlin"
    settings.SESSION_COOKIE_AGE = 14 * DAY
    stack = make_fake(absolute_timeout=2 * DAY)
    stack.clock.now = 1_792_490_400  # 2026-10-20T12:00 in Berlin, five days before the change
    assert save_session(a=1).get_expiry_date() == datetime(2026, 10, 22, 12)  # noqa: DTZ001 - naive


@pytest.mark.parametrize(
    ("expiry", "age"),
    [
        pytest.param(300, 300, id="seconds below the cap"),
        pytest.param(300.9, 300, id="fractions are floored"),
        pytest.param(ABSOLUTE, ABSOLUTE, id="seconds at the cap"),
        pytest.param(ABSOLUTE + 1, ABSOLUTE, id="seconds above the cap"),
        pytest.param(365 * DAY, ABSOLUTE, id="a year"),
        pytest.param(0, IDLE, id="browser close"),
        pytest.param(None, IDLE, id="the default"),
        pytest.param(at(START + 200), 200, id="date below the cap"),
        pytest.param(at(START + 200.9), 200, id="date with a fraction"),
        pytest.param(at(START + 10 * DAY), ABSOLUTE, id="date above the cap"),
        pytest.param(at(START - 10), -10, id="date in the past"),
        pytest.param(-10, -10, id="seconds in the past"),
    ],
)
def test_set_expiry_of_every_kind_keeps_its_meaning_below_the_cap(
    stack: Stack, expiry: Any, age: int
) -> None:
    session = save_session(a=1)
    session.set_expiry(expiry)
    assert session.get_expiry_age() == age
    session.save()
    assert number(stack, "ttl") == START + age
    assert is_alive(session) == (age > 0)
    assert again(session).get_expire_at_browser_close() == (expiry == 0 and age > 0)


def test_set_expiry_by_timedelta_is_a_date(stack: Stack) -> None:
    stack.clock.now = int(timezone.now().timestamp())  # Django counts from the real now.
    session = save_session(a=1)
    session.set_expiry(timedelta(seconds=300))
    assert 300 <= session.get_expiry_age() <= 302
    session.set_expiry(timedelta(days=300))
    assert session.get_expiry_age() == ABSOLUTE


def test_fixed_end_does_not_move_with_use(stack: Stack) -> None:
    session = save_session(a=1)
    session.set_expiry(at(START + 800))
    session.save()
    stack.clock.advance(500)
    session = touch(session)
    assert session.get_expiry_age() == 300
    stack.clock.advance(300)
    assert not is_alive(session)


# Saves that change nothing


def calls_of(stack: Stack, session: SessionStore) -> list[str]:
    """Load and save as SESSION_SAVE_EVERY_REQUEST does; give the calls of the save."""
    session = again(session)
    session.get("a")
    stack.dynamodb.calls.clear()
    session.save()
    return list(stack.dynamodb.calls)


def test_unchanged_save_makes_no_call(stack: Stack) -> None:
    assert calls_of(stack, save_session(a=1)) == []


def test_unchanged_save_rewrites_only_beyond_a_tenth_of_the_idle_age(stack: Stack) -> None:
    session = save_session(a=1)
    stack.clock.advance(IDLE / 10)
    assert calls_of(stack, session) == []
    stack.clock.advance(1)
    assert calls_of(stack, session) == ["PutItem session"]
    assert number(stack, "ttl") == START + IDLE / 10 + 1 + IDLE
    assert calls_of(stack, session) == []


def test_unchanged_save_of_a_capped_session_rewrites_nothing_more(stack: Stack) -> None:
    session = save_session(a=1)
    session.set_expiry(10 * DAY)
    session.save()
    stack.clock.advance(ABSOLUTE - 1)
    assert calls_of(stack, session) == []


def test_unchanged_save_rewrites_when_the_end_comes_nearer(
    stack: Stack, settings: Settings
) -> None:
    session = save_session(a=1)
    settings.SESSION_COOKIE_AGE = 100
    assert calls_of(stack, session) == ["PutItem session"]
    assert number(stack, "ttl") == START + 100


def test_unchanged_save_of_a_session_that_was_never_stored_stores_it(stack: Stack) -> None:
    session = SessionStore()
    session.save()
    assert len(stack.sessions()) == 1


def test_limits_are_unavailable_during_an_outage(stack: Stack) -> None:
    session = again(save_session(a=1))
    stack.dynamodb.unavailable = True  # a fake stack
    with pytest.raises(StoreUnavailable):
        session.absolute_end()


def test_clock_set_back_does_not_lengthen_the_absolute_limit(
    stack: Stack, clock: FakeClock
) -> None:
    session = save_session(a=1)
    clock.advance(-200)
    session = touch(session)
    assert number(stack, "createdAt") == START
    assert number(stack, "ttl") <= START + ABSOLUTE


# Django's hook


class ShortForStaff(SessionStore):
    """A project's own: what the session holds says how long it lives."""

    def get_session_cookie_age(self) -> int:
        return IDLE // 10 if self.get("staff") else IDLE


def open_before_another_becomes_staff() -> ShortForStaff:
    session = ShortForStaff()
    session["a"] = 1
    session.save()
    mine, theirs = (ShortForStaff(session.session_key) for _ in range(2))
    assert mine["a"] == theirs["a"] == 1
    theirs["staff"] = True
    theirs.save()
    return mine


def test_overridden_cookie_age_is_used_for_the_stored_content(stack: Stack) -> None:
    mine = open_before_another_becomes_staff()
    mine["a"] = 2
    mine.save()  # over what the other one has stored
    assert number(stack, "ttl") == START + IDLE // 10


def test_overridden_cookie_age_is_used_at_a_key_change(stack: Stack) -> None:
    mine = open_before_another_becomes_staff()
    mine.cycle_key()
    ends = [int(item["ttl"]["N"]) for item in stack.sessions().values() if "movedAt" not in item]
    assert ends == [START + IDLE // 10]
