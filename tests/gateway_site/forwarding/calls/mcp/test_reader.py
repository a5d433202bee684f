"""Calls of an upstream whose MCP messages are read, and of one whose are not, over real HTTP."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from tests.gateway_site.support.gateways import Gateway
from tests.gateway_site.support.mcp_reading import JSON, NEW, response_path

EVENT = b'data: {"jsonrpc":"2.0","id":1,"result":{}}\n\n'
MESSAGE = b'{ "jsonrpc":"2.0", "id":1,\n"method":"ping","params":{"a":1.50,"b":"\\u0061"} }'


@dataclass
class Client:
    """A client of a user who is signed in."""

    gateway: Gateway
    session: requests.Session

    def request(self, method: str, path: str, **more: Any) -> requests.Response:
        url = f"{self.gateway.url}/gateway/{path}"
        return self.session.request(method, url, timeout=20, **more)

    def post(
        self, data: Any = MESSAGE, *, path: str = "read/message", **headers: str
    ) -> requests.Response:
        named = JSON | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("POST", path, data=data, headers=named)


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[Client]:
    with gateway.writer() as session:
        yield Client(gateway, session)


def assert_rejected(response: requests.Response, status: int, code: int) -> dict[str, Any]:
    """Check an error of the gateway, and return its document."""
    assert (response.status_code, response.headers["Content-Type"]) == (status, "application/json")
    found: dict[str, Any] = response.json()
    assert found["jsonrpc"] == "2.0"
    assert found["error"]["code"] == code
    assert found["error"]["data"]["problem"] == response.headers["X-Gateway-Problem"]
    return found


def test_message_is_sent_byte_for_byte(client: Client) -> None:
    for data in (MESSAGE, iter([MESSAGE[:5], MESSAGE[5:]])):
        response = client.post(data, Accept_Encoding="gzip", Mcp_Session_Id="s")
        seen = response.json()["result"]
        assert seen["body"].encode() == MESSAGE
        headers = dict(seen["headers"])
        assert headers["content-length"] == str(len(MESSAGE))
        assert "transfer-encoding" not in headers
        assert "accept-encoding" not in headers
        assert headers["mcp-session-id"] == "s"


def test_message_of_a_megabyte_passes_and_no_more(client: Client) -> None:
    message = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"%b"}}'
    rest = 1024 * 1024 - len(message % b"")
    largest = message % (b"a" * rest)
    assert client.post(largest).json()["result"]["body"].encode() == largest
    found = assert_rejected(client.post(message % (b"a" * (rest + 1))), 413, -32010)
    assert found["id"] is None


@pytest.mark.parametrize(
    ("data", "code", "request_id"),
    [
        (b"[" + MESSAGE + b"]", -32600, None),
        (MESSAGE[:-1], -32700, None),
        (b"\xef\xbb\xbf" + MESSAGE, -32700, None),
        (MESSAGE.replace(b'"id":1', b'"id":"x","Method":"a"'), -32600, "x"),
        (MESSAGE.replace(b'"ping"', b'"tools/call"'), -32602, 1),
        (b"", -32700, None),
    ],
)
def test_unclear_message_reaches_nobody(
    client: Client, data: bytes, code: int, request_id: str | int | None
) -> None:
    before = client.gateway.state().get("/message", 0)
    assert assert_rejected(client.post(data), 400, code)["id"] == request_id
    assert client.gateway.state().get("/message", 0) == before


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Type": "text/plain"},
        {"Content_Type": "application/json; charset=shift_jis"},
        {"Content_Type": "application/json; charset=utf-8; charset=utf-16"},
        {"Content_Type": "application/json; charset=utf-8; charset=utf-8"},
        {"Content_Type": 'application/json; a="b; charset=utf-16"'},
        {"Content_Type": 'application/json; a="\\"; charset=utf-16'},
        {"Content_Type": "application/json; charset*=utf-16''x"},
        {"Content_Type": "application/json, text/plain"},
        {"Content_Type": "application/json; utf-16"},
        {"Content_Type": "multipart/form-data; boundary=application/json"},
        {"Connection": "content-type"},
        {"Content_Encoding": "gzip"},
        {"Content_Encoding": "identity, gzip"},
    ],
    ids=str,
)
def test_body_in_another_form_is_rejected(client: Client, headers: dict[str, str]) -> None:
    assert_rejected(client.post(**headers), 415, -32011)


@pytest.mark.parametrize(
    "kind",
    [
        *("Application/JSON", 'application/json ; charset="UTF-8"'),
        'application/json; a="b c"; d=e;',
        *("application/json;charset=utf8", "application/json; profile=x; Charset=UTF8"),
    ],
)
def test_json_in_other_words_passes(client: Client, kind: str) -> None:
    response = client.post(Content_Type=kind, Content_Encoding="Identity")
    assert response.status_code == 200
    answered = client.post(path=response_path(RESULT, kind))
    assert (answered.status_code, answered.content) == (200, RESULT)


def test_new_version_has_neither_sessions_nor_streams_by_get(client: Client) -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": NEW}
    data = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"_meta": meta}})
    new = {"MCP_Protocol_Version": NEW, "Mcp_Method": "ping"}
    old = {"Mcp_Session_Id": "s", "Last_Event_ID": "7", "Mcp-Session.Id": "s"}
    response = client.post(data, **new, **old)
    names = {name for name, _ in response.json()["result"]["headers"]}
    assert {"mcp-protocol-version", "mcp-method"} <= names
    assert names.isdisjoint({"mcp-session-id", "last-event-id", "mcp-session.id"})
    assert_rejected(client.post(data), 400, -32020)
    assert_rejected(client.post(data, **new, Connection="mcp-method"), 400, -32020)
    path = response_path(b'{"jsonrpc":"2.0","id":1,"result":{}}', Mcp_Session_Id="s")
    assert "Mcp-Session-Id" not in client.post(data, path=path, **new).headers
    assert client.post(path=path).headers["Mcp-Session-Id"] == "s"
    for method in ("GET", "DELETE"):
        for sent, status in [({"MCP-Protocol-Version": NEW}, 405), ({}, 200)]:
            path = response_path(EVENT, "text/event-stream")
            assert client.request(method, path, headers=sent).status_code == status


@pytest.mark.parametrize("method", ["PUT", "PATCH", "HEAD"])
def test_other_method_is_rejected(client: Client, method: str) -> None:
    response = client.request(method, "read/message", data=MESSAGE, headers=JSON)
    assert response.status_code == 405
    assert response.headers["Allow"] == "DELETE, GET, POST"


def test_get_with_a_body_is_rejected(client: Client) -> None:
    path = response_path(EVENT, "text/event-stream")
    response = client.request("GET", path, data=MESSAGE, headers=JSON)
    assert (response.status_code, response.json()["code"]) == (400, "bad_framing")


RESULT = b'{ "jsonrpc":"2.0", "id":1, "result":{"a":1.50} }'


@pytest.mark.parametrize(
    "path",
    [
        response_path(RESULT, content_encoding="gzip"),
        response_path(RESULT, content_encoding="x"),
        response_path(EVENT, "text/event-stream", content_encoding="br"),
        response_path(b"", status=404, content_encoding="gzip"),
        response_path(b"[" + RESULT + b"]"),
        response_path(RESULT[:-1]),
        response_path(RESULT.replace(b'"result"', b'"result":{},"Result"')),
        response_path(RESULT.replace(b'"a"', b'"Tools"')),
        response_path(RESULT, "text/plain"),
        response_path(RESULT, "application/json; charset=utf-16"),
        response_path(RESULT, "application/json; x"),
        response_path(EVENT, "text/event-stream; x"),
        response_path(RESULT, status=206),
    ],
)
def test_response_that_is_no_readable_message_is_502(client: Client, path: str) -> None:
    found = assert_rejected(client.post(path=path), 502, -32012)
    assert found["id"] == 1


@pytest.mark.parametrize("status", [200, 202])
def test_response_without_a_body_passes(client: Client, status: int) -> None:
    """As to a notification: some servers say 200."""
    for kind in ("application/json", "text/plain"):
        response = client.post(path=response_path(b"", kind, status=status))
        assert (response.status_code, response.content) == (status, b"")


def test_body_of_an_accepted_message_does_not_pass(client: Client) -> None:
    for kind in ("application/json", "text/plain"):
        response = client.post(path=response_path(RESULT, kind, status=202))
        assert (response.status_code, response.content) == (202, b"")


@pytest.mark.parametrize("status", [300, 400, 404, 500])
def test_response_without_a_result_passes(client: Client, status: int) -> None:
    for kind in ("application/json", "text/html"):
        path = response_path(b'{"detail": "x"}', kind, status=status)
        response = client.post(path=path)
        assert (response.status_code, response.text) == (status, '{"detail": "x"}')
        assert "X-Gateway-Problem" not in response.headers


def test_response_passes_byte_for_byte(client: Client) -> None:
    response = client.post(path=response_path(RESULT, content_encoding="identity"))
    assert (response.content, response.headers["Content-Length"]) == (RESULT, str(len(RESULT)))


STREAM = (
    b": hello\n\nid: 1\ndata:\n\n" + EVENT.replace(b"\n", b"\r\n")
    + b'event: message\ndata: {"jsonrpc":"2.0",\ndata: "method":"notifications/x"}\n\n' + EVENT
)  # fmt: skip


PASSING = STREAM.replace(b": hello", b":")


def test_events_pass_byte_for_byte(client: Client) -> None:
    for kind in ("text/event-stream", "text/event-stream; charset=utf-8"):
        for old in (b"", b"event: endpoint\ndata: /messages/?id=1\n\n"):
            path = response_path(old + STREAM, kind)
            assert client.post(path=path).content == old + PASSING
            response = client.request("GET", path, headers={"Last-Event-ID": "1"})
            assert response.content == old + PASSING


@pytest.mark.parametrize(
    "end",
    [
        EVENT[:-1],
        b"data: {}\n\n" + EVENT,
        b"data: [" + EVENT[6:-2] + b"]\n\n" + EVENT,
        "id: é\n\n".encode() + EVENT,
        b'data: {"jsonrpc":"2.0","id":1,"result":{},"id":2}\n\n' + EVENT,
        b'data: {"jsonrpc":"2.0","id":1,"result":{"toolS":[]}}\n\n' + EVENT,
    ],
)
def test_unreadable_event_breaks_the_stream_off(client: Client, end: bytes) -> None:
    """What is before it has passed, and the client notices that it has not everything."""
    found: list[bytes] = []
    path = response_path(STREAM + end, "text/event-stream")
    with (
        client.request("POST", path, data=MESSAGE, headers=JSON, stream=True) as response,
        pytest.raises(requests.exceptions.ChunkedEncodingError),
    ):
        found.extend(response.iter_content(None))
    assert b"".join(found) == PASSING
    assert re.search("Upstream read at .* failed: UnreadableResponse", client.gateway.read_log())


def test_body_of_a_get_that_is_no_stream_is_502(client: Client) -> None:
    path = response_path(EVENT, "application/octet-stream")
    assert_rejected(client.request("GET", path), 502, -32012)


def test_upstream_whose_messages_are_not_read_gets_everything_as_before(client: Client) -> None:
    odd = b"[" + MESSAGE + b",\xff"
    headers = {"Accept_Encoding": "gzip", "Content_Type": "text/plain", "Mcp_Method": "x"}
    seen = client.post(odd, path="echo/message", **headers).json()["result"]
    assert seen["body"].encode("latin-1") == odd
    assert dict(seen["headers"])["accept-encoding"] == "gzip"
    path = response_path(b"data: \xff", "text/event-stream").replace("read/", "echo/")
    assert client.post(path=path).content == b"data: \xff"


def test_client_that_stops_within_its_message_reaches_nobody(gateway: Gateway) -> None:
    before = gateway.state().get("/message", 0)
    with gateway.writer() as client:
        token, cookie = client.headers["X-CSRFToken"], client.cookies["gateway_csrftoken"]
    head = (
        f"POST /gateway/read/message HTTP/1.1\r\nHost: {{host}}\r\n{{cookie}}; "
        f"gateway_csrftoken={cookie}\r\nX-CSRFToken: {token!s}\r\nOrigin: {gateway.url}\r\n"
        f"Content-Type: application/json\r\nConnection: close\r\nContent-Length: 3\r\n\r\n"
    )
    assert b'"code": -32700' in gateway.raw(head.encode() + b"[1,")
    assert gateway.state().get("/message", 0) == before
