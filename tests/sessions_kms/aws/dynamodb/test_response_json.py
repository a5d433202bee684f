"""Answers: what boto's client makes of them, or nothing at all."""

import base64
import copy
import json
import os
import random
import zlib
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sessions_kms.aws.dynamodb import compact_json, response_json
from sessions_kms.aws.dynamodb.compact_json import FORMS_MAX, NAMES_MAX, OLD_MAX, ItemForms
from sessions_kms.aws.dynamodb.shapes import ERRORS, RESPONSES
from sessions_kms.aws.http_client.body import InvalidResponse
from sessions_kms.aws.http_client.response import Response
from tests.sessions_kms.aws.dynamodb.boto_reading import Boto
from tests.support.cases import each_case

RESPONSES_READ = 100_000 if os.environ.get("FUZZ_EXAMPLES") else 1_500


@pytest.fixture(scope="module")
def boto() -> Boto:
    return Boto()


def make_response(body: Any, status: int = 200, **headers: str) -> Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    told = {"x-amzn-requestid": "R", "content-type": "application/x-amz-json-1.0"}
    return Response(status, told | headers, raw, keep_alive=True)


def ours(operation: str, told: Response) -> Any:
    try:
        return response_json.parse(operation, told)
    except ClientError as exc:
        return exc.response if exc.operation_name == operation else None
    except InvalidResponse:
        return InvalidResponse


ITEM: dict[str, Any] = {
    "id": {"S": 'ü\u2028"k'},
    "B": {"B": base64.b64encode(bytes(range(100))).decode()},
    "S": {"S": ""},
    "ttl": {"N": "1700000000"},
    "all": {
        "M": {
            "list": {"L": [{"BOOL": True}, {"NULL": True}, {"N": "-1e3"}]},
            "texts": {"SS": ["a", "b"]},
            "numbers": {"NS": ["1"]},
            "binaries": {"BS": ["AA==", ""]},
        }
    },
}
PLAIN = {name: ITEM[name] for name in ("B", "S", "ttl")} | {"id": {"S": "0-_ #"}}
UNITS = {"CapacityUnits": 1.0, "ReadCapacityUnits": 2, "WriteCapacityUnits": 0.5}
CAPACITY = {
    "TableName": "sessions",
    **UNITS,
    "Table": UNITS,
    "GlobalSecondaryIndexes": {"by-owner": UNITS},
    "LocalSecondaryIndexes": {},
}
COLLECTION = {"ItemCollectionKey": ITEM, "SizeEstimateRangeGB": [0, 1.5]}
WRITTEN = {"Attributes": ITEM, "ConsumedCapacity": CAPACITY, "ItemCollectionMetrics": COLLECTION}
BODIES: dict[str, Any] = {
    "GetItem": {"Item": ITEM, "ConsumedCapacity": CAPACITY},
    "PutItem": WRITTEN,
    "UpdateItem": WRITTEN,
    "DeleteItem": WRITTEN,
    "TransactWriteItems": {
        "ConsumedCapacity": [CAPACITY],
        "ItemCollectionMetrics": {"sessions": [COLLECTION]},
    },
    "Query": {
        "Items": [ITEM, {}],
        "Count": 2,
        "ScannedCount": 3,
        "LastEvaluatedKey": {"id": {"S": "x"}},
        "ConsumedCapacity": CAPACITY,
    },
}
REASONS = [{"Code": "None"}, {"Code": "ConditionalCheckFailed", "Message": "m", "Item": ITEM}]
FIELDS = {
    "Item": ITEM,
    "CancellationReasons": REASONS,
    "ThrottlingReasons": [{"reason": "r", "resource": "arn"}],
    "throttlingReasons": [{"reason": "r", "resource": "arn"}],
}


def error(name: str, prefix: str = "com.amazonaws.dynamodb.v20120810#") -> dict[str, Any]:
    return {"__type": prefix + name, "message": "told", "Message": "Result", **FIELDS}


