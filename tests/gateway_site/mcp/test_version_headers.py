"""Headers that repeat a message: required from 2026-07-28 on, and never different from it."""

import base64
import json
from typing import Any

import pytest

from gateway_site.mcp.messages import PROTOCOL_VERSION, InvalidMessage, read_message
from gateway_site.mcp.version_headers import check_headers, decode, read_version
from tests.support.cases import each_case

NEW, OLD = "2026-07-28", "2025-11-25"
VERSION, METHOD, NAME = "mcp-protocol-version", "mcp-method", "mcp-name"


def headers(*pairs: tuple[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in pairs]


def verdict(
    sent: list[tuple[bytes, bytes]],
    version: str | None = None,
    *,
    method: str | None = "tools/call",
    is_request: bool = True,
    **params: Any,
) -> str | int | None:
    """Return the version that is found, or the code of the rejection."""
    params |= {"_meta": {PROTOCOL_VERSION: version}} if version else {}
    content: dict[str, Any] = {"method": method, "params": params} if method else {"result": {}}
    content |= {"jsonrpc": "2.0"} | ({"id": 1} if is_request else {})
    try:
        return check_headers(sent, read_message(json.dumps(content).encode()))
    except InvalidMessage as invalid:
        return invalid.code if invalid.request_id == content.get("id") else None


ALL = ((VERSION, NEW), (METHOD, "tools/call"), (NAME, "a"))


def test_new_version_needs_every_header_once_and_equal() -> None:
    assert verdict(headers(*ALL), NEW, name="a") == NEW
    for at, (name, value) in enumerate(ALL):
        others = [pair for pair in ALL if pair[0] != name]
        for sent in (
            others,
            [*ALL, ALL[at]],
            [*others, (name, value + "x")],
            [*others, (name, value.upper() if name != VERSION else OLD)],
            [*others, (name, "")],
            [*others, (name, value + "\xe9")],
            [*others, (name, value + "\x01")],
            [*others, (name.replace("-", "_"), value)],
            [*ALL, (name.replace("-", "."), value)],
            [*ALL, (f"mcp-{name[4:].replace('-', '_')}" if name == VERSION else name, value)],
        ):
            assert verdict(headers(*sent), NEW, name="a") == -32020, sent
        assert verdict(headers(*others, (name.upper(), f" {value}\t")), NEW, name="a") == NEW


def test_version_of_the_header_and_the_message_are_one() -> None:
    for stated, own in [(NEW, None), (None, NEW), (NEW, OLD), (OLD, NEW), (OLD, "2025-06-18")]:
        sent = [(VERSION, stated)] if stated else []
        assert verdict(headers(*sent, *ALL[1:]), own, name="a") == -32020, (stated, own)
    for odd in ("2026-7-28", "latest", f"{NEW}-rc", f"{NEW}, {OLD}", "\uff12026-07-28"):
        assert verdict(headers(*ALL[1:]), odd, name="a") == -32020
    assert (
        verdict(headers((VERSION, "2027-01-01"), *ALL[1:]), "2027-01-01", name="a") == "2027-01-01"
    )


def test_old_version_needs_no_header_but_none_may_differ() -> None:
    assert verdict([], name="a") is None
    assert verdict(headers((VERSION, OLD)), name="a") == OLD
    assert verdict(headers((VERSION, OLD)), OLD, name="a") == OLD
    assert verdict(headers((VERSION, OLD), *ALL[1:]), name="a") == OLD
    for pair in [(METHOD, "ping"), (NAME, "b"), (NAME, ""), (VERSION, "latest")]:
        assert verdict(headers(pair), name="a") == -32020, pair
    assert verdict(headers((NAME, "a")), method="ping") == -32020
    assert verdict(headers((METHOD, "x")), method=None) == -32020
    assert verdict([], method=None) is None


def test_name_is_what_the_method_is_about() -> None:
    cases: list[tuple[str, dict[str, Any]]] = [
        ("prompts/get", {"name": "a", "uri": "b"}),
        ("resources/read", {"name": "b", "uri": "a"}),
        ("tasks/get", {"taskId": "a", "name": "b"}),
        ("custom", {"name": "a"}),
    ]
    for method, params in cases:
        sent = headers((VERSION, NEW), (METHOD, method), (NAME, "a"))
        assert verdict(sent, NEW, method=method, **params) == NEW
        wrong = headers((VERSION, NEW), (METHOD, method), (NAME, "c"))
        assert verdict(wrong, NEW, method=method, **params) == -32020
    without = headers((VERSION, NEW), (METHOD, "tools/list"))
    assert verdict(without, NEW, method="tools/list") == NEW


def test_notification_needs_only_the_version() -> None:
    """Required headers of notifications are not defined by the specification."""
    method = "notifications/cancelled"
    for sent in (headers((VERSION, NEW)), headers((VERSION, NEW), (METHOD, method))):
        assert verdict(sent, method=method, is_request=False) == NEW
        assert verdict(sent, NEW, method=method, is_request=False) == NEW
    assert verdict([], NEW, method=method, is_request=False) == -32020
    assert verdict(headers((METHOD, "ping")), method=method, is_request=False) == -32020


def test_clients_send_no_responses_from_the_new_version_on() -> None:
    assert verdict(headers((VERSION, NEW)), method=None) == -32600
    assert verdict(headers((VERSION, OLD)), method=None) == OLD


def encode(text: str) -> str:
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


@each_case("text", ["größe", " a ", "a\tb", encode("a"), "", "日本", "a"])
def test_encoded_name_is_decoded(text: str) -> None:
    assert decode(encode(text)) == text
    sent = headers((VERSION, NEW), (METHOD, "custom"), (NAME, encode(text)))
    assert verdict(sent, NEW, method="custom", name=text) == NEW


@each_case(
    "value",
    [
        "YQ",
        "YQ=",
        "YR==",
        " YQ==",
        "YQ==YQ==",
        "_w==",
        "/w==",
        "7aCA",
        "Y Q==",
        "?=",
        "*",
    ],
)
def test_badly_encoded_name_equals_nothing(value: str) -> None:
    assert decode(f"=?base64?{value}?=") is None
    sent = headers(*ALL[:2], (NAME, f"=?base64?{value}?=".replace("\n", "")))
    assert verdict(sent, NEW, name="b") == -32020


@pytest.mark.parametrize("value", ["=?base64?YQ==", "=?BASE64?YQ==?=", "YQ==?=", "=?base64?="])
def test_what_is_not_marked_as_encoded_is_the_name(value: str) -> None:
    assert decode(value) == value


def test_version_without_a_message() -> None:
    assert read_version([]) is None
    assert read_version(headers((VERSION, OLD))) == OLD
    for sent in (
        [(VERSION, OLD), (VERSION, OLD)],
        [(VERSION, "x")],
        [("mcp-protocol_version", OLD)],
    ):
        with pytest.raises(InvalidMessage):
            read_version(headers(*sent))
