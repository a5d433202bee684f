"""A limit of sessions per user: each sign-in ends the earliest ones, and nothing else."""

import asyncio
import logging
import random
import threading
from itertools import count
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.test import AsyncClient, Client
from pytest_django import Settings

from sessions_kms import about
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.grant_store import GrantStore
from sessions_kms.operations import session_limit
from sessions_kms.operations.session_limit import (
    BESIDE_MAX,
    ENDED_MAX,
    FEW,
    SECONDS_MAX,
    SignInOrder,
)
from sessions_kms.services import id_of, services
from sessions_kms.session import sign_ins
from sessions_kms.signals import session_ended
from sessions_kms.telemetry import telemetry
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.model.world import World
from tests.sessions_kms.support import wire
from tests.sessions_kms.support.browser import Browser, limit_sessions, sign_in_view
from tests.sessions_kms.support.memory_dynamodb import after, refuse_write
from tests.sessions_kms.support.sessions import again, is_alive
from tests.sessions_kms.support.stacks import Stack
from tests.support.signals import record_signal

ADA, GRACE = "7", "8"
SLOW = {"killed", "killed_after", "throttled"}  # ends the test, or pauses for seconds
QUERY, DELETE = "Query user", "DeleteItem session"


@pytest.fixture
def stack(make_fake: MakeStack) -> Stack:
    return make_fake(max_sessions_per_user=3)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the metrics that are counted from now on."""
    found: list[str] = []
    monkeypatch.setattr(telemetry, "count", lambda name, **_: found.append(name))
    return found


def begin_sign_in(
    user: str = ADA, session: SessionStore | None = None, **content: Any
) -> SessionStore:
    """Sign in, as Django's `login` does with a session; a second passes before."""
    services().clock.advance(1)  # type: ignore[attr-defined]  # it is a test's
    session = SessionStore() if session is None else session
    session.update({USER_ID: user, **content})
    request = HttpRequest()
    request.session = session
    sign_ins._note_sign_in(request=request)  # as `user_logged_in` has it
    return session


def sign_in(user: str = ADA, session: SessionStore | None = None, **content: Any) -> SessionStore:
    """Sign in, and save the session, as Django's middleware does."""
    session = begin_sign_in(user, session, **content)
    session.save()
    return session


def grant(user: str = ADA) -> GrantStore:
    services().clock.advance(1)  # type: ignore[attr-defined]
    made = GrantStore()
    made.update({USER_ID: user, about.ABOUT: {about.CLIENT: "app", about.CLIENT_ID: "app"}})
    run_sync(made.start_grant())
    return made


def are_left(sessions: list[SessionStore]) -> list[bool]:
    return [is_alive(each) for each in sessions]


# Which sessions end


def test_earliest_sign_ins_end_beyond_the_limit(stack: Stack) -> None:
    strangers = [sign_in(GRACE) for _ in range(3)]
    sessions = [sign_in() for _ in range(5)]
    assert are_left(sessions) == [False, False, True, True, True]
    [ended] = sessions[4].ended_at_sign_in
    assert ended.id == id_of(str(sessions[1].session_key))
    assert are_left(strangers) == [True] * 3


def test_use_of_a_session_does_not_count(stack: Stack) -> None:
    sessions = [sign_in() for _ in range(3)]
    used = again(sessions[0])
    used["a"] = 1
    used.save()
    sessions.append(sign_in())
    assert are_left(sessions) == [False, True, True, True]


def test_without_a_limit_nothing_ends_and_nothing_is_read(stack: Stack) -> None:
    limit_sessions(stack, None)
    sessions = [sign_in() for _ in range(5)]
    assert are_left(sessions) == [True] * 5
    assert QUERY not in stack.dynamodb.calls


def test_below_the_limit_the_index_alone_is_read(stack: Stack) -> None:
    sign_in()
    stack.dynamodb.calls.clear()
    sign_in()
    reads = {each for each in stack.dynamodb.calls if each.startswith(("Get", "Query"))}
    assert reads == {QUERY, "GetItem not-before"}