@pytest.mark.parametrize("operation", RESPONSES)
def test_whole_response_is_read_as_boto_reads_it(operation: str, boto: Boto) -> None:
    body = BODIES[operation]
    assert body.keys() == RESPONSES[operation].members.keys()
    whole = make_response(body)
    for told in (
        whole,
        make_response({}),
        make_response(dict.fromkeys(body)),
        make_response(body | {"Unknown": [{"a": 1}]}),
        replace(whole, headers={}),
        replace(whole, headers={"x-amz-crc32": str(zlib.crc32(whole.body))}),
    ):
        read = ours(operation, told)
        assert read == boto.read(operation, told)
        assert read["ResponseMetadata"]["HTTPStatusCode"] == 200


@each_case("name", [*ERRORS, "AccessDeniedException", "NoSuchError", ""])
def test_error_is_the_one_that_boto_raises(name: str, boto: Boto) -> None:
    for told in (
        make_response(error(name), 400),
        make_response(error(name, prefix=""), 500),
        make_response(error(name, prefix="aws.protocoltests#") | {"message": ""}, 400),
        make_response(error(f"{name}:http://internal.amazon.com/coral/"), 403),
        make_response({"__type": name}, 400),
        make_response(error(name), 400, **{"x-amzn-query-error": "Older;Sender"}),
        make_response(error(name), 400, **{"x-amzn-query-error": ";Sender"}),
        make_response(error(name), 400, **{"x-amzn-query-error": "a;b;c"}),
    ):
        assert ours("PutItem", told) == boto.read("PutItem", told)


@each_case(
    ("status", "body"),
    [
        (status, body)
        for status in (400, 403, 413, 429, 499, 500, 502, 503, 504, 599)
        for body in (b"", b" ", b"<html>busy</html>", b"busy", b"{}", b"[}", b'{"__type":"#"}')
    ],
)
def test_error_without_a_name_is_the_one_that_boto_raises(
    status: int, body: bytes, boto: Boto
) -> None:
    told = make_response(body, status)
    assert ours("GetItem", told) == boto.read("GetItem", told)


@each_case(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        b'"Item"',
        b"{",
        b"{} {}",
        b"\xef\xbb\xbf{}",
        b'{"Item":\xff}',
        b'{"ConsumedCapacity":{"CapacityUnits":NaN}}',
        b'{"ConsumedCapacity":{"CapacityUnits":Infinity}}',
        b'{"Item":{},"Item":{}}',
        b'{"Item":{"a":{"S":"x"},"a":{"S":"y"}}}',
        b'{"Unknown":{"a":1,"a":1}}',
        b"[" * 100_000,
        b'{"Item":' + b'{"a":{"M":' * 33 + b"{}" + b"}}" * 33 + b"}",
        b'{"Item":{"a":' + b'{"L":[' * 33 + b"]}" * 33 + b"}}",
    ],
)
def test_text_other_than_one_complete_object_is_rejected(body: bytes) -> None:
    assert ours("GetItem", make_response(body)) is InvalidResponse


@each_case(
    "value",
    [
        {},
        None,
        "text",
        [],
        {"S": None},
        {"S": 1},
        {"N": 1},
        {"B": 1},
        {"S": "a", "N": "1"},
        {"X": "a"},
        {"SDK_UNKNOWN_MEMBER": {"name": "X"}},
        {"BOOL": 1},
        {"BOOL": "true"},
        {"NULL": None},
        {"SS": "ab"},
        {"SS": [1]},
        {"NS": [1]},
        {"BS": ["A"]},
        {"BS": [None]},
        {"M": []},
        {"L": {}},
        {"L": [None]},
        {"B": "AA"},
        {"B": "AA="},
        {"B": "AA==="},
        {"B": "A A="},
        {"B": "AA==\n"},
        {"B": "QUJD="},
        {"B": "QU-_"},
        {"B": "QÜJD"},
        {"B": "=AAA"},
        {"B": "AA==AA=="},
    ],
)
def test_value_that_is_not_of_its_one_type_is_refused(value: Any) -> None:
    assert ours("GetItem", make_response({"Item": {"a": value}})) is InvalidResponse


