"""A store that breaks one promise at a time: the canary names it, and leaves nothing behind."""

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from http.client import HTTPConnection
from subprocess import DEVNULL
from typing import Any
from urllib.parse import urlsplit

import pytest

from sessions_kms.doctor import Measurements, examine
from sessions_kms.format import envelope
from sessions_kms.format.record import Header, SessionRecord
from sessions_kms.signals import session_refused
from tests.sessions_kms.support import checked_store
from tests.sessions_kms.support.check_ids import CHECKS
from tests.sessions_kms.support.checked_store import REGION, Store, check, client, troubles
from tests.sessions_kms.support.faults import (
    Exchange,
    Fault,
    FaultProxy,
    Response,
    error,
    hold_exchange,
    respond_with,
)
from tests.sessions_kms.support.stacks import on_aws
from tests.support.processes import started
from tests.support.signals import record_signal
from tests.support.waiting import wait_until

servers = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
store = checked_store.store
proxy = checked_store.table_proxy
# With the built-in client the engine reads again on another connection what such a response claims.
BELIEVING = {"CLIENT": "boto"}
APPLIED = json.dumps({"ConsumedCapacity": {"CapacityUnits": 1.0}}).encode()
SAVE = b"#revision = :revision"  # the condition of a save


def after(count: int, fault: Fault) -> Fault:
    """Let the first ones through."""
    seen = 0

    def strike(exchange: Exchange) -> Response:
        nonlocal seen
        seen += 1
        return fault(exchange) if seen > count else exchange.forward()

    return strike


def without_condition(url: str) -> Fault:
    """Do as an engine that does not know conditions."""

    def change(body: dict[str, Any]) -> None:
        for name in (
            "ConditionExpression",
            "ExpressionAttributeNames",
            "ExpressionAttributeValues",
        ):
            body.pop(name, None)

    return change_response(url, change)


def change_response(url: str, change: Callable[[dict[str, Any]], None]) -> Fault:
    """Have another request carried out than was sent."""

    def forward(exchange: Exchange) -> Response:
        body = json.loads(exchange.body)
        change(body)
        return send_request(url, exchange.operation, body)

    return forward


def send_request(url: str, operation: str, body: dict[str, Any]) -> Response:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        headers = {
            "X-Amz-Target": f"DynamoDB_20120810.{operation}",
            "Content-Type": "application/x-amz-json-1.0",
            "Authorization": "AWS4-HMAC-SHA256 Credential=testing/20260101/"
            f"{REGION}/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
        }
        connection.request("POST", "/", json.dumps(body), headers)
        got = connection.getresponse()
        return Response(got.status, {}, got.read())
    finally:
        connection.close()


def claim_applied(url: str) -> Fault:
    """Answer a put as applied, with the item that it would have replaced, and do nothing."""

    def pretend(exchange: Exchange) -> Response:
        body = json.loads(exchange.body)
        read = {"TableName": body["TableName"], "Key": {"id": body["Item"]["id"]}}
        stands = json.loads(send_request(url, "GetItem", read).body)
        told = {"Attributes": stands["Item"], "ConsumedCapacity": {"CapacityUnits": 1.0}}
        return Response(200, {}, json.dumps(told).encode())

    return pretend


def troubles_under(
    store: Store, proxy: FaultProxy, operation: str, fault: Fault, matching: bytes = b""
) -> dict[str, checked_store.Trouble]:
    """Look at a store that is broken so, and once more at what that has left in it."""
    proxy.on(operation, fault, matching=matching)
    found = troubles(canary=True)
    proxy.heal()
    assert troubles() == {}
    return found


@servers
def test_store_without_conditions_is_found(store: Store, proxy: FaultProxy, roto_url: str) -> None:
    found = troubles_under(store, proxy, "PutItem", without_condition(roto_url), SAVE)
    assert list(found) == ["canary conflict", "canary delete"]
    assert "supports condition expressions" in found["canary conflict"].remedy
    assert store.sessions() == []


@servers
def test_lost_update_is_found(store: Store, proxy: FaultProxy, roto_url: str) -> None:
    # The third save and those after it: the two that a merge consists of.
    found = troubles_under(store, proxy, "PutItem", after(2, without_condition(roto_url)), SAVE)
    assert list(found) == ["canary merge", "canary delete"]
    assert "one of two concurrent requests lost its change" in found["canary merge"].detail