def test_sign_in_in_the_same_browser_counts_once(stack: Stack) -> None:
    others = [sign_in(), sign_in()]
    browser = sign_in()
    for _ in range(5):
        browser = sign_in(session=again(browser))
        assert are_left([*others, browser]) == [True, True, True]


def test_sign_in_in_the_session_that_signed_in_first_ends_the_next_one(stack: Stack) -> None:
    sessions = [sign_in() for _ in range(3)]
    sign_in(session=again(sessions[0]))
    sign_in()
    assert are_left(sessions) == [True, False, True]


def test_save_or_key_change_is_no_sign_in(stack: Stack) -> None:
    sessions = [sign_in() for _ in range(3)]
    limit_sessions(stack, 1)
    session = again(sessions[2])
    session["a"] = 1
    session.save()
    session.cycle_key()
    session.save()
    assert are_left([*sessions[:2], session]) == [True, True, True]


def test_sign_in_that_changes_the_key_ends_what_exceeds_the_limit(stack: Stack) -> None:
    other, anonymous = sign_in(), SessionStore()
    anonymous["a"] = 1
    anonymous.save()
    limit_sessions(stack, 1)
    session = begin_sign_in(session=again(anonymous))
    session.cycle_key()
    assert are_left([other, session]) == [False, True]
    assert len(session.ended_at_sign_in) == 1


def test_session_that_is_another_users_by_now_does_not_end(stack: Stack) -> None:
    """The index still lists it among those of the user before."""
    limit_sessions(stack, 1)
    shared = sign_in()
    stack.dynamodb.stop_index()
    shared = sign_in(GRACE, session=again(shared))
    assert are_left([shared, sign_in()]) == [True, True]


def test_metadata_of_an_ended_session_is_deleted(stack: Stack) -> None:
    limit_sessions(stack, 1)
    for _ in range(2):
        sign_in(_about={"browser": "Firefox"})
    assert len([name for name in stack.items() if name.startswith("about#")]) == 1


def test_grants_neither_count_nor_end(stack: Stack) -> None:
    grants = [grant() for _ in range(4)]
    sessions = [sign_in(), sign_in()]
    grants.append(grant())
    sessions += [sign_in() for _ in range(3)]
    assert are_left(sessions) == [False, False, True, True, True]
    assert all(run_sync(GrantStore(each.session_key).load_grant()) for each in grants)


def test_grant_whose_metadata_is_not_readable_does_not_end(stack: Stack) -> None:
    grants = [grant()]
    for name, item in stack.items().items():
        if name.startswith("about#"):
            stack.put_item(item | {"authTag": {"B": b"0" * 16}})
    sessions = [sign_in() for _ in range(4)]
    assert are_left(sessions) == [False, True, True, True]
    assert all(run_sync(GrantStore(each.session_key).load_grant()) for each in grants)


def test_expired_sessions_do_not_count(stack: Stack) -> None:
    sessions = [sign_in(), sign_in()]
    for _ in range(3):
        short = SessionStore()
        short.set_expiry(5)
        sign_in(session=short)
        stack.clock.advance(5)
    sessions.append(sign_in())
    assert are_left(sessions) == [True, True, True]


def test_at_most_ten_sessions_end_at_once_the_earliest_first(stack: Stack) -> None:
    limit_sessions(stack, None)
    sessions = [sign_in() for _ in range(20)]
    limit_sessions(stack, 3)
    sessions.append(sign_in())
    assert are_left(sessions) == [False] * ENDED_MAX + [True] * 11
    sessions.append(sign_in())
    assert are_left(sessions)[-4:] == [False, True, True, True]
    assert sum(are_left(sessions)) == 3


def test_number_of_reads_is_bounded(stack: Stack) -> None:
    limit_sessions(stack, None)
    for _ in range(BESIDE_MAX + 20):
        sign_in()
    limit_sessions(stack, 3)
    stack.dynamodb.calls.clear()
    sign_in()
    reads = [each for each in stack.dynamodb.calls if each.startswith("Get")]
    assert len(reads) <= 2 * (3 + BESIDE_MAX)