@each_case("status", [100, 101, 201, 204, 206, 300, 301, 304, 307, 399, 600])
def test_status_that_dynamodb_does_not_answer_is_refused(status: int) -> None:
    assert ours("GetItem", make_response(BODIES["GetItem"], status)) is InvalidResponse


@pytest.mark.parametrize("status", [200, 400, 500])
def test_body_of_another_checksum_is_refused(status: int) -> None:
    told = make_response(error("InternalServerError"), status)
    right = zlib.crc32(told.body)
    for checksum in (str(right ^ 1), f"0{right}", "", "x", f"{right} "):
        wrong = replace(told, headers={"x-amz-crc32": checksum})
        assert ours("GetItem", wrong) is InvalidResponse


def test_error_does_not_refer_to_the_body() -> None:
    from traceback import TracebackException

    for body in (b'{"Item":"\xffSECRET"}', b'{"SECRET"', b'{"Item":{"a":{"B":"SECRET!"}}}'):
        with pytest.raises(InvalidResponse) as caught:
            response_json.parse("GetItem", make_response(body))
        assert caught.value.__context__ is None
        shown = "".join(TracebackException.from_exception(caught.value).format())
        assert "SECRET" not in shown


def compact(item: str, before: str = '"ConsumedCapacity":{"CapacityUnits":0.5}') -> bytes:
    return f'{{{before},"Item":{{{item}}}}}'.encode()


def with_old(item: str, after: str = '{"TableName":"a","CapacityUnits":1}') -> bytes:
    return f'{{"Attributes":{{{item}}},"ConsumedCapacity":{after}}}'.encode()


