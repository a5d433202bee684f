"""A machine whose clock is wrong serves as one whose clock is right.

Before DynamoDB and KMS stand proxies that refuse, as AWS does, what was signed more than five
minutes off the true time, which is that of their own `Date`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from sessions_kms import services
from sessions_kms.aws import clients
from sessions_kms.aws.clock import ServerClock, set_clock
from sessions_kms.backend import SessionStore
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.services import Services
from tests.sessions_kms.support.faults import Exchange, FaultProxy, Response, error
from tests.sessions_kms.support.faulty import FaultyStack, MakeFaulty
from tests.sessions_kms.support.stacks import install

pytestmark = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)

OPERATIONS = ("GetItem", "PutItem", "TransactWriteItems", "DeleteItem", "Query")
KMS_OPERATIONS = ("GenerateDataKey", "Decrypt")
MINUTES, DAYS = 60, 86_400


def as_aws(exchange: Exchange) -> Response:
    """Refuse what was signed at another time, as AWS does."""
    signed = datetime.strptime(exchange.signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if abs(signed.timestamp() - time.time()) > 5 * MINUTES:
        return error("InvalidSignatureException")(exchange)
    return exchange.forward()


@pytest.fixture
def aws(make_faulty: MakeFaulty) -> FaultyStack:
    faulty = make_faulty()
    strict(faulty)
    return faulty


def strict(faulty: FaultyStack) -> None:
    def on(proxy: FaultProxy, operations: tuple[str, ...]) -> None:
        proxy.heal()
        for operation in operations:
            proxy.on(operation, as_aws)

    on(faulty.table, OPERATIONS)
    on(faulty.kms, KMS_OPERATIONS)


class Machine:
    """One machine, whose clock is so many seconds ahead of the true time."""

    def __init__(self, aws: FaultyStack, ahead: float) -> None:
        self.ahead = ahead
        self._config = aws.stack.config
        self._services: Services | None = None

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Serve requests with a fresh process's clients, and this process's memory."""
        if self._services is None:
            clients.reset()
            clock = ServerClock(lambda: time.time() + self.ahead)
            self._services = services.build(self._config, clock=clock)
        assert isinstance(self._services.clock, ServerClock)
        set_clock(self._services.clock)
        install(self._services)
        yield

    def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        with self.serving():
            return work(*arguments)


def save_session(age: int = 3600) -> str:
    session = SessionStore()
    session["_auth_user_id"] = "7"
    session.set_expiry(age)
    session.save()
    return session.session_key or ""


def user(key: str) -> object:
    return SessionStore(key).get("_auth_user_id")


def visit(key: str) -> object:
    session = SessionStore(key)
    session["seen"] = session.get("seen", 0) + 1
    session.save()
    return user(key)


def cycle_key(key: str) -> str:
    session = SessionStore(key)
    session.cycle_key()
    return session.session_key or ""


@pytest.mark.parametrize("ahead", [10 * MINUTES, -10 * MINUTES, 2 * DAYS, -2 * DAYS])
def test_machine_with_a_wrong_clock_serves_like_others(aws: FaultyStack, ahead: int) -> None:
    right, wrong = Machine(aws, 0), Machine(aws, ahead)
    keys = [right.run(save_session) for _ in range(10)]
    assert [wrong.run(user, key) for key in keys] == ["7"] * 10
    assert [wrong.run(visit, key) for key in keys] == ["7"] * 10
    made = wrong.run(save_session)
    moved = wrong.run(cycle_key, keys[0])
    assert [right.run(visit, key) for key in (made, moved)] == ["7"] * 2
    now = time.time()
    for item in aws.stack.sessions().values():
        for name, moment in (("createdAt", now), ("updatedAt", now), ("ttl", now + 3600)):
            assert abs(int(item[name]["N"]) - moment) < 30, name


