"""Sessions while DynamoDB or KMS throttles, fails, hangs or garbles.

Each fault strikes each operation over real HTTP: the call succeeds or raises
StoreUnavailable, and whoever looks afterwards finds the old session or the new one.
"""

import json
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import pytest

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency import deadline
from sessions_kms.exceptions import (
    KMSUnavailable,
    SessionMoved,
    StoreUnavailable,
    TableUnavailable,
)
from tests.sessions_kms.support.faults import (
    Exchange,
    Fault,
    FaultProxy,
    Response,
    apply_and,
    change_response,
    claim_shorter,
    cut_off,
    delay,
    drop_connection,
    error,
    hold_exchange,
    respond_with,
)
from tests.sessions_kms.support.faulty import FaultyStack, MakeFaulty
from tests.sessions_kms.support.operations import stored_item
from tests.sessions_kms.support.sessions import save_session


@pytest.fixture(params=["builtin", pytest.param("boto", marks=pytest.mark.long)])
def make_faulty(request: pytest.FixtureRequest, make_faulty: MakeFaulty) -> MakeFaulty:
    """Give a maker of stacks whose table is asked by one of the clients."""
    return lambda **config: make_faulty(client=request.param, **config)


pytestmark = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)

OLD = {"token": "old", "other": 1}
NEW = {"token": "new", "other": 1}


def base64_broken(body: bytes) -> bytes:
    """Make the base64 of every binary in a response one that cannot be decoded."""

    def break_down(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: break_down(member, key) for key, member in value.items()}
        return "A" if name in {"B", "Plaintext", "CiphertextBlob"} else value

    return json.dumps(break_down(json.loads(body))).encode()


def cut_after(length: int) -> Fault:
    """Forward, and drop what follows so many bytes, the last one in any case."""
    return change_response(lambda body: body[:-1][:length])


def with_members(value: object) -> Fault:
    """Forward, and make every member of the response this value."""
    return change_response(lambda body: json.dumps(dict.fromkeys(json.loads(body), value)).encode())


