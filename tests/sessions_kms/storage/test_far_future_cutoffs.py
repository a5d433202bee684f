"""Cutoffs in the far future, set by a writer of the table or a wrong clock.

It must lock nobody out; and whatever became of the item, what has ended stays ended.
"""

import logging
from typing import Any

import pytest

from sessions_kms import services
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import TableUnavailable
from sessions_kms.operations import ending
from sessions_kms.storage.not_before import ALARM_EVERY, NAMES_MAX, NamedNotBefores, NotBefore
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.commands import end
from tests.sessions_kms.support.cutoff_source import CutoffSource
from tests.sessions_kms.support.fakes import together
from tests.sessions_kms.support.sessions import is_alive, save_session
from tests.sessions_kms.support.stacks import Stack, install
from tests.sessions_kms.support.stepping import as_coroutine
from tests.support.clock import FakeClock

NOW = 1_800_000_000
FAR = NOW + 100 * 365 * 86_400  # whatever the real clock of a server shows
ITEM = "not-before#django"
AHEAD = 300


@pytest.fixture
def source(clock: FakeClock) -> CutoffSource:
    return CutoffSource(clock)


def put(stack: Stack, moment: int, item_id: str = ITEM) -> None:
    stack.put_item({"id": {"S": item_id}, "version": {"N": "1"}, "notBefore": {"N": str(moment)}})


def stored_cutoff(stack: Stack, item_id: str = ITEM) -> int:
    return int(stack.items()[item_id]["notBefore"]["N"])


def restart(stack: Stack) -> None:
    """Have another process in this one's place, which remembers nothing."""
    install(services.build(stack.config, clock=stack.clock, **parts_of(stack)))


def parts_of(stack: Stack) -> dict[str, Any]:
    read = stack.services.not_before_items.get
    not_before = NotBefore(read, at_least=stack.config.not_before or 0, clock=stack.clock)
    return {
        "table": stack.services.table,
        "keyring": stack.services.keyring,
        "not_before": not_before,
    }


# What a process makes of it


@pytest.mark.parametrize(("ahead", "counts"), [(0, True), (AHEAD, True), (AHEAD + 1, False)])
def test_moment_more_than_five_minutes_ahead_does_not_count(
    source: CutoffSource, ahead: int, counts: bool
) -> None:
    source.moment = NOW + ahead
    assert source.cutoff() == (NOW + ahead if counts else 0)


def test_moment_counts_once_it_is_five_minutes_ahead(source: CutoffSource) -> None:
    source.moment = NOW + 600
    assert source.cutoff() == 0
    source.clock.advance(299)
    assert source.cutoff() == 0
    source.clock.advance(30)
    assert source.cutoff() == NOW + 600


def test_moment_far_ahead_lowers_nothing_that_was_accepted(source: CutoffSource) -> None:
    source.moment = NOW - 10
    source.cutoff()
    for moment in (NOW + 86_400, NOW - 100, 0, FAR):
        source.moment = moment
        source.clock.advance(30)
        assert source.cutoff() == NOW - 10


def test_accepted_cutoff_survives_a_clock_that_is_set_back(source: CutoffSource) -> None:
    source.moment = NOW
    source.cutoff()
    source.clock.advance(-86_400)
    source.moment = 0
    assert source.cutoff() == NOW


def test_moment_far_ahead_is_read_as_often_as_another_and_is_no_outage(
    source: CutoffSource,
) -> None:
    source.moment = FAR
    for reads in range(1, 5):
        assert source.cutoff() == 0
        assert source.not_before.cached() == 0
        assert source.reads == reads
        source.clock.advance(30)


def test_setting_far_ahead_does_not_count_until_it_is_near(
    source: CutoffSource, clock: FakeClock
) -> None:
    source.moment = 5
    not_before = NotBefore(as_coroutine(source), at_least=NOW + 600, clock=clock)
    assert run_sync(not_before.moment()) == 5
    clock.advance(300)
    assert run_sync(not_before.moment()) == NOW + 600


def test_setting_that_has_passed_counts_beside_an_item_far_ahead(
    source: CutoffSource, clock: FakeClock
) -> None:
    source.moment = FAR
    assert (
        run_sync(NotBefore(as_coroutine(source), at_least=NOW - 5, clock=clock).moment()) == NOW - 5
    )


def test_accepted_moment_of_a_name_is_remembered_however_many_names_follow(
    clock: FakeClock,
) -> None:
    moments = {"google": NOW}
    named = NamedNotBefores(as_coroutine(lambda name: moments.get(name, 0)), clock=clock)
    assert run_sync(named.of("google").moment()) == NOW
    moments.clear()  # Somebody deletes the item.
    for number in range(NAMES_MAX + 1):
        run_sync(named.of(f"p{number}").moment())
    assert run_sync(named.of("google").moment()) == NOW


# The alarm


