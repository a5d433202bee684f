"""Which errors say that AWS rejects this process, and which ones are an outage.

Over HTTP, with the responses that AWS documents. Adversaries: the operator with incomplete
permissions; a new process while AWS does not answer.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sessions_kms import services
from sessions_kms.exceptions import KMSUnavailable, StoreUnavailable, TableUnavailable
from tests.sessions_kms.support.faults import Fault, drop_connection, error
from tests.sessions_kms.support.faulty import FaultyStack
from tests.support.http_server import QuietHandler, serve_handler

on_servers = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)

CREDENTIALS = {
    "AccessDeniedException": error("AccessDeniedException", 400),
    "UnrecognizedClientException": error("UnrecognizedClientException", 400),
    "ExpiredTokenException": error("ExpiredTokenException", 400),
    "InvalidSignatureException": error("InvalidSignatureException", 400),
    "IncompleteSignature": error("IncompleteSignature", 400),
    "MissingAuthenticationToken": error("MissingAuthenticationToken", 403),
    "InvalidClientTokenId": error("InvalidClientTokenId", 403),
    "OptInRequired": error("OptInRequired", 403),
}
TABLE = CREDENTIALS | {"ResourceNotFoundException": error("ResourceNotFoundException", 400)}
KEY = CREDENTIALS | {
    "NotFoundException": error("NotFoundException", 400),
    "DisabledException": error("DisabledException", 409),
    "KMSInvalidStateException": error("KMSInvalidStateException", 409),  # both pending states
}
OUTAGES = {
    "ThrottlingException": error("ThrottlingException", 400),
    "RequestLimitExceeded": error("RequestLimitExceeded", 400),
    "InternalServerError": error("InternalServerError", 500),
    "ServiceUnavailable": error("ServiceUnavailable", 503),
    "no answer": drop_connection,
    "ErrorOfTheFuture": error("ErrorOfTheFuture", 400),
}
TABLE_OUTAGES = OUTAGES | {
    "ProvisionedThroughputExceededException": error("ProvisionedThroughputExceededException", 400)
}
KEY_OUTAGES = OUTAGES | {
    "KeyUnavailableException": error("KeyUnavailableException", 500),
    "KMSInternalException": error("KMSInternalException", 500),
    "DependencyTimeoutException": error("DependencyTimeoutException", 503),
    "LimitExceededException": error("LimitExceededException", 400),
}


def rejected_by_table(faulty: FaultyStack, fault: Fault) -> bool:
    faulty.restart()
    faulty.table.on("GetItem", fault)
    with pytest.raises(TableUnavailable) as caught:
        services.services().probe_table()
    return caught.value.is_rejection


def rejected_by_key(faulty: FaultyStack, fault: Fault) -> bool:
    faulty.restart()
    for operation in ("GenerateDataKey", "Decrypt"):
        faulty.kms.on(operation, fault)
    with pytest.raises(KMSUnavailable) as caught:
        services.services().probe_data_key()
    return caught.value.is_rejection


@on_servers
def test_exactly_these_errors_are_rejections(faulty: FaultyStack) -> None:
    for rejected, rejections, outages in (
        (rejected_by_table, TABLE, TABLE_OUTAGES),
        (rejected_by_key, KEY, KEY_OUTAGES),
    ):
        found = {name: rejected(faulty, fault) for name, fault in (rejections | outages).items()}
        assert found == dict.fromkeys(rejections, True) | dict.fromkeys(outages, False)


@on_servers
def test_error_that_other_callers_get_as_a_copy_is_a_rejection_too(faulty: FaultyStack) -> None:
    assert rejected_by_key(faulty, KEY["DisabledException"])
    with pytest.raises(StoreUnavailable) as caught:  # within the back-off
        services.services().probe_data_key()
    assert caught.value.is_rejection


class Endpoint(QuietHandler):
    """The credential endpoint of a container, as Amazon ECS and EKS have it."""

    status = 403

    def do_GET(self) -> None:
        body = json.dumps({"message": "not authorized to assume the role"}).encode()
        self.respond(self.status, body)


@contextmanager
def credential_endpoint(status: int) -> Iterator[str]:
    handler = type("Answering", (Endpoint,), {"status": status})
    with serve_handler(handler) as address:
        yield f"{address}/role"


@on_servers
@pytest.mark.parametrize(
    ("status", "is_rejection"), [(None, True), (403, True), (429, False), (500, False)]
)
def test_process_without_credentials_is_rejected_unless_their_endpoint_has_an_outage(
    faulty: FaultyStack,
    monkeypatch: pytest.MonkeyPatch,
    status: int | None,
    is_rejection: bool,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0)
    with credential_endpoint(status or 200) as url:
        if status is not None:
            monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        services.reset()
        with pytest.raises(TableUnavailable) as caught:
            services.build(faulty.stack.config).probe_table()
    assert caught.value.is_rejection is is_rejection
