"""Whether a new process is ready, for every order of what its dependencies answer.

Adversaries: a new process with a wrong table, key or role; one that is started in an outage, or
whose role is not known yet.
"""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from itertools import product

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError

from gateway_site.health.probes import DatabaseRejectedError, Outcome, SharedProbe
from gateway_site.health.readiness import OUTCOME_WITHIN, Readiness
from sessions_kms.exceptions import KMSUnavailable, TableUnavailable
from tests.support.clock import FakeClock

OK, REJECTED, FAILED = Outcome.OK, Outcome.REJECTED, Outcome.FAILED
ERRORS: dict[str, dict[Outcome, Exception]] = {
    "sql": {REJECTED: DatabaseRejectedError("28P01"), FAILED: OperationalError()},
    "table": {REJECTED: TableUnavailable(is_rejection=True), FAILED: TableUnavailable()},
    "kms": {REJECTED: KMSUnavailable(refused_key="arn"), FAILED: KMSUnavailable()},
}


class Process:
    """A new process: ``responses`` are what its dependencies answer now; None is none yet."""

    def __init__(self, clock: FakeClock) -> None:
        self.responses: dict[str, Outcome] = dict.fromkeys(ERRORS, OK)
        self.attempts = dict.fromkeys(ERRORS, 0)
        self.clock = clock
        self.probes = {name: self._probe(name) for name in ERRORS}
        self.readiness = Readiness(self.probes)

    def _probe(self, name: str) -> SharedProbe:
        def use() -> None:
            self.attempts[name] += 1
            if error := ERRORS[name].get(self.responses[name]):
                raise error

        return SharedProbe(name, use, clock=self.clock)

    def obstacle(self) -> str | None:
        """Return why it is not ready, as `/readyz` does."""
        for name in self.readiness.start():
            self.probes[name].outcome().result(10)
        responses = self.readiness.start()
        if (obstacle := self.readiness.find_obstacle(responses)) is None:
            self.readiness.settle()
        return obstacle

    def close(self) -> None:
        for probe in self.probes.values():
            probe.close()


@pytest.fixture
def process(clock: FakeClock) -> Iterator[Process]:
    made = Process(clock)
    yield made
    made.close()


def is_ready_after(history: Sequence[Sequence[Outcome]]) -> bool:
    """Return what the rule says of the outcomes of each round."""
    rejected, succeeded = False, set()
    for round_ in history:
        rejected = rejected or REJECTED in round_
        succeeded |= {name for name, each in zip(ERRORS, round_, strict=True) if each is OK}
        if not rejected or len(succeeded) == len(ERRORS):
            return True
    return False


def finished_future(outcome: Outcome) -> Future[Outcome]:
    future: Future[Outcome] = Future()
    future.set_result(outcome)
    return future


def test_rule_holds_for_every_history_of_two_rounds(process: Process) -> None:
    rounds = list(product(Outcome, repeat=len(ERRORS)))
    for history in product(rounds, repeat=2):
        readiness, is_ready = Readiness(process.probes), False
        for round_ in history:
            responses = dict(zip(ERRORS, map(finished_future, round_), strict=True))
            if is_ready := readiness.find_obstacle(responses) is None:
                readiness.settle()
        assert is_ready == is_ready_after(history), history


def test_each_rejection_is_named_and_tried_again_after_five_seconds(process: Process) -> None:
    process.responses = dict.fromkeys(ERRORS, REJECTED)
    for name in ERRORS:
        assert process.obstacle() == name
        process.responses[name] = OK
        process.clock.advance(4.9)
        assert process.obstacle() == name
        process.clock.advance(0.1)
    assert process.obstacle() is None


def test_process_that_was_ready_stays_ready_and_tries_nothing_more(process: Process) -> None:
    process.responses["table"] = FAILED
    assert process.obstacle() is None
    process.responses = dict.fromkeys(ERRORS, REJECTED)
    before = dict(process.attempts)
    for _ in range(3):
        process.clock.advance(5)
        assert process.obstacle() is None
    assert process.attempts == before


def test_process_without_any_response_is_not_ready_for_some_seconds(process: Process) -> None:
    process.readiness.start()
    assert process.readiness.find_obstacle({}) == "sql"
    process.clock.advance(OUTCOME_WITHIN - 1)
    assert process.readiness.find_obstacle({}) == "sql"
    process.clock.advance(1)
    assert process.readiness.find_obstacle({}) is None


def test_log_has_the_cause_of_a_rejection_and_the_remedy(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    error = TableUnavailable(is_rejection=True)
    error.__cause__ = RuntimeError("ResourceNotFoundException")
    ERRORS["table"][REJECTED], before = error, ERRORS["table"][REJECTED]
    process.responses |= {"sql": REJECTED, "table": REJECTED}
    try:
        process.obstacle()
    finally:
        ERRORS["table"][REJECTED] = before
    sql, table = sorted(caplog.messages)
    assert sql == "Health check of sql: it rejects this process. DatabaseRejectedError: 28P01."
    assert "RuntimeError: ResourceNotFoundException. `" in table
    assert table.endswith("check_session_store` says what to do.")
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


def test_wrong_setting_is_a_rejection(clock: FakeClock) -> None:
    def fail() -> None:
        raise ImproperlyConfigured

    probe = SharedProbe("table", fail, clock=clock)
    assert probe.outcome().result(10) is REJECTED
    probe.close()