# Items, the forms of which are learnt, and the same with something that JSON has to read, or that
# is garbled.
BINARY = '"b":{"B":"AA=="}'
EXAMPLES = [
    f'"id":{{"S":"x"}},"n":{{"N":"1"}},{BINARY},"none":{{"S":""}}',
    '"id":{"S":"},"},"Item":{"B":""}',
    f'"id":{{"S":"x"}},{BINARY}',
    f'{BINARY},"id":{{"S":"x"}}',
    f'"id":{{"B":"AAAA"}},{BINARY},"long":{{"B":"{"QUJD" * 5000}"}},"last":{{"N":"7"}}',
    f'"a.b[c]":{{"S":"(x)+"}},{BINARY}',
]
ITEMS_READ_BY_JSON = [
    f'"id":{{"S":"\\u0041"}},{BINARY}',
    f'"id":{{"S":"\\u0041\\""}},{BINARY}',
    f'"id":{{"S":"ü"}},{BINARY}',
    f'"id":{{"S":"\x7f"}},{BINARY}',
    f'"id" : {{"S":"x"}},{BINARY}',
    f'"id":{{"S":"x"}},"l":{{"L":[{{"S":"y"}}]}},{BINARY}',
    f'"id":{{"S":"x"}},"f":{{"BOOL":true}},{BINARY}',
    f'"id":{{"S":"x"}},"SS":{{"SS":["a"]}},{BINARY}',
    f'"id":{{"N":"x"}},{BINARY}',
    f'"ID":{{"S":"x"}},{BINARY}',
    f'"aXb[c]":{{"S":"x"}},{BINARY}',
    '"id":{"S":"x"}',
    "",
]
GARBLED_ITEMS = [
    f'"id",{{"S":"x"}},{BINARY}',
    f'"id":{{"S","x"}},{BINARY}',
    f'"id":{{"S":"x"}};{BINARY}',
    f'"id":{{"S":"x"}},{BINARY},{BINARY}',
    f'"id":{{"S":"x"}},"id":{{"S":"x"}},{BINARY}',
    f'"id":{{"S":"\n"}},{BINARY}',
    f'"i\x00d":{{"S":"x"}},{BINARY}',
    '"id":{"S":"\n"},"Item":{"B":""}',
    '"id":{"S":"x"},"Item":{"B":"AA="}',
    f'"id":{{"S":1}},{BINARY}',
    '"id":{"S":"x"},"b":{"B":"AA="}',
    '"id":{"S":"x"},"b":{"B":"A\nA="}',
    '"id":{"S":"x"},"b":{"B":"QÜJD"}',
    '"id":{"S":"x"},"b":{"B":"AA=="',
    '"id":{"S":"x"},"b":{"B":"AA==}',
    f'"id":{{"X":"x"}},{BINARY}',
    f'"id":{{"S":"x","N":"1"}},{BINARY}',
    f'"id":{{"S":"x"}},{BINARY},',
]
WHOLE = f'"id":{{"S":"x"}},{BINARY}'
READ_FAST = [
    *map(compact, EXAMPLES),
    compact(WHOLE, '"ConsumedCapacity":{"TableName":"a","CapacityUnits":1}'),
    compact(WHOLE, '"Unknown":{"a":1}'),
]
READ_BY_JSON = [
    *map(compact, ITEMS_READ_BY_JSON),
    compact(WHOLE, f'"ConsumedCapacity":{{"TableName":"{"a" * 2000}"}}'),
    f'{{"Item":{{{WHOLE}}},"ConsumedCapacity":{{}}}}'.encode(),
    f'{{"Unknown":{{"a":{{}},"Item":{{}}}},"ConsumedCapacity":{{}},"Item":{{{WHOLE}}}}}'.encode(),
]
REFUSED = [
    *map(compact, GARBLED_ITEMS),
    compact(WHOLE) + b" x",
    compact(WHOLE) + b"}",
    compact(WHOLE)[:-1],
    compact(WHOLE, '"Item":null,"ConsumedCapacity":{"CapacityUnits":1}'),
    compact(WHOLE, '"ConsumedCapacity":{},"ConsumedCapacity":{"CapacityUnits":1}'),
    compact(WHOLE, '"Unknown":{"a":{"b":1}'),
    compact(WHOLE, '"ConsumedCapacity":{"CapacityUnits":NaN}'),
    compact(WHOLE, '"ConsumedCapacity":{"CapacityUnits":"1"}'),
]
OLD_READ_FAST = [
    *map(with_old, EXAMPLES),
    with_old(WHOLE, '{"TableName":"a","Table":{"CapacityUnits":1.0}}'),
]
OLD_READ_BY_JSON = [
    *map(with_old, ITEMS_READ_BY_JSON),
    f'{{"ConsumedCapacity":{{}},"Attributes":{{{WHOLE}}}}}'.encode(),
]
OLD_REFUSED = [
    *map(with_old, GARBLED_ITEMS),
    with_old(WHOLE)[:-1],
    with_old(WHOLE) + b"}",
    with_old(WHOLE, '{},"Attributes":{"id":{"S":"y"}}'),
    with_old(WHOLE, '{},"Item":{"id":{"S":"y"}}'),
]


@pytest.fixture
def forms(monkeypatch: pytest.MonkeyPatch) -> ItemForms:
    """Forms that were learnt from the examples."""
    fresh = ItemForms()
    monkeypatch.setattr(compact_json, "forms", fresh)
    monkeypatch.setattr(response_json, "forms", fresh)
    for each in EXAMPLES:
        assert compact_json.with_item_last(compact(each).decode()) is None
        ours("GetItem", make_response(compact(each)))
    return fresh


@pytest.mark.parametrize("body", [*READ_FAST, *READ_BY_JSON])
def test_item_that_comes_last_is_read_as_boto_reads_it(
    body: bytes, boto: Boto, forms: ItemForms
) -> None:
    assert (compact_json.with_item_last(body.decode()) is not None) is (body in READ_FAST)
    read = ours("GetItem", make_response(body))
    assert read == boto.read("GetItem", make_response(body))
    assert read["ResponseMetadata"]["HTTPStatusCode"] == 200