@pytest.mark.parametrize("ahead", [10 * MINUTES, -10 * MINUTES, 2 * DAYS, -2 * DAYS])
def test_first_session_of_a_process_uses_the_corrected_time(aws: FaultyStack, ahead: int) -> None:
    key = Machine(aws, ahead).run(save_session)
    (item,) = aws.stack.sessions().values()
    assert abs(int(item["updatedAt"]["N"]) - time.time()) < 30
    assert Machine(aws, 0).run(lambda: user(key)) == "7"


def read_outcome(key: str) -> str:
    visit(key)
    return key


def sign_in_anew(_: str) -> str:
    return save_session(7 * DAYS)


@pytest.mark.parametrize("ahead", [3600, -7200, 2 * DAYS])
@pytest.mark.parametrize("work", [read_outcome, cycle_key, sign_in_anew])
def test_clock_that_is_set_while_a_process_serves_signs_nobody_out(
    aws: FaultyStack, work: Callable[[str], str], ahead: int
) -> None:
    """What the process seals next has the right time, though only a refusal tells it."""
    machine, other = Machine(aws, 0), Machine(aws, 0)
    key = machine.run(save_session, 7 * DAYS)
    assert [machine.run(user, key) for _ in range(8)] == ["7"] * 8
    machine.ahead = ahead
    key = machine.run(work, key)
    assert [each.run(user, key) for each in (other, machine)] == ["7"] * 2
    now = time.time()
    for item in aws.stack.sessions().values():
        for name, moment in (("updatedAt", now), ("ttl", now + 7 * DAYS)):
            assert abs(int(item[name]["N"]) - moment) < 30, name


def test_no_session_ends_early_where_two_machines_are_ten_minutes_apart(aws: FaultyStack) -> None:
    early, late = Machine(aws, 10 * MINUTES), Machine(aws, 0)
    for first, second in ((early, late), (late, early)):
        key = first.run(save_session, 60)
        assert second.run(user, key) == "7"
        ends = max(int(item["ttl"]["N"]) for item in aws.stack.sessions().values())
        assert ends - time.time() > 60 - 10


def test_ended_session_is_rejected_by_a_machine_with_a_slow_clock(aws: FaultyStack) -> None:
    right, behind = Machine(aws, 0), Machine(aws, -10 * MINUTES)
    key = right.run(save_session)
    (item,) = aws.stack.sessions().values()
    aws.stack.put_item(item | {"ttl": {"N": str(int(time.time()) - 5)}})
    assert behind.run(lambda: SessionStore().exists(key)) is False


def test_signature_is_made_once_more_and_not_again_and_again(aws: FaultyStack) -> None:
    key = Machine(aws, 0).run(save_session)
    wrong = Machine(aws, 10 * MINUTES)
    aws.table.operations.clear()
    assert wrong.run(lambda: user(key)) == "7"
    first = len(aws.table.operations)
    assert wrong.run(lambda: user(key)) == "7"
    assert len(aws.table.operations) - first == 1  # It has learned what time it is.


def test_signature_refused_for_another_reason_is_not_made_again(aws: FaultyStack) -> None:
    key = Machine(aws, 0).run(save_session)
    aws.table.heal()
    aws.table.on("GetItem", error("InvalidSignatureException"))
    with pytest.raises(StoreUnavailable):
        Machine(aws, 0).run(lambda: SessionStore(key).load())
    assert aws.table.operations == ["GetItem"]


def test_machine_that_is_weeks_off_answers_503_and_keeps_everyone_signed_in(
    aws: FaultyStack,
) -> None:
    key = Machine(aws, 0).run(save_session)
    wrong = Machine(aws, 8 * DAYS)

    def load() -> None:
        session = SessionStore(key)
        with pytest.raises(StoreUnavailable):
            session.load()
        assert session.session_key == key

    wrong.run(load)
    wrong.ahead = 0  # Somebody sets it.
    for _ in range(3):
        with wrong.serving():
            try:
                user(key)
            except StoreUnavailable:
                continue
    assert wrong.run(lambda: user(key)) == "7"
