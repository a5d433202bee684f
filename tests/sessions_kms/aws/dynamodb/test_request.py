"""Complete requests equal boto's; a repeated transaction has the same token."""

import json
from datetime import UTC, datetime
from typing import Any, cast

import botocore.auth
import botocore.session
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError

from sessions_kms.aws.dynamodb.request import DynamoDBRequest, Target
from sessions_kms.aws.dynamodb.shapes import MEMBERS, REQUESTS, RESPONSES
from sessions_kms.aws.http_client.body import InvalidResponse
from sessions_kms.aws.http_client.response import Response
from sessions_kms.http.connecting import Origin
from tests.sessions_kms.aws.dynamodb.boto_reading import METHODS
from tests.sessions_kms.support.shapes import example
from tests.support.cases import each_case

MOMENT = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)
SECOND = int(MOMENT.timestamp())
CREDENTIALS = ReadOnlyCredentials("AKIDEXAMPLE", "secret", "token")
ENDPOINTS = {
    "https://dynamodb.eu-west-1.amazonaws.com/": Origin("dynamodb.eu-west-1.amazonaws.com", 443),
    "https://table.example:8443/": Origin("table.example", 8443),
    "http://localhost/": Origin("localhost", 80, tls=False),
    "http://[::1]:8000/": Origin("::1", 8000, tls=False),
}
TARGET = Target(next(iter(ENDPOINTS.values())), "eu-west-1", "agent/1")


class Sent(Exception):
    def __init__(self, request: AWSPreparedRequest) -> None:
        super().__init__()
        self.request = request


