"""Bodies of requests equal boto's, or an error names the faulty parameter."""

import json
from typing import Any

import pytest

from sessions_kms.aws.dynamodb.request_json import write_body
from sessions_kms.aws.dynamodb.shapes import REQUESTS
from tests.sessions_kms.aws.dynamodb.boto_reading import Boto
from tests.sessions_kms.support.shapes import example
from tests.support.cases import each_case


@each_case("operation", REQUESTS)
def test_body_is_the_one_that_boto_sends(operation: str) -> None:
    boto, params = Boto(), example(REQUESTS[operation])
    for each in (params, {}, *({name: held} for name, held in params.items())):
        boto.call(operation, each)
        theirs = json.loads(boto.sent_body)
        if "ClientRequestToken" not in each:
            theirs.pop("ClientRequestToken", None)
        assert json.loads(write_body(operation, each)) == theirs


@each_case(
    ("params", "named"),
    [
        ({"Tablename": "t"}, "'Tablename'"),
        ({"Expected": {}}, "'Expected'"),
        ({"TableName": None}, "TableName"),
        ({"TableName": b"t"}, "TableName"),
        ({"ConsistentRead": 1}, "ConsistentRead"),
        ({"Limit": True}, "Limit"),
        ({"Limit": "1"}, "Limit"),
        ({"ExpressionAttributeNames": []}, "ExpressionAttributeNames"),
        ({"ExpressionAttributeNames": {"#a": 1}}, "ExpressionAttributeNames"),
        ({"ExclusiveStartKey": "k"}, "item"),
        ({"ExclusiveStartKey": {1: {"S": "x"}}}, "item"),
        ({"ExclusiveStartKey": {"a": "x"}}, "value"),
        ({"ExclusiveStartKey": {"a": {}}}, "value"),
        ({"ExclusiveStartKey": {"a": {"S": "x", "N": "1"}}}, "value"),
        ({"ExclusiveStartKey": {"a": {"S": b"x"}}}, "'S'"),
        ({"ExclusiveStartKey": {"a": {"N": 1}}}, "'N'"),
        ({"ExclusiveStartKey": {"a": {"B": "AA=="}}}, "bytes"),
        ({"ExclusiveStartKey": {"a": {"BOOL": "x"}}}, "True"),
        ({"ExclusiveStartKey": {"a": {"X": "x"}}}, "'X'"),
        ({"ExclusiveStartKey": {"a": {"SS": "x"}}}, "list"),
        ({"ExclusiveStartKey": {"a": {"BS": ["x"]}}}, "bytes"),
        ({"ExclusiveStartKey": {"a": {"BS": b"x"}}}, "list"),
        ({"ExclusiveStartKey": {"a": {"L": "x"}}}, "list"),
        ({"ExclusiveStartKey": {"a": {"M": []}}}, "dict"),
    ],
)
def test_unknown_parameter_is_named(params: dict[str, Any], named: str) -> None:
    with pytest.raises(TypeError, match=named):
        write_body("Query", params)


def test_depth_is_bounded() -> None:
    def nest(levels: int, kind: str) -> dict[str, Any]:
        value: Any = {"S": "x"}
        for _ in range(levels):
            value = {"M": {"a": value}} if kind == "M" else {"L": [value]}
        return {"Item": {"a": value}}

    for kind in ("M", "L"):
        assert write_body("PutItem", nest(32, kind))
        with pytest.raises(TypeError, match="32 times"):
            write_body("PutItem", nest(33, kind))


def test_error_shows_no_value() -> None:
    for params in ({"Item": {"a": {"B": "SECRET"}}}, {"TableName": ["SECRET"]}):
        with pytest.raises(TypeError) as caught:
            write_body("PutItem", params)
        assert "SECRET" not in str(caught.value)