@pytest.mark.parametrize("in_loop", [False, True])
def test_many_sessions_are_read_at_the_same_time(stack: Stack, *, in_loop: bool) -> None:
    """One after the other, a thousand reads would take longer than a sign-in may."""
    limit_sessions(stack, None)
    sessions = [sign_in() for _ in range(FEW + 5)]
    limit_sessions(stack, FEW + 5)
    entered, both, left_for_call = count(), threading.Event(), list[float | None]()

    def meet() -> None:
        left_for_call.append(deadline.call_left())
        if next(entered) == 1:
            both.set()
        assert both.wait(10), "It is the only read."

    sessions.append(begin_sign_in())
    stack.dynamodb.on("GetItem session", after(meet))
    if in_loop:
        asyncio.run(sessions[-1].asave())
    else:
        sessions[-1].save()
    stack.dynamodb.heal()
    assert are_left(sessions) == [False] + [True] * (FEW + 5)
    assert max(each or deadline.REQUEST for each in left_for_call) <= SECONDS_MAX


def test_error_of_one_of_many_reads_ends_nothing(stack: Stack) -> None:
    limit_sessions(stack, None)
    sessions = [sign_in() for _ in range(FEW + 5)]
    limit_sessions(stack, 3)
    stack.dynamodb.on("GetItem about", refuse_write)
    sessions.append(sign_in())
    stack.dynamodb.heal()
    assert are_left(sessions) == [True] * (FEW + 6)


def test_signal_gives_the_reason(stack: Stack) -> None:
    with record_signal(session_ended) as received:
        sessions = [sign_in() for _ in range(4)]
        sessions[3].flush()
    assert [each.get("reason") for each in received] == ["limit", None]


# At the same time


def test_two_sign_ins_at_the_same_time_never_end_each_other(stack: Stack) -> None:
    """Each is stored before the index is read for the other."""
    limit_sessions(stack, 1)
    others: list[SessionStore] = []

    def sign_in_elsewhere() -> None:
        stack.dynamodb.heal()
        stack.clock.advance(-1)  # both within one second
        others.append(sign_in())

    stack.dynamodb.on(QUERY, after(sign_in_elsewhere))
    first = sign_in()
    assert True in are_left([first, *others])
    last = sign_in()
    assert are_left([first, *others, last]) == [False, False, True]


def test_index_that_lags_leaves_one_too_many_until_the_next_sign_in(stack: Stack) -> None:
    limit_sessions(stack, 1)
    stack.dynamodb.stop_index()
    sessions = [sign_in(), sign_in()]
    assert are_left(sessions) == [True, True]
    stack.dynamodb.catch_up()
    sessions.append(sign_in())
    assert are_left(sessions) == [False, False, True]


def test_session_in_which_somebody_signs_in_meanwhile_does_not_end(stack: Stack) -> None:
    sessions = [sign_in() for _ in range(3)]

    def sign_in_again() -> None:
        stack.dynamodb.heal()
        sign_in(session=again(sessions[0]))

    stack.dynamodb.on(DELETE, after(sign_in_again))
    last = sign_in()
    assert is_alive(sessions[0])
    assert is_alive(last)


@pytest.mark.parametrize("call", [QUERY, "GetItem session", "GetItem about", DELETE])
@pytest.mark.parametrize("fault", [refuse_write, wire.unreachable])
def test_failure_is_logged_and_fails_no_sign_in(
    stack: Stack,
    call: str,
    fault: wire.Fault,
    caplog: pytest.LogCaptureFixture,
    counted: list[str],
) -> None:
    grants = [grant() for _ in range(3)]
    sessions = [sign_in() for _ in range(3)]
    stack.dynamodb.on(call, fault)
    with caplog.at_level(logging.WARNING, logger="sessions_kms"):
        sessions.append(sign_in())
    stack.dynamodb.heal()
    assert are_left(sessions) == [True] * 4
    assert "The limit of a user's sessions could not be applied" in caplog.text
    assert "Traceback" not in caplog.text
    assert counted.count("session_limit.failures") == 1
    assert all(run_sync(GrantStore(each.session_key).load_grant()) for each in grants)
    sessions.append(sign_in())
    assert are_left(sessions) == [False, False, True, True, True]