def alarms(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [
        record for record in caplog.records if record.name == "sessions_kms.storage.not_before"
    ]
    assert {record.levelno for record in found} <= {logging.ERROR}
    return [record.getMessage() for record in found]


def test_alarm_names_setting_difference_and_remedy(
    source: CutoffSource, caplog: pytest.LogCaptureFixture
) -> None:
    source.moment = NOW + 86_400
    source.cutoff()
    (told,) = alarms(caplog)
    assert "86,400 s ahead" in told
    assert "end_sessions" in told


def test_alarm_names_the_setting_and_the_provider(
    source: CutoffSource, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    run_sync(NotBefore(as_coroutine(source), at_least=FAR, clock=clock).moment())
    run_sync(NamedNotBefores(as_coroutine(lambda _: FAR), clock=clock).of("google").moment())
    setting, provider = alarms(caplog)
    assert "NOT_BEFORE" in setting
    assert "google" in provider
    assert "--provider" in provider


def test_alarm_is_repeated_hourly_and_at_each_other_moment(
    source: CutoffSource, caplog: pytest.LogCaptureFixture
) -> None:
    source.moment = FAR
    for _ in range(ALARM_EVERY // 30):
        source.cutoff()
        source.clock.advance(30)
    assert len(alarms(caplog)) == 1
    source.cutoff()
    assert len(alarms(caplog)) == 2
    source.moment = FAR + 1
    source.clock.advance(30)
    source.cutoff()
    assert len(alarms(caplog)) == 3


def test_no_alarm_for_a_valid_cutoff(
    source: CutoffSource, caplog: pytest.LogCaptureFixture
) -> None:
    source.moment = NOW + AHEAD
    source.cutoff()
    assert alarms(caplog) == []


def test_log_handler_that_reads_the_cutoff_gets_it(source: CutoffSource, clock: FakeClock) -> None:
    source.moment = FAR
    not_before = NotBefore(as_coroutine(source), at_least=0, clock=clock)
    asked: list[int] = []

    class Asking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            asked.append(run_sync(not_before.moment()))

    logger = logging.getLogger("sessions_kms.storage.not_before")
    handler = Asking()
    logger.addHandler(handler)
    try:
        assert run_sync(not_before.moment()) == 0
    finally:
        logger.removeHandler(handler)
    assert asked == [0]
    assert source.reads == 1


# Visitors, and the operator


def test_far_future_item_locks_nobody_out(stack: Stack) -> None:
    before = save_session()
    put(stack, FAR)
    stack.clock.advance(60)
    after = save_session()
    assert is_alive(before)
    assert is_alive(after)
    restart(stack)
    assert is_alive(before)
    assert is_alive(after)


def test_far_future_setting_locks_nobody_out(make_fake: MakeStack) -> None:
    make_fake(not_before=FAR)
    assert is_alive(save_session())


def test_far_future_item_does_not_hide_a_known_cutoff(stack: Stack) -> None:
    ended = save_session()
    ending.end_before(services.services(), NOW)
    put(stack, FAR)
    stack.clock.advance(60)
    assert not is_alive(ended)


@pytest.mark.parametrize("ahead", [AHEAD + 1, 86_400])
def test_moment_far_ahead_is_overwritten(fake: Stack, ahead: int) -> None:
    put(fake, NOW + ahead)
    assert ending.end_before(services.services(), NOW - 5)
    assert stored_cutoff(fake) == NOW - 5


def test_moment_very_far_ahead_is_overwritten_in_every_store(stack: Stack) -> None:
    put(stack, FAR)
    assert ending.end_before(services.services(), NOW - 5)
    assert stored_cutoff(stack) == NOW - 5


@pytest.mark.parametrize("ahead", [-4, 0, AHEAD])
def test_later_moment_that_counts_is_not_lowered(fake: Stack, ahead: int) -> None:
    put(fake, NOW + ahead)
    assert not ending.end_before(services.services(), NOW - 5)
    assert stored_cutoff(fake) == NOW + ahead


def test_slow_clock_lowers_nothing_that_counts_by_the_clock_of_aws(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(fake, NOW)
    fake.clock.advance(-3600)
    monkeypatch.setattr(fake.services.queries, "server_time", as_coroutine(lambda: float(NOW)))
    assert not ending.end_before(services.services(), NOW - 7200)
    assert stored_cutoff(fake) == NOW


def test_of_many_that_overwrite_it_at_once_the_latest_remains(stack: Stack) -> None:
    put(stack, FAR)
    raised = together(8, lambda index: ending.end_before(services.services(), NOW - index))
    assert True in raised
    assert stored_cutoff(stack) == NOW


@pytest.mark.parametrize("make_stack", ["moto"], indirect=True)
def test_cutoff_set_far_ahead_again_in_the_meantime_is_a_failure(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write was refused because of an earlier item; the present one ends nothing."""
    items = stack.services.not_before_items
    reading = items.get
    put(stack, NOW + 10)

    async def overwritten(name: str | None = None) -> int:
        put(stack, FAR)
        return await reading(name)

    monkeypatch.setattr(items, "get", overwritten)
    with pytest.raises(TableUnavailable):
        ending.end_before(services.services(), NOW)


def test_command_ends_all_despite_a_far_future_cutoff_and_reports_it(stack: Stack) -> None:
    ended = save_session()
    put(stack, FAR)
    stack.clock.advance(1)
    done = end("--all", "--no-delete", "--json")
    assert (done.status, done.json["raised"]) == (0, True)
    stack.clock.advance(1)
    after = save_session()
    restart(stack)
    assert [is_alive(ended), is_alive(after)] == [False, True]


def test_named_moment_far_ahead_does_not_count_and_is_overwritten(stack: Stack) -> None:
    item_id = f"{ITEM}#google"
    put(stack, FAR, item_id)
    assert run_sync(services.services().not_before_of("google").moment()) == 0
    assert ending.end_before_of(services.services(), "google", NOW)
    assert stored_cutoff(stack, item_id) == NOW
    assert run_sync(services.services().not_before_of("google").moment()) == NOW
