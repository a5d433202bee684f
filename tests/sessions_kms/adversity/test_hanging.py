"""DynamoDB or KMS hangs: later requests do not wait for it."""

from collections.abc import Callable

import pytest

from sessions_kms.aws import calls, circuit
from sessions_kms.aws.circuit import TIMEOUTS_MAX
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.deadline import Limits
from sessions_kms.doctor.process import wait_findings
from sessions_kms.exceptions import KMSUnavailable, StoreUnavailable, TableUnavailable
from tests.sessions_kms.support.faults import FaultProxy, hold_exchange
from tests.sessions_kms.support.faulty import FaultyStack, MakeFaulty
from tests.sessions_kms.support.sessions import saved_key
from tests.support.waiting import until

pytestmark = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)


@pytest.fixture
def faulty(make_faulty: MakeFaulty, monkeypatch: pytest.MonkeyPatch) -> FaultyStack:
    """Yield a stack with short waits, whose probes the test starts."""
    monkeypatch.setattr(circuit, "PROBE_EVERY", 0.05)
    return make_faulty()


@pytest.fixture
def hasty(faulty: FaultyStack, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    limits = Limits(connect=1, first_byte=0.2, attempt=0.25, call=3)
    return lambda: monkeypatch.setattr(deadline, "HASTY", limits)


def load(key: str) -> object:
    return SessionStore(key).get("token")


def hang(proxy: FaultProxy) -> None:
    for operation in ("GetItem", "PutItem", "Decrypt", "GenerateDataKey"):
        proxy.on(operation, hold_exchange)


def works(call: Callable[[], object]) -> bool:
    try:
        call()
    except StoreUnavailable:
        return False
    return True


def test_hanging_table_gets_only_probes_until_it_responds(
    faulty: FaultyStack, hasty: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = saved_key(token="mine")
    hasty()
    hang(faulty.table)
    faulty.table.operations.clear()
    faulty.table.requests.clear()
    for _ in range(TIMEOUTS_MAX):
        with pytest.raises(TableUnavailable):
            load(key)
    monkeypatch.setattr(circuit, "PROBE_EVERY", 60)
    for _ in range(50):
        with pytest.raises(TableUnavailable):
            load(key)
        with pytest.raises(TableUnavailable):
            saved_key(token="mine")
    asked = [request["Key"]["id"]["S"] for _, request in faulty.table.requests if "Key" in request]
    assert len([each for each in asked if each != "probe"]) <= TIMEOUTS_MAX + 2
    assert faulty.table.operations.count("PutItem") == 0


def test_doctor_reports_a_hanging_service(faulty: FaultyStack, hasty: Callable[[], None]) -> None:
    assert [each.level for each in wait_findings()] == ["ok"]
    key = saved_key(token="mine")
    hasty()
    hang(faulty.table)
    while not calls.service("dynamodb").circuit.is_open:
        assert not works(lambda: load(key))
    (found,) = wait_findings()
    assert found.level == "failing"
    assert found.detail.startswith("dynamodb: timed out")


def test_table_that_answers_again_is_used_again(
    faulty: FaultyStack, hasty: Callable[[], None]
) -> None:
    key = saved_key(token="mine")
    hasty()
    hang(faulty.table)
    while not calls.service("dynamodb").circuit.is_open:
        assert not works(lambda: load(key))
    faulty.table.heal()
    assert until(lambda: works(lambda: load(key)))
    assert load(key) == "mine"
    assert saved_key(token="mine")


def test_who_holds_a_data_key_never_waits_for_kms(
    faulty: FaultyStack, hasty: Callable[[], None]
) -> None:
    key = saved_key(token="mine")
    hang(faulty.kms)
    faulty.stack.clock.advance(faulty.stack.config.data_key_cache_age - 1)
    asked = len(faulty.kms.operations)
    for _ in range(10):
        assert load(key) == "mine"
        assert saved_key(token="mine")
    assert len(faulty.kms.operations) == asked
    hasty()
    faulty.stack.clock.advance(1)
    (circuit_of_kms,) = [
        known.circuit for name, known in calls._services.items() if name.startswith("kms")
    ]
    while not circuit_of_kms.is_open:  # Whoever asks in line waits for a time-out at most.
        assert load(key) == "mine"
        faulty.stack.clock.advance(1)
    asked = faulty.kms.operations.count("GenerateDataKey")
    for _ in range(10):
        faulty.stack.clock.advance(1)
        assert load(key) == "mine"
        assert saved_key(token="mine")
    assert faulty.kms.operations.count("GenerateDataKey") == asked


def test_process_without_a_data_key_gets_a_response_at_once_while_kms_hangs(
    faulty: FaultyStack, hasty: Callable[[], None]
) -> None:
    key = saved_key(token="mine")
    faulty.restart()
    hasty()
    hang(faulty.kms)
    for _ in range(3 * TIMEOUTS_MAX):
        with pytest.raises(KMSUnavailable):
            load(key)
        faulty.stack.clock.advance(1)
    assert faulty.kms.operations.count("Decrypt") < 2 * TIMEOUTS_MAX
    faulty.kms.heal()

    def loads_later() -> bool:
        faulty.stack.clock.advance(1)
        return works(lambda: load(key))

    assert until(loads_later)