@pytest.mark.slow
@servers
def test_record_taken_though_it_was_changed_is_found(store: Store, proxy: FaultProxy) -> None:
    store.configure(**BELIEVING)
    # The write that tampers is lost, so that what is read is whole: a record that opens.
    found = troubles_under(store, proxy, "PutItem", unconditional(respond_with(APPLIED)))
    assert list(found) == ["canary tamper"]
    assert found["canary tamper"].level == "failing"
    assert "Please report" in found["canary tamper"].remedy


def unconditional(fault: Fault) -> Fault:
    def strike(exchange: Exchange) -> Response:
        strikes = b"encryptedData" in exchange.body and b"Condition" not in exchange.body
        return fault(exchange) if strikes else exchange.forward()

    return strike


@pytest.mark.slow
@servers
def test_session_that_outlives_its_time_is_found(
    store: Store, proxy: FaultProxy, roto_url: str
) -> None:
    store.configure(**BELIEVING)
    # The save that ends it is confirmed, but not applied.
    expiring = after(7, claim_applied(roto_url))
    found = troubles_under(store, proxy, "PutItem", expiring, SAVE)
    assert next(iter(found)) == "canary expiry"
    assert found["canary expiry"].detail == "still valid after its expiry"


@servers
def test_session_that_is_not_deleted_is_found_and_ends_by_itself(
    store: Store, proxy: FaultProxy
) -> None:
    proxy.on("DeleteItem", respond_with(APPLIED), matching=b"ReturnConsumedCapacity")
    found = troubles(canary=True)
    assert list(found) == ["canary link", "canary delete"]
    assert {each.level for each in found.values()} == {"failing"}
    items = [item for item in store.items() if "#" not in item["id"]["S"]]
    left, tombstone = sorted(items, key=lambda item: "movedAt" in item)
    assert int(left["ttl"]["N"]) <= time.time() + 300
    assert int(tombstone["ttl"]["N"]) <= time.time() + 600
    proxy.heal()
    assert troubles(canary=True) == {}


@servers
@pytest.mark.parametrize(
    ("operation", "matching", "name"),
    [
        ("PutItem", b"attribute_not_exists(#id) OR", "canary create"),
        ("PutItem", SAVE, "canary conflict"),
        ("TransactWriteItems", b"", "canary cycle"),
        ("GetItem", b"about#", "canary about"),
        ("PutItem", b"logout#", "canary link"),
        ("PutItem", b"lease#", "canary lease"),
        ("TransactWriteItems", b"answer#", "canary token"),
    ],
)
def test_refused_step_is_reported_with_the_error_of_aws(
    store: Store, proxy: FaultProxy, operation: str, matching: bytes, name: str
) -> None:
    found = troubles_under(store, proxy, operation, error("AccessDeniedException"), matching)
    assert found[name].level == "failing"
    assert found[name].detail == "AccessDeniedException: injected"
    assert "Grant the action" in found[name].remedy
    assert store.sessions() == []


@servers
@pytest.mark.parametrize("code", ["UnknownOperationException", "ValidationException"])
def test_engine_without_transactions_is_found_before_anybody_signs_in(
    store: Store, proxy: FaultProxy, code: str
) -> None:
    found = troubles_under(store, proxy, "TransactWriteItems", error(code))
    assert list(found) == ["canary cycle"]
    assert found["canary cycle"].level == "failing"
    assert found["canary cycle"].detail.startswith(code)
    assert store.sessions() == []


@servers
@pytest.mark.parametrize("client", ["boto", "builtin"])
def test_falsely_confirmed_transaction_is_found(
    store: Store, proxy: FaultProxy, client: str
) -> None:
    store.configure(CLIENT=client)
    applied = json.dumps({"ConsumedCapacity": [{"CapacityUnits": 1.0}]}).encode()
    found = troubles_under(store, proxy, "TransactWriteItems", respond_with(applied))
    assert next(iter(found)) == "canary cycle"
    assert "transactions" in found["canary cycle"].remedy


@pytest.mark.slow
@servers
def test_token_that_is_spent_twice_is_found(store: Store, proxy: FaultProxy, roto_url: str) -> None:
    def spend(body: dict[str, Any]) -> None:
        for action in body["TransactItems"]:
            for name in [each for each in action["Put"] if each.startswith(("Cond", "Expr"))]:
                del action["Put"][name]

    found = troubles_under(
        store, proxy, "TransactWriteItems", change_response(roto_url, spend), matching=b"answer#"
    )
    assert found["canary token"].level == "failing"
    assert "redeemed twice" in found["canary token"].detail


