"""Four processes with one table and one KMS, over HTTP: refreshing at once, ended, killed."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.oauth.support.grant_worker import GrantWorker
from tests.sessions_kms.support.stacks import aws_stack, settings_of
from tests.support.clock import FakeClock
from tests.support.local_kms import LocalKMS, running_kms
from tests.support.roto import running_roto

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
PROCESSES = 4
THREADS = 16
TRIES = 50
# A request without a result in time (on a busy machine) is repeated.
UNTOLD = {"StoreUnavailable", "TableUnavailable", "KMSUnavailable", "FateUnknown", "NotApplied"}


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[LocalKMS, str]]:
    with running_kms() as kms, running_roto() as roto:
        yield kms, roto


@pytest.fixture
def workers(
    servers: tuple[LocalKMS, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[GrantWorker]]:
    kms, roto = servers
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", kms.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", roto)
    stack = aws_stack("servers", FakeClock(time.time()))
    settings = settings_of(stack.config) | {"REGION_NAME": stack.config.region_name}
    with ExitStack() as made:
        yield [made.enter_context(GrantWorker(settings)) for _ in range(PROCESSES)]


def result_of(worker: GrantWorker, do: str, **arguments: Any) -> Any:
    """Ask until there is a response."""
    for _ in range(TRIES):
        response = worker.ask(do, **arguments)
        if not isinstance(response, str) or response not in UNTOLD:
            return response
    raise AssertionError


def is_alive(worker: GrantWorker, issued: dict[str, Any]) -> bool:
    return bool(result_of(worker, "lives", access_token=issued["access_token"]))


def begin_grant(workers: list[GrantWorker]) -> dict[str, Any]:
    """Begin a grant that every process has met, so that all race with warm connections."""
    while not isinstance(
        issued := workers[0].ask("redeem", code=result_of(workers[0], "allow")), dict
    ):
        assert issued in UNTOLD
    assert all(is_alive(worker, issued) for worker in workers)
    return issued


def race(workers: list[GrantWorker], token: str) -> list[Any]:
    for worker in workers:
        worker.tell("refresh_many", token=token, threads=THREADS)
    return [each for worker in workers for each in worker.read_result()]


def test_concurrent_refreshes_of_one_token_get_one_pair(workers: list[GrantWorker]) -> None:
    issued = begin_grant(workers)
    for _ in range(3):
        outcomes = race(workers, issued["refresh_token"])
        assert len(outcomes) == PROCESSES * THREADS
        pairs = [each for each in outcomes if isinstance(each, dict)]
        assert {each for each in outcomes if isinstance(each, str)} <= UNTOLD
        pairs.append(result_of(workers[-1], "refresh", token=issued["refresh_token"]))
        assert {each["refresh_token"] for each in pairs} == {pairs[0]["refresh_token"]}
        issued = pairs[0]
        assert is_alive(workers[1], issued)


def test_code_redeemed_in_all_processes_at_once_yields_one_working_pair(
    workers: list[GrantWorker],
) -> None:
    begin_grant(workers)
    code = result_of(workers[0], "allow")
    for worker in workers:
        worker.tell("redeem", code=code)
    outcomes = [worker.read_result() for worker in workers]
    pairs = [each for each in outcomes if isinstance(each, dict)]
    assert len(pairs) <= 1
    assert {each for each in outcomes if isinstance(each, str)} <= {"InvalidGrant", *UNTOLD}
    assert all(is_alive(workers[0], each) for each in pairs)


def test_grant_that_its_person_ends_in_the_middle_stays_ended(workers: list[GrantWorker]) -> None:
    issued = begin_grant(workers)
    *racing, ends = workers
    for worker in racing:
        worker.tell("refresh_many", token=issued["refresh_token"], threads=THREADS)
    assert result_of(ends, "end") <= 1  # 0 where an end whose response was lost had been one
    outcomes = [each for worker in racing for each in worker.read_result()]
    assert {each for each in outcomes if isinstance(each, str)} <= {"InvalidGrant", *UNTOLD}
    for each in (issued, *(each for each in outcomes if isinstance(each, dict))):
        assert not is_alive(ends, each)
        assert result_of(ends, "refresh", token=each["refresh_token"]) == "InvalidGrant"


def test_grant_survives_all_processes_but_one(workers: list[GrantWorker]) -> None:
    issued = begin_grant(workers)
    survivor, *dying = workers
    for delay in (0, 0.01, 0.02):
        worker = dying.pop()
        worker.tell("refresh_many", token=issued["refresh_token"], threads=THREADS)
        time.sleep(delay)  # Somewhere before, within or after its transaction.
        worker.kill()
        issued = result_of(survivor, "refresh", token=issued["refresh_token"])
        assert isinstance(issued, dict)
        assert is_alive(survivor, issued)
