"""Raising the moment before which no session counts, and the moments that have names."""

from dataclasses import replace

import pytest

from sessions_kms import services
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import TableUnavailable
from sessions_kms.operations import ending
from sessions_kms.storage.not_before import NAMES_MAX, NamedNotBefores, NotBefore
from tests.sessions_kms.support.commands import end
from tests.sessions_kms.support.fakes import together
from tests.sessions_kms.support.faults import Fault, apply_and, drop_connection, respond_with
from tests.sessions_kms.support.faulty import FaultyStack
from tests.sessions_kms.support.sessions import is_alive, save_session
from tests.sessions_kms.support.stacks import Stack, install, on_aws
from tests.sessions_kms.support.stepping import as_coroutine
from tests.support.clock import FakeClock

NOW = 1_800_000_000


def item(stack: Stack, name: str = "not-before#django") -> dict[str, str]:
    found = stack.items()[name]
    return {key: next(iter(value.values())) for key, value in found.items()}


def test_sessions_created_until_the_moment_end_and_later_ones_stay(stack: Stack) -> None:
    before, at = save_session(), save_session()
    stack.clock.advance(1)
    after = save_session()
    assert ending.end_before(services.services(), NOW)
    assert [is_alive(session) for session in (before, at, after)] == [False, False, True]
    assert item(stack) == {"id": "not-before#django", "version": "1", "notBefore": str(NOW)}


def test_nothing_is_deleted(stack: Stack) -> None:
    save_session()
    ending.end_before(services.services(), NOW)
    assert len(stack.sessions()) == 1


def test_moment_is_raised_and_never_lowered(stack: Stack) -> None:
    assert ending.end_before(services.services(), NOW - 10)
    assert ending.end_before(services.services(), NOW - 5)
    assert not ending.end_before(services.services(), NOW - 5)
    assert not ending.end_before(services.services(), NOW - 7)
    assert item(stack)["notBefore"] == str(NOW - 5)


def test_moment_to_come_is_refused(stack: Stack) -> None:
    with pytest.raises(ValueError, match="future"):
        ending.end_before(services.services(), NOW + 1)
    assert stack.items() == {}


@on_aws
def test_another_process_obeys_within_30_seconds(stack: Stack) -> None:
    other = services.build(stack.config, clock=stack.clock)
    assert run_sync(other.not_before.moment()) == 0
    ending.end_before(services.services(), NOW)
    stack.clock.advance(30)
    assert run_sync(other.not_before.moment()) == NOW


def test_own_process_obeys_at_once(stack: Stack) -> None:
    session = save_session()
    assert is_alive(session)
    ending.end_before(services.services(), NOW)
    assert not is_alive(session)


def test_of_many_that_raise_it_at_once_the_latest_remains(stack: Stack) -> None:
    raised = together(8, lambda index: ending.end_before(services.services(), NOW - index))
    assert True in raised
    assert item(stack)["notBefore"] == str(NOW)


def test_named_moment_ends_no_session(stack: Stack) -> None:
    session = save_session()
    assert ending.end_before_of(services.services(), "google", NOW)
    assert is_alive(session)
    assert item(stack, "not-before#django#google")["notBefore"] == str(NOW)
    assert run_sync(services.services().not_before_of("google").moment()) == NOW
    assert run_sync(services.services().not_before_of("github").moment()) == 0


def test_unreadable_cutoff_is_reported_and_not_overwritten(stack: Stack) -> None:
    stack.put_item({"id": {"S": "not-before#django"}, "version": {"N": "1"}})
    with pytest.raises(TableUnavailable, match="cannot be read"):
        ending.end_before(services.services(), NOW)
    assert "notBefore" not in item(stack)


@pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
@pytest.mark.parametrize("fault", [apply_and(drop_connection), apply_and(respond_with(b"{}"))])
def test_lost_response_is_no_error(faulty: FaultyStack, fault: Fault) -> None:
    faulty.table.on("PutItem", fault, times=1)
    ending.end_before(services.services(), NOW)
    assert item(faulty.stack)["notBefore"] == str(NOW)


@pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
def test_response_without_content_of_a_write_that_was_not_made_is_an_error(
    faulty: FaultyStack,
) -> None:
    faulty.table.on("PutItem", respond_with(b"{}"))
    with pytest.raises(TableUnavailable):
        ending.end_before(services.services(), NOW)


def test_named_moments_are_bounded_in_number(clock: FakeClock) -> None:
    asked: list[str] = []

    def read(name: str) -> int:
        asked.append(name)
        return 5

    named = NamedNotBefores(as_coroutine(read), clock=clock)
    for number in range(NAMES_MAX + 1):
        run_sync(named.of(f"p{number}").moment())
    assert run_sync(named.of(f"p{NAMES_MAX}").moment()) == 5
    assert len(asked) == NAMES_MAX + 1
    run_sync(named.of("p0").moment())
    assert len(asked) == NAMES_MAX + 2


def test_fresh_cutoff_is_returned_without_reading(clock: FakeClock) -> None:
    named = NamedNotBefores(as_coroutine(lambda _: 5), clock=clock)
    assert named.of("a").cached() is None
    run_sync(named.of("a").moment())
    assert named.of("a").cached() == 5
    clock.advance(30)
    assert named.of("a").cached() is None


def test_runbook_for_a_future_cutoff_keeps_ended_sessions_ended(stack: Stack) -> None:
    ended = save_session()
    ending.end_before(services.services(), NOW)  # As the admin does, which deletes nothing.
    stack.put_item({"id": {"S": "not-before#django"}, "version": {"N": "1"},
                    "notBefore": {"N": str(NOW + 100 * 365 * 86_400)}})  # fmt: skip
    _start_anew(stack)
    assert is_alive(ended)  # Nobody who still knows of the earlier moment is there.
    stack.clock.advance(1)
    # docs/operations.md: end all.
    assert end("--all").status == 0
    _start_anew(stack)
    assert not is_alive(ended)
    stack.clock.advance(1)
    assert is_alive(save_session())


def _start_anew(stack: Stack) -> None:
    read = stack.services.not_before_items.get
    not_before = NotBefore(read, at_least=0, clock=stack.clock)
    install(replace(stack.services, not_before=not_before))