@pytest.mark.slow
@servers
def test_key_change_that_leaves_old_metadata_is_found(
    store: Store, proxy: FaultProxy, roto_url: str
) -> None:
    def drop(body: dict[str, Any]) -> None:
        del body["TransactItems"][2:]

    found = troubles_under(store, proxy, "TransactWriteItems", change_response(roto_url, drop))
    assert list(found) == ["canary about"]
    assert found["canary about"].level == "warning"
    assert "show only times" in found["canary about"].remedy
    assert store.sessions() == []
    assert not [item for item in store.items() if item["id"]["S"].startswith("about#")]


@servers
def test_denied_index_keeps_no_session_from_working(store: Store, proxy: FaultProxy) -> None:
    found = troubles_under(store, proxy, "Query", error("AccessDeniedException"))
    assert {name: each.level for name, each in found.items()} == {
        "right dynamodb:Query": "warning",
        "canary index": "warning",
    }


@servers
def test_examination_leaves_nothing_of_any_kind(store: Store) -> None:
    assert troubles(canary=True) == {}
    left = {item["id"]["S"].partition("#")[0] for item in store.items()}
    assert left == {"data-key"}


@servers
def test_body_of_a_response_is_reported_nowhere(store: Store, proxy: FaultProxy) -> None:
    secret = b"the-secret-that-an-answer-holds"
    found = troubles_under(store, proxy, "PutItem", respond_with(secret, 400), SAVE)
    assert found["canary conflict"].detail
    assert secret.decode() not in repr(found)


@servers
@pytest.mark.parametrize("leak", ["value", "key"])
def test_plaintext_in_the_item_is_found(
    store: Store, monkeypatch: pytest.MonkeyPatch, leak: str
) -> None:
    seal: Callable[..., SessionRecord] = envelope.seal

    def leaking(
        payload: bytes, header: Header, *, session_key: str, **rest: bytes
    ) -> SessionRecord:
        value = json.loads(payload)["canary"] if leak == "value" else session_key
        named = replace(header, owner=value)
        return seal(payload, named, session_key=session_key, **rest)

    with monkeypatch.context() as patched:
        patched.setattr(envelope, "seal", leaking)
        found = troubles(canary=True)
    assert list(found) == ["canary ciphertext"]
    assert "the raw item contains" in found["canary ciphertext"].detail
    assert troubles(canary=True) == {}


@on_aws
def test_canary_is_no_alarm(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with record_signal(session_refused) as refused, caplog.at_level(logging.INFO):
        assert troubles(canary=True) == {}
    assert refused == []
    told = [each.name for each in caplog.records if each.name.startswith(("django", "sessions"))]
    assert told in ([], ["sessions_kms.aws.table_client"])  # which logs the client that is used


@on_aws
def test_latencies_and_calls_of_kms_are_measured(store: Store) -> None:
    _, first = check()
    assert first["kms_calls"] == 2  # The data key of the period, generated and confirmed.
    measured = [each for each in CHECKS if each == "data key" or each.startswith("canary ")]
    assert list(first["latencies"]) == measured
    assert all(taken > 0 for taken in first["latencies"].values())
    _, again = check()
    assert again["kms_calls"] == 0
    _, look = check("--no-canary")
    assert (look["latencies"], look["kms_calls"]) == ({}, 0)


@on_aws
def test_interrupted_examination_leaves_no_canary(store: Store) -> None:
    looking = examine(Measurements())
    for finding in looking:
        if finding.name == "canary conflict":
            break
    assert len(store.sessions()) == 1
    looking.close()  # type: ignore[attr-defined]  # a generator
    assert store.sessions() == []


@pytest.mark.slow
@servers
def test_canary_of_a_killed_process_ends_by_itself(
    store: Store, proxy: FaultProxy, tmp_path: str
) -> None:
    proxy.on("PutItem", hold_exchange, matching=SAVE)
    code = (
        "import django; from django.conf import settings\n"
        f"settings.configure(SESSIONS_KMS={store.settings.SESSIONS_KMS!r},"
        " INSTALLED_APPS=['sessions_kms'], SESSION_ENGINE='sessions_kms.backend')\n"
        "django.setup()\n"
        "from django.core.management import call_command\n"
        "call_command('check_session_store')"
    )
    environment = os.environ | {"AWS_ENDPOINT_URL_DYNAMODB": proxy.url}
    with started([sys.executable, "-c", code], environment, stdout=DEVNULL, stderr=DEVNULL):
        wait_until(lambda: bool(store.sessions()), "the canary is there", seconds=60)
    (left,) = [item for item in store.items() if "#" not in item["id"]["S"]]
    assert 0 < int(left["ttl"]["N"]) - int(left["createdAt"]["N"]) <= 300
    client("dynamodb").delete_item(TableName=store.table, Key={"id": left["id"]})