@pytest.mark.parametrize("body", REFUSED)
def test_item_that_comes_last_and_is_garbled_is_refused(body: bytes, forms: ItemForms) -> None:
    assert ours("GetItem", make_response(body)) is InvalidResponse


@pytest.mark.parametrize("body", [*OLD_READ_FAST, *OLD_READ_BY_JSON])
@pytest.mark.parametrize("operation", ["PutItem", "UpdateItem", "DeleteItem"])
def test_old_item_is_read_as_boto_reads_it(
    body: bytes, operation: str, boto: Boto, forms: ItemForms
) -> None:
    assert (compact_json.with_old_item_first(body.decode()) is not None) is (body in OLD_READ_FAST)
    boto_read = boto.read(operation, make_response(body))
    if body in OLD_READ_FAST:
        boto_read["Attributes"].pop("long", None)
    assert ours(operation, make_response(body)) == boto_read


@pytest.mark.parametrize("body", OLD_REFUSED)
def test_old_item_that_is_garbled_is_refused(body: bytes, forms: ItemForms) -> None:
    assert ours("PutItem", make_response(body)) is InvalidResponse


@pytest.mark.parametrize("operation", ["GetItem", "Query", "TransactWriteItems"])
def test_old_item_is_none_for_operations_without_one(operation: str, forms: ItemForms) -> None:
    assert all(ours(operation, make_response(body)) is InvalidResponse for body in OLD_READ_FAST)


def test_as_many_forms_are_learnt_as_are_bounded_and_the_last_used_is_first() -> None:
    fresh = ItemForms()
    for number in range(FORMS_MAX + 1):
        for _ in range(2):
            fresh.learn({f"a{number}": {"S": "x"}, "b": {"B": b"x"}})
    assert len(fresh._forms) == FORMS_MAX
    for number in (FORMS_MAX - 1, 0, 7, 7):
        text = f'{{"a{number}":{{"S":"x"}},"b":{{"B":"eA=="}}}}'
        item = {f"a{number}": {"S": "x"}, "b": {"B": b"x"}}
        assert fresh.read(text, 0) == (item, len(text))
        assert fresh._forms[0].attributes[0] == (f"a{number}", "S")
    assert len(set(fresh._forms)) == FORMS_MAX
    last = f'{{"a{FORMS_MAX}":{{"S":"x"}},"b":{{"B":"eA=="}}}}'
    assert fresh.read(last, 0) is None


@each_case(
    "item",
    [
        {"id": {"S": "x"}},
        {"id": {"S": "x"}, "b": {"B": b""}, "f": {"BOOL": True}},
        {'i"d': {"S": "x"}, "b": {"B": b""}},
        {"i\\d": {"S": "x"}, "b": {"B": b""}},
        {"ïd": {"S": "x"}, "b": {"B": b""}},
        {"x" * (NAMES_MAX + 1): {"B": b""}},
    ],
)
def test_no_other_item_is_learnt(item: Any) -> None:
    fresh = ItemForms()
    fresh.learn(item)
    assert fresh._forms == ()


def test_long_values_of_an_old_item_are_left_out(forms: ItemForms) -> None:
    at_most, longer = ("A" * size for size in (OLD_MAX, OLD_MAX + 4))
    body = with_old(f'"id":{{"S":"x"}},"a":{{"B":"{at_most}"}},"b":{{"B":"{longer}"}}')
    assert ours("PutItem", make_response(body))["Attributes"].keys() == {"id", "a", "b"}  # by JSON
    assert ours("PutItem", make_response(body))["Attributes"].keys() == {"id", "a"}


def test_responses_share_nothing_that_their_readers_change() -> None:
    for body in (compact('"id":{"S":"x"}'), b'{"ConsumedCapacity":{}}'):
        one, other = (ours("GetItem", make_response(body)) for _ in range(2))
        one["more"] = 1
        assert "more" not in other
        assert "more" not in ours("GetItem", make_response(body))
    one, other = (ours("Query", make_response({"Items": []})) for _ in range(2))
    one["Items"].append({})
    assert other["Items"] == []


