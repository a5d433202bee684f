"""The HTTP side: protocol errors, limits, clean shutdown."""

import http.client
import json
import socket
from contextlib import ExitStack, closing, suppress
from typing import Any

import pytest

from gateway_site.local.kms import server as kms_server
from tests.local.test_kms.clients import REGION, clients, fails
from tests.support.local_kms import LocalKMS, running_kms

AUTHORIZATION = (
    f"AWS4-HMAC-SHA256 Credential=AKID/20260101/{REGION}/kms/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=00"
)


HEADERS = {
    "X-Amz-Target": "TrentService.CreateKey",
    "Content-Type": "application/x-amz-json-1.1",
    "Authorization": AUTHORIZATION,
}


def test_the_landing_page_says_ok_without_credentials(server: LocalKMS) -> None:
    assert send(server, method="GET", without="Authorization") == (200, {"status": "ok"})
    assert send(server, method="GET", path="/keys")[0] == 404


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer token",
        "AWS4-HMAC-SHA256 Credential=AKID",
        AUTHORIZATION.replace(REGION, "%"),
        AUTHORIZATION.partition(", Signature")[0],
        AUTHORIZATION.replace("/kms/", "/dynamodb/"),
    ],
)
def test_an_incomplete_credential_scope_is_refused(server: LocalKMS, authorization: str) -> None:
    status, response = send(server, Authorization=authorization)
    assert (status, response["__type"]) == (400, "IncompleteSignatureException")
    assert send(server, without="Authorization") == (status, response)


@pytest.mark.parametrize("target", ["TrentService.Sign", "CreateKey", "TrentService.", "x"])
def test_unknown_operation_is_refused_with_an_explanation(server: LocalKMS, target: str) -> None:
    status, response = send(server, X_Amz_Target=target)
    assert (status, response["__type"]) == (400, "UnknownOperationException")
    assert "for this project's development and tests" in response["message"]
    assert send(server, without="X-Amz-Target")[1]["__type"] == "UnknownOperationException"
    assert send(server, path="/other")[1]["__type"] == "UnknownOperationException"


@pytest.mark.parametrize("body", ["{", "[]", '"x"', "\x00", "[" * 200_000])
def test_a_body_that_is_not_a_json_object_is_refused(server: LocalKMS, body: str) -> None:
    status, response = send(server, body=body)
    assert (status, response["__type"]) == (400, "SerializationException")


@pytest.mark.parametrize(
    "members",
    [
        {"EncryptionContext": {"a": 1}},
        {"EncryptionContext": ["a"]},
        {"EncryptionContext": {"a": "\ud800"}},
        {"KeyId": 7},
        {"KeyId": "\ud800"},
        {"NumberOfBytes": True},
        {"NumberOfBytes": 32.0},
        {"NumberOfBytes": "32"},
        {"DryRun": "true"},
    ],
)
def test_a_value_of_the_wrong_type_is_refused(server: LocalKMS, members: dict[str, Any]) -> None:
    _, created = send(server)
    named = {"KeyId": created["KeyMetadata"]["KeyId"], "KeySpec": "AES_256"}
    body = json.dumps(named | members)
    status, response = send(server, body=body, X_Amz_Target="TrentService.GenerateDataKey")
    assert (status, response["__type"]) == (400, "SerializationException")


def test_a_blob_that_is_not_base64_is_refused(server: LocalKMS) -> None:
    body = json.dumps({"CiphertextBlob": "!"})
    status, response = send(server, body=body, X_Amz_Target="TrentService.Decrypt")
    assert (status, response["__type"]) == (400, "SerializationException")
    assert response["message"] == "CiphertextBlob is not base64."


def test_a_web_page_cannot_reach_it_by_another_host_name(server: LocalKMS) -> None:
    assert send(server, Host="rebound.example:9001")[0] == 403
    assert send(server, Host="127.0.0.1.example")[0] == 403
    assert send(server, Host="localhost:9001")[0] == 200
    assert send(server, Content_Type="text/plain")[1]["__type"] == "SerializationException"


def test_bodies_are_bounded_before_they_are_read(server: LocalKMS) -> None:
    assert _raw(server, "Content-Length: 999999999") == 413
    assert _raw(server, "Content-Length: -1") == 411
    assert _raw(server, "Content-Length: 1e3") == 411
    assert _raw(server, "Transfer-Encoding: chunked") == 411
    assert _raw(server, "X-Nothing: 1") == 411


def test_connections_are_bounded(server: LocalKMS, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kms_server, "MAX_CONNECTIONS", 2)
    host, _, port = server.url.removeprefix("http://").partition(":")
    with ExitStack() as stack:
        responses = []
        for _ in range(3):
            to = stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
            to.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            with suppress(ConnectionResetError):
                responses.append(to.recv(12))
    assert [response for response in responses if response] == [b"HTTP/1.1 200"] * 2


def test_calls_name_the_operations_in_order() -> None:
    with running_kms() as server, clients(server.url) as connect:
        key = connect().create_key()["KeyMetadata"]["KeyId"]
        connect().encrypt(KeyId=key, Plaintext=b"x")
        with fails("NotFoundException"):
            connect().describe_key(KeyId="nobody")
        send(server, method="GET")
        send(server, X_Amz_Target="TrentService.Unheard")
        assert server.calls == ["CreateKey", "Encrypt", "DescribeKey"]


def test_it_ends_while_a_client_keeps_its_connection_open() -> None:
    with running_kms() as server:
        host, _, port = server.url.removeprefix("http://").partition(":")
        to = socket.create_connection((host, int(port)), timeout=10)
        to.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert to.recv(4096).startswith(b"HTTP/1.1 200")
    with to:
        assert to.recv(4096) == b""
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host, int(port)), timeout=10)


def send(
    server: LocalKMS,
    *,
    method: str = "POST",
    path: str = "/",
    body: bytes | str = b"{}",
    without: str = "",
    **changed: str,
) -> tuple[int, dict[str, Any]]:
    """Send one plain HTTP request; return the status and the members of the response."""
    headers = HEADERS | {name.replace("_", "-"): value for name, value in changed.items()}
    headers.pop(without, None)
    with closing(http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)) as to:
        to.request(method, path, body, headers)
        response = to.getresponse()
        return response.status, json.loads(response.read())


def _raw(server: LocalKMS, header: str) -> int:
    """Send headers without a body; return the status of the response, which must be the last."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as to:
        to.sendall(f"POST / HTTP/1.1\r\nHost: {host}\r\n{header}\r\n\r\n".encode())
        response = b"".join(iter(lambda: to.recv(4096), b""))
    return int(response.split(b" ", 2)[1])