def test_fault_of_the_code_is_logged_and_fails_no_sign_in(
    stack: Stack,
    caplog: pytest.LogCaptureFixture,
    counted: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit_sessions(stack, 1)
    monkeypatch.setattr(session_limit, "load_head", None)
    assert are_left([sign_in(), sign_in()]) == [True, True]
    assert "Traceback" in caplog.text
    assert counted.count("session_limit.failures") == 1


@pytest.mark.parametrize("seed", range(3))
def test_three_newest_sessions_are_left_after_disturbed_sign_ins(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Eight processes make fifty sign-ins, with faults and a lagging index, then five without."""
    chance = random.Random(seed)  # noqa: S311 - a test's
    world = World(processes=8, max_sessions_per_user=3)
    faults = [refuse_write, *(fault for name, fault in wire.FAULTS.items() if name not in SLOW)]
    sessions: list[SessionStore] = []
    with world.running(0):
        grants = [grant() for _ in range(3)]
    for number in range(55):
        if number == 50:
            world.wire.heal()
            world.wire.arrive()
            world.table.catch_up()
            world.clock.advance(60)
        elif number < 50:
            for _ in range(chance.randrange(3)):
                world.wire.strike(chance.randrange(12), chance.choice(faults))
            chance.choice([world.table.stop_index, world.table.catch_up])()
        monkeypatch.setattr(session_limit, "order", SignInOrder())  # other processes' is unknown
        with world.running(chance.randrange(8)):
            session = SessionStore()
            try:
                sign_in(session=session)
            except StoreUnavailable:
                continue
            finally:
                world.wire.heal()
            assert number < 50 or is_alive(session)
            sessions.append(session)
    with world.running(0):
        assert are_left(sessions)[-3:] == [True] * 3
        assert world.sessions() == 3 + len(grants)
        assert all(run_sync(GrantStore(each.session_key).load_grant()) for each in grants)


# Django's own sign-ins


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create_user("ada", password="correct horse")


def stored_session(client: Client) -> SessionStore:
    return SessionStore(client.session.session_key)


@pytest.mark.parametrize("same_second", [True, False])
def test_sign_in_of_the_test_client_ends_the_session_of_another_one(
    stack: Stack, ada: User, *, same_second: bool
) -> None:
    limit_sessions(stack, 1)
    one, other = Client(), Client()
    one.force_login(ada)
    stack.clock.advance(0 if same_second else 1)
    other.force_login(ada)
    assert not is_alive(stored_session(one))
    assert one.login(username="ada", password="correct horse")
    assert not is_alive(stored_session(other))
    assert is_alive(stored_session(one))


async def test_async_sign_in_ends_the_session_of_another_client(
    stack: Stack, transactional_db: None
) -> None:
    limit_sessions(stack, 1)
    ada = await User.objects.acreate_user("ada")
    clients = [AsyncClient(), AsyncClient()]
    keys = []
    for client in clients:
        await client.aforce_login(ada)
        keys.append((await client.asession()).session_key)
    assert [await SessionStore().aexists(str(key)) for key in keys] == [False, True]


def test_changed_password_and_changed_key_are_no_sign_ins(
    stack: Stack, ada: User, settings: Settings
) -> None:
    browsers = [Browser(settings) for _ in range(2)]
    for browser in browsers:
        browser.visit(sign_in_view(ada))
        stack.clock.advance(1)
    limit_sessions(stack, 1)

    def change_password(request: HttpRequest) -> None:
        request.user = ada
        ada.set_password("battery staple")
        update_session_auth_hash(request, ada)

    browsers[0].visit(change_password)
    browsers[0].visit(lambda request: request.session.cycle_key())
    assert [SessionStore().exists(str(each.key)) for each in browsers] == [True, True]
    for _ in range(3):
        browsers[1].visit(sign_in_view(ada))
        stack.clock.advance(1)
    assert [SessionStore().exists(str(each.key)) for each in browsers] == [False, True]