def test_text_under_the_name_of_a_type_is_no_value_of_it(boto: Boto) -> None:
    told = make_response(error("ResourceNotFoundException") | {"B": "not base64!"}, 400)
    assert ours("GetItem", told) == boto.read("GetItem", told)
    assert ours("GetItem", told)["Error"]["Code"] == "ResourceNotFoundException"


# At random: whole responses, damaged in one or two places.

POOL: list[Any] = [
    *(None, True, False, 0, 1, -1.5, 10**20, "", "x", "1", "AA==", "AAA", "A\nA=", "é", [], {}),
    *([None], ["AA=="], {"S": "x"}, {"B": "AA=="}, {"S": None}, {"N": 1}, {"a": {"S": "x"}}),
]
BITS = [b'"', b"{", b"}", b",", b":", b"\\", b"null", b"1", b"=", b"\xff", b" ", b"\\ud800", b"#"]


def places(tree: Any) -> list[tuple[Any, Any]]:
    """Return each container in a tree with each name or number in it."""
    found = []
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        found.append((tree, key))
        if isinstance(value, dict | list):
            found += places(value)
    return found


def damaged_tree(tree: Any, chance: random.Random) -> Any:
    tree = copy.deepcopy(tree)
    container, key = chance.choice(places(tree))
    damage = chance.randrange(4)
    if damage == 0:
        del container[key]
    elif damage == 1 and isinstance(container, dict):
        container[chance.choice(["S", "B", "N", "M", "Item", "message", "x"])] = container.pop(key)
    else:
        container[key] = copy.deepcopy(chance.choice(POOL))
    return tree


def damaged_bytes(body: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(body))
    damage = chance.randrange(4)
    if damage == 0:
        return body[:start]
    if damage == 1:
        return body[:start] + body[start + chance.randint(1, 9) :]
    if damage == 2:
        return body[:start] + chance.choice(BITS) + body[start:]
    return body[:start] + body[start - 20 : start] + body[start:]


def as_dynamodb_writes(body: dict[str, Any]) -> bytes:
    """Return a response as it comes, mostly: `Item` last, and no space."""
    told = {name: body[name] for name in sorted(body, key="Item".__eq__)}
    return json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


def any_response(chance: random.Random) -> tuple[str, Response]:
    operation = chance.choice(list(RESPONSES))
    fails = chance.random() < 0.3
    body = error(chance.choice(list(ERRORS))) if fails else BODIES[operation]
    if not fails and operation == "GetItem" and chance.random() < 0.7:
        body = body | {"Item": PLAIN}
    if chance.random() < 0.7:
        body = damaged_tree(body, chance)
    if "Item" in body and chance.random() < 0.7:
        raw = as_dynamodb_writes(body)
    else:
        raw = json.dumps(body).encode()
    if chance.random() < 0.4:
        raw = damaged_bytes(raw, chance)
    status = chance.choice((400, 400, 429, 500, 503)) if fails else 200
    return operation, make_response(raw, chance.choice((status,) * 9 + (200, 301, 400)))


def known_fields(response: Any) -> Any:
    """Leave out what boto adds to errors that none of these operations has."""
    code = (response or {}).get("Error", {}).get("Code")
    if code is None or code in ERRORS:
        return response
    return {name: response[name] for name in ("Error", "ResponseMetadata")}


@pytest.mark.slow
def test_damaged_response_is_read_as_boto_reads_it_or_refused(boto: Boto) -> None:
    chance = random.Random(15)  # noqa: S311 - to be told again
    refused = 0
    for _ in range(RESPONSES_READ):
        operation, told = any_response(chance)
        read = ours(operation, told)
        if read is InvalidResponse:
            refused += 1
        else:
            assert read == known_fields(boto.read(operation, told)), told
    assert 0.2 < refused / RESPONSES_READ < 0.8