def sent_by_boto(url: str, operation: str, params: dict[str, Any]) -> AWSPreparedRequest:
    """Return the request that boto's client would send."""
    client = botocore.session.Session().create_client(
        "dynamodb",
        region_name="eu-west-1",
        endpoint_url=url,
        aws_access_key_id=CREDENTIALS.access_key,
        aws_secret_access_key=CREDENTIALS.secret_key,
        aws_session_token=CREDENTIALS.token,
    )

    def stop(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        raise Sent(request)

    events: Any = client.meta.events
    events.register("before-send", stop)
    events.register("needs-retry", lambda **_: False)
    call: Any = getattr(client, METHODS[operation])
    with pytest.raises(Sent) as caught:
        call(**params)
    return caught.value.request


def parse_request(request: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first, dict(line.split(": ", 1) for line in lines), body


@pytest.mark.parametrize("url", ENDPOINTS)
def test_request_is_the_one_that_boto_sends(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: MOMENT)
    params = {"TableName": "sessions", "Key": {"id": {"S": "x"}}}
    theirs = sent_by_boto(url, "GetItem", params)
    expected = {
        name: value.decode() if isinstance(value, bytes) else str(value)
        for name, value in cast("dict[str, Any]", theirs.headers).items()
    }
    target = Target(ENDPOINTS[url], "eu-west-1", expected["User-Agent"])
    exchange = DynamoDBRequest(target, "GetItem", params)
    first, ours, body = parse_request(exchange.to_bytes(CREDENTIALS, SECOND))
    assert (first, ENDPOINTS[url].url) == ("POST / HTTP/1.1", url)
    assert json.loads(body) == params
    # Its signature covers its own body, which has spaces; the host is the connection's.
    assert (
        ours.pop("Authorization").rpartition("=")[0]
        == expected.pop("Authorization").rpartition("=")[0]
    )
    assert ours.pop("Content-Length") == str(len(body))
    assert ours.pop("Host") == url.split("/")[2]
    assert ours.pop("Accept-Encoding") == "identity"
    del expected["Content-Length"], expected["amz-sdk-invocation-id"], expected["amz-sdk-request"]
    assert ours == expected


def test_repeated_transaction_has_the_same_token() -> None:
    params = {"TransactItems": [{"Delete": {"TableName": "t", "Key": {"id": {"S": "x"}}}}]}
    exchange = DynamoDBRequest(TARGET, "TransactWriteItems", params)
    once = exchange.to_bytes(CREDENTIALS, SECOND)
    again = exchange.to_bytes(CREDENTIALS, SECOND + 3600)
    assert once != again
    assert parse_request(once)[2] == parse_request(again)[2]
    token = json.loads(exchange.body)["ClientRequestToken"]
    assert (
        token
        != json.loads(DynamoDBRequest(TARGET, "TransactWriteItems", params).body)[
            "ClientRequestToken"
        ]
    )
    named = DynamoDBRequest(TARGET, "TransactWriteItems", {**params, "ClientRequestToken": "mine"})
    assert json.loads(named.body)["ClientRequestToken"] == "mine"
    assert "ClientRequestToken" not in params


@each_case("operation", REQUESTS)
def test_every_operation_round_trips(operation: str) -> None:
    asked = example(REQUESTS[operation])
    exchange = DynamoDBRequest(TARGET, operation, asked)
    _, headers, _ = parse_request(exchange.to_bytes(CREDENTIALS, SECOND))
    assert headers["X-Amz-Target"] == f"DynamoDB_20120810.{operation}"
    capacity: Any = {"TableName": asked.get("TableName")}
    expected = {"ConsumedCapacity": [] if operation == "TransactWriteItems" else capacity}
    more: dict[str, Any] = {"Items": []} if operation == "Query" else {}
    response = exchange.parse(response_with(expected | more))
    assert response.keys() == {*expected, *more, "ResponseMetadata"}


def test_nothing_of_a_request_is_shown() -> None:
    shown = repr(DynamoDBRequest(TARGET, "PutItem", {"Item": {"a": {"S": "SECRET"}}}))
    assert "SECRET" not in shown


@pytest.mark.parametrize("token", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "é"])
def test_credential_that_would_be_read_as_another_header_is_not_sent(token: str) -> None:
    credentials = ReadOnlyCredentials("id", "key", token)
    with pytest.raises(ValueError, match="printable"):
        DynamoDBRequest(TARGET, "GetItem", {}).to_bytes(credentials, SECOND)


def test_request_is_signed_with_its_own_time_and_credentials() -> None:
    """What requests have in common is kept; none gets what was another's."""
    used = Target(TARGET.origin, TARGET.region, TARGET.user_agent)
    other = ReadOnlyCredentials("OTHER", "secret2", None)
    turns = [
        (operation, credentials, SECOND + seconds)
        for seconds in (0, 1, 0)
        for credentials in (CREDENTIALS, other, CREDENTIALS)
        for operation in ("GetItem", "PutItem", "GetItem")
    ]
    for operation, credentials, at in turns:
        fresh = Target(TARGET.origin, TARGET.region, TARGET.user_agent)
        params = {"TableName": f"t{at}"}
        ours = DynamoDBRequest(used, operation, params).to_bytes(credentials, at)
        assert ours == DynamoDBRequest(fresh, operation, params).to_bytes(credentials, at)


def test_key_id_that_would_be_read_as_another_header_is_not_sent() -> None:
    credentials = ReadOnlyCredentials("id\r\nX-Evil: 1", "key", None)
    with pytest.raises(ValueError, match="printable"):
        DynamoDBRequest(TARGET, "GetItem", {}).to_bytes(credentials, SECOND)


def response_with(body: dict[str, Any]) -> Response:
    return Response(200, {}, json.dumps(body).encode(), keep_alive=True)


def is_believed(operation: str, asked: dict[str, Any], body: dict[str, Any]) -> bool:
    try:
        DynamoDBRequest(TARGET, operation, asked).parse(response_with(body))
    except InvalidResponse:
        return False
    return True


MINE, HERS = {"id": {"S": "mine"}, "a": {"N": "1"}}, {"id": {"S": "hers"}}
CAPACITY = {"ConsumedCapacity": {"TableName": "table", "CapacityUnits": 1.0}}
ASKED = {"TableName": "table", "ReturnConsumedCapacity": "TOTAL"}


def test_response_to_another_read_is_rejected() -> None:
    exchange = DynamoDBRequest(TARGET, "GetItem", ASKED | {"Key": {"id": {"S": "mine"}}})
    assert exchange.parse(response_with({"Item": MINE} | CAPACITY))["Item"] == MINE
    assert exchange.parse(response_with({"Item": MINE}))["Item"] == MINE
    assert "Item" not in exchange.parse(response_with(CAPACITY))
    for another in ({"Item": HERS} | CAPACITY, {"Item": {"a": {"N": "1"}}}, {}):
        with pytest.raises(InvalidResponse):
            exchange.parse(response_with(another))


@pytest.mark.parametrize("operation", [name for name in REQUESTS if name != "GetItem"])
def test_response_without_the_requested_data_is_rejected(operation: str) -> None:
    asked = {name: ASKED[name] for name in ASKED if name in REQUESTS[operation].members}
    with pytest.raises(InvalidResponse):
        DynamoDBRequest(TARGET, operation, asked).parse(response_with({}))
    del asked["ReturnConsumedCapacity"]
    assert DynamoDBRequest(TARGET, operation, asked).parse(response_with({}))


READ = {"TableName": "table", "Key": {"id": {"S": "mine"}}, "ReturnConsumedCapacity": "TOTAL"}
DELETE = READ | {"ReturnConsumedCapacity": "INDEXES", "ReturnValues": "ALL_OLD"}
QUERIED = {"TableName": "table", "ReturnConsumedCapacity": "TOTAL"}
MOVE = {
    "TransactItems": [{"Delete": {"TableName": "table", "Key": {"id": {"S": "mine"}}}}],
    "ReturnConsumedCapacity": "INDEXES",
}
OTHER_TABLE = {"ConsumedCapacity": {"TableName": "other", "CapacityUnits": 1.0}}
NO_TABLE = {"ConsumedCapacity": {"CapacityUnits": 1.0}}
DETAILED = {"ConsumedCapacity": CAPACITY["ConsumedCapacity"] | {"Table": {"CapacityUnits": 1.0}}}
LIST = {"ConsumedCapacity": [CAPACITY["ConsumedCapacity"]]}


@pytest.mark.parametrize(
    ("operation", "asked", "mine", "others"),
    [
        ("GetItem", READ, CAPACITY, [OTHER_TABLE, NO_TABLE, DETAILED, LIST]),
        ("DeleteItem", DELETE, DETAILED, [OTHER_TABLE, NO_TABLE, LIST]),
        ("TransactWriteItems", MOVE, LIST, [CAPACITY, {"ConsumedCapacity": [{"TableName": "o"}]}]),
        ("Query", QUERIED, CAPACITY | {"Items": []}, [CAPACITY, OTHER_TABLE | {"Items": []}]),
    ],
)
def test_capacity_of_another_form_or_table_answers_another_request(
    operation: str, asked: dict[str, Any], mine: dict[str, Any], others: list[dict[str, Any]]
) -> None:
    assert is_believed(operation, asked, mine)
    assert not any(is_believed(operation, asked, other) for other in others)


def test_what_was_not_asked_for_answers_another_request() -> None:
    silent = {name: READ[name] for name in ("TableName", "Key")}
    assert not is_believed("GetItem", silent, CAPACITY)
    old = {"Attributes": MINE} | DETAILED
    assert is_believed("DeleteItem", DELETE, old)
    assert not is_believed("DeleteItem", DELETE | {"ReturnValues": "NONE"}, old)


@pytest.mark.parametrize("operation", ["GetItem", "DeleteItem"])
def test_member_of_another_operation_answers_another_request(operation: str) -> None:
    asked, own = (READ, "Item") if operation == "GetItem" else (DELETE, "Attributes")
    for name in MEMBERS - {own, "ConsumedCapacity"} - RESPONSES[operation].members.keys():
        values: list[Any] = [None, [], {}, 0]
        for value in values:
            assert not is_believed(operation, asked, {name: value} | CAPACITY), name


@pytest.mark.parametrize(
    ("code", "believed_by"),
    [
        ("ConditionalCheckFailedException", {"conditional"}),
        ("TransactionCanceledException", {"move"}),
        ("ThrottlingException", {"read", "delete", "conditional", "move"}),
    ],
)
def test_error_that_a_request_cannot_have_answers_another_one(
    code: str, believed_by: set[str]
) -> None:
    error = Response(400, {}, json.dumps({"__type": code}).encode(), keep_alive=True)
    requests: dict[str, tuple[str, dict[str, Any]]] = {
        "read": ("GetItem", READ),
        "delete": ("DeleteItem", DELETE),
        "conditional": ("DeleteItem", DELETE | {"ConditionExpression": "a = b"}),
        "move": ("TransactWriteItems", MOVE),
    }
    for name, (operation, asked) in requests.items():
        with pytest.raises(ClientError if name in believed_by else InvalidResponse):
            DynamoDBRequest(TARGET, operation, asked).parse(error)