RETRIED: dict[str, Fault] = {
    "throttled": error("ThrottlingException"),
    "capacity exceeded": error("ProvisionedThroughputExceededException"),
    "error 500": error("InternalServerError", 500),
    "error 503": error("ServiceUnavailable", 503),
    "dropped": drop_connection,
    "answer lost": apply_and(drop_connection),
    "applied, then 500": apply_and(error("InternalServerError", 500)),
    "applied, then 500 with its answer": change_response(lambda body: body, status=500),
    "applied, then 500 garbled": change_response(lambda body: body[:-2], status=500),
}
NOT_RETRIED: dict[str, Fault] = {
    "access denied": error("AccessDeniedException"),
    "credentials expired": error("ExpiredTokenException"),
    "transaction in conflict": error("TransactionConflictException"),
    "truncated": change_response(lambda body: body[: len(body) // 2]),
    "truncated by one byte": change_response(lambda body: body[:-1]),
    "empty": change_response(lambda body: b""),
    "cut off": cut_off,
    "length too short": claim_shorter,
    "not JSON": change_response(lambda body: b"<html>" + body),
    "not UTF-8": change_response(lambda body: b"\xff" + body),
    "base64 broken": change_response(base64_broken),
    "members are null": with_members(None),
    "members are numbers": with_members(1),
    "members are text": with_members("text"),
    "members are lists": with_members([1]),
    "members are empty lists": with_members([]),
    "JSON {}": change_response(lambda _: b"{}"),
    "JSON []": change_response(lambda _: b"[]"),
    "JSON [{}]": change_response(lambda _: b'[{"a": 1}]'),
    "JSON null": change_response(lambda _: b"null"),
    "JSON 1": change_response(lambda _: b"1"),
    "JSON text": change_response(lambda _: b'"text"'),
    "error without a type": respond_with(b"{}", 400),
    "error is a list": respond_with(b"[]", 400),
    "error's type is a number": respond_with(b'{"__type": 5}', 400),
    "error is not UTF-8": respond_with(b"\xff<html>", 403),
    "redirected": respond_with(b"", 307),
    "canceled for no reason": error("TransactionCanceledException"),
    "canceled for null": error("TransactionCanceledException", CancellationReasons=None),
    "canceled for nulls": error("TransactionCanceledException", CancellationReasons=[None]),
    "canceled for text": error("TransactionCanceledException", CancellationReasons="text"),
    "canceled for odd codes": error(
        "TransactionCanceledException", CancellationReasons=[{"Code": 1}, {"Code": None}, {}]
    ),
    "condition failed": error("ConditionalCheckFailedException"),
    "condition failed on nothing": error("ConditionalCheckFailedException", Item={}),
    "condition failed on nonsense": error("ConditionalCheckFailedException", Item={"id": 5}),
}
# A failed condition is none of these: a read has none, so that it answers another request.
SAID = {
    "access denied",
    "credentials expired",
    "error without a type",
    "transaction in conflict",
}
# A condition that failed, time and again, is not for want of a response.
LASTING = {
    what: fault
    for what, fault in (RETRIED | NOT_RETRIED).items()
    if not what.startswith("condition failed")
}
# An unclear response occurs once in each run; if it lasted, the second read would fail as well.
FEW = RETRIED | {what: LASTING[what] for what in ("access denied", "cut off", "not JSON")}


class Action(NamedTuple):
    """What a request does, and the call of it that is struck."""

    operation: str
    service: Literal["table", "kms"]
    do: Callable[[SessionStore], object]
    config: dict[str, Any] = {}  # noqa: RUF012 - read only


ACTIONS = {
    "load": Action("GetItem", "table", SessionStore.load),
    "create": Action("PutItem", "table", SessionStore.create),
    "save": Action("PutItem", "table", SessionStore.save),
    "cycle_key": Action("TransactWriteItems", "table", SessionStore.cycle_key),
    "delete": Action("DeleteItem", "table", SessionStore.delete),
    "unwrap": Action("Decrypt", "kms", SessionStore.load),
    "seal": Action("GenerateDataKey", "kms", SessionStore.save, {"data_key_period": 0}),
}
EACH_ACTION = pytest.mark.parametrize("name", ACTIONS)


def proxy_of(faulty: FaultyStack, action: Action) -> FaultProxy:
    return faulty.table if action.service == "table" else faulty.kms


def strike(faulty: FaultyStack, name: str, fault: Fault, times: int | None) -> Exception | None:
    """Let a fault strike an action, check what is left, and give what was raised."""
    action = ACTIONS[name]
    faulty.restart()
    key = save_session(**OLD).session_key
    records = len(faulty.stack.sessions()) if name == "cycle_key" else 0
    faulty.restart()
    session = SessionStore(None if name == "create" else key)
    if name != "unwrap":
        session["token"] = "new"
    proxy_of(faulty, action).on(action.operation, fault, times=times)
    raised = None
    try:
        action.do(session)
    except Exception as exc:  # noqa: BLE001 - its type is what is tested
        raised = exc
    asked = proxy_of(faulty, action).operations
    assert action.operation in asked, "the fault did not strike"
    faulty.restart()
    CHECKS[name](session, key, raised)
    if name == "cycle_key":
        assert len(faulty.stack.sessions()) == records, "both or neither"
    return raised


def check_load(session: SessionStore, key: str | None, raised: object) -> None:
    assert session.session_key == key
    assert stored_item(key) == OLD


def check_create(session: SessionStore, key: str | None, raised: object) -> None:
    assert stored_item(key) == OLD
    assert stored_item(session.session_key) == ({} if raised else {"token": "new"})
    assert (session.session_key is None) == bool(raised)


def check_save(session: SessionStore, key: str | None, raised: object) -> None:
    assert session.session_key == key
    assert stored_item(key) in ([OLD, NEW] if raised else [NEW])


def check_cycle(session: SessionStore, key: str | None, raised: object) -> None:
    if raised:
        assert session.session_key == key
        assert stored_item(key) == OLD
    else:
        assert stored_item(session.session_key) == NEW
        assert stored_item(key) == {}


def check_delete(session: SessionStore, key: str | None, raised: object) -> None:
    assert session.session_key == key
    assert stored_item(key) in ([OLD, {}] if raised else [{}])


CHECKS = {
    "load": check_load,
    "create": check_create,
    "save": check_save,
    "cycle_key": check_cycle,
    "delete": check_delete,
    "unwrap": check_load,
    "seal": check_save,
}


def outcomes(
    faulty: FaultyStack, name: str, faults: dict[str, Fault], times: int | None
) -> dict[str, Exception | None]:
    return {what: strike(faulty, name, fault, times) for what, fault in faults.items()}


def is_unavailable(name: str, raised: Exception | None) -> bool:
    expected = TableUnavailable if ACTIONS[name].service == "table" else KMSUnavailable
    return isinstance(raised, expected) or type(raised) in {StoreUnavailable, SessionMoved}


@EACH_ACTION
def test_fault_that_strikes_once_is_survived_by_the_second_try(
    make_faulty: MakeFaulty, name: str
) -> None:
    faulty = make_faulty(**ACTIONS[name].config)
    raised = outcomes(faulty, name, RETRIED | {"delayed": delay}, times=1)
    assert raised == dict.fromkeys(raised)


@pytest.mark.parametrize("name", ["create", "save", "cycle_key", "delete"])
def test_write_outlasts_a_transaction_on_its_item(make_faulty: MakeFaulty, name: str) -> None:
    fault = error("TransactionConflictException")
    if name == "cycle_key":
        reasons = [{"Code": "None"}, {"Code": "TransactionConflict"}]
        fault = error("TransactionCanceledException", CancellationReasons=reasons)
    assert strike(make_faulty(), name, fault, times=3) is None


def test_delete_rejects_incomplete_responses(faulty: FaultyStack) -> None:
    session = save_session(**OLD)
    faulty.table.on("DeleteItem", respond_with(b"{}"))
    with pytest.raises(TableUnavailable):
        session.delete()
    assert stored_item(session.session_key) == OLD


@EACH_ACTION
@pytest.mark.parametrize(
    ("faults", "times"),
    [
        pytest.param(NOT_RETRIED, 1, id="once", marks=pytest.mark.slow),
        pytest.param(FEW, None, id="lasting"),
        pytest.param(LASTING, None, id="all, lasting", marks=pytest.mark.long),
    ],
)
def test_unclear_response_is_success_or_store_unavailable(
    make_faulty: MakeFaulty, name: str, faults: dict[str, Fault], times: int | None
) -> None:
    faulty = make_faulty(**ACTIONS[name].config)
    raised = outcomes(faulty, name, faults, times)
    wrong = {what: exc for what, exc in raised.items() if exc and not is_unavailable(name, exc)}
    assert wrong == {}
    fine = {what for what, exc in raised.items() if exc is None}
    if name == "load" and times and faulty.stack.config.client == "builtin":
        # What the wire cannot read it asks for once more; what was said it takes for said.
        assert fine & SAID == set()
    elif name in {"load", "unwrap", "seal"}:
        assert fine == set()


@EACH_ACTION
@pytest.mark.parametrize(("fault", "times"), [(apply_and(hold_exchange), 1), (hold_exchange, None)])
def test_hanging_call_ends_at_the_timeout(
    make_faulty: MakeFaulty,
    name: str,
    fault: Fault,
    times: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patient = deadline.HASTY

    def hang(exchange: Exchange) -> Response:
        if times:  # On a busy machine, the responses that follow take their time.
            monkeypatch.setattr(deadline, "HASTY", patient)
        return fault(exchange)

    monkeypatch.setattr(deadline, "HASTY", patient._replace(first_byte=0.2))
    raised = strike(make_faulty(**ACTIONS[name].config), name, hang, times)
    assert raised is None if times else is_unavailable(name, raised)


def test_save_of_unknown_outcome_may_be_repeated(faulty: FaultyStack) -> None:
    session = save_session(**OLD)
    session["token"] = "new"
    faulty.table.operations.clear()
    faulty.table.on("PutItem", apply_and(drop_connection))
    faulty.table.on("GetItem", drop_connection)
    with pytest.raises(TableUnavailable):
        session.save()
    assert faulty.table.operations.count("PutItem") == 1, "boto sent a write again"
    faulty.table.heal()
    session["more"] = True
    session.save()
    assert stored_item(session.session_key) == NEW | {"more": True}


@pytest.mark.parametrize("live", [True, False])
def test_get_item_cut_anywhere_is_no_miss(faulty: FaultyStack, live: bool) -> None:
    key = save_session(**OLD).session_key if live else "k" * 32
    SessionStore(key).load()
    whole = max(len(body) for body in faulty.table.responses)
    for length in range(0, whole, 23 if live else 1):
        faulty.table.heal()
        faulty.table.on("GetItem", cut_after(length))
        session = SessionStore(key)
        with pytest.raises(TableUnavailable):
            session.load()
        assert session.session_key == key
