"""Every documented error of KMS: whether it is retried, what it drops, and which error is raised.

https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html#API_Decrypt_Errors and
CommonErrors. Over HTTP, so that it is boto that decides on asking again.
"""

from itertools import product
from typing import NamedTuple

import pytest

from sessions_kms.aws import calls
from sessions_kms.aws import kms as aws
from sessions_kms.backend import SessionStore
from sessions_kms.exceptions import InvalidRecord, KMSUnavailable
from tests.sessions_kms.support.faults import error
from tests.sessions_kms.support.faulty import FaultyStack
from tests.sessions_kms.support.sessions import saved_key

pytestmark = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)


class Expected(NamedTuple):
    """What an error means: how often KMS is asked in all, and what is raised."""

    status: int
    asked: int
    raised: type[Exception]
    refused: bool = False


UNREACHABLE = Expected(400, calls.ATTEMPTS, KMSUnavailable)
REFUSED = Expected(400, 1, KMSUnavailable, refused=True)
CODES = {
    "AccessDeniedException": REFUSED,
    "DisabledException": REFUSED._replace(status=409),
    "InvalidKeyUsageException": REFUSED,
    "KMSInvalidStateException": REFUSED,
    "NotFoundException": REFUSED,
    "InvalidCiphertextException": Expected(400, 1, InvalidRecord),
    "IncorrectKeyException": Expected(400, 1, aws.IncorrectKey),
    "InvalidGrantTokenException": Expected(400, 1, KMSUnavailable),
    "DryRunOperationException": Expected(400, 1, KMSUnavailable),
    "ExpiredTokenException": Expected(400, 1, KMSUnavailable),
    "IncompleteSignature": Expected(400, 1, KMSUnavailable),
    "InvalidClientTokenId": Expected(403, 1, KMSUnavailable),
    "OptInRequired": Expected(403, 1, KMSUnavailable),
    "UnrecognizedClientException": Expected(400, 1, KMSUnavailable),
    "ValidationException": Expected(400, 1, KMSUnavailable),
    "ThrottlingException": UNREACHABLE,
    "LimitExceededException": UNREACHABLE,
    "DependencyTimeoutException": UNREACHABLE._replace(status=503),
    "KeyUnavailableException": UNREACHABLE._replace(status=500),
    "KMSInternalException": UNREACHABLE._replace(status=500),
    "InternalFailure": UNREACHABLE._replace(status=500),
    "ServiceUnavailable": UNREACHABLE._replace(status=503),
    "ErrorOfTheFuture": Expected(400, 1, KMSUnavailable),
}


def test_every_error_is_retried_or_not_and_becomes_one_error_of_ours(faulty: FaultyStack) -> None:
    key = faulty.stack.config.key_id
    for (code, expected), operation in product(CODES.items(), ("Decrypt", "GenerateDataKey")):
        faulty.restart()
        faulty.kms.on(operation, error(code, expected.status))
        with pytest.raises(expected.raised) as caught:
            ask(operation, key)
        assert type(caught.value) is expected.raised
        assert faulty.kms.operations == [operation] * expected.asked, code
        refused = getattr(caught.value, "refused_key", None)
        assert refused == (key if expected.refused else None), code


def ask(operation: str, key: str) -> object:
    if operation == "Decrypt":
        return aws.KMS().decrypt(key, b"blob", {"a": "b"})
    return aws.KMS().generate_data_key(key, {"a": "b"})


def test_every_error_keeps_or_drops_the_cached_keys(faulty: FaultyStack) -> None:
    key = saved_key(token="mine")
    for code, expected in CODES.items():
        faulty.restart()
        faulty.stack.clock.now += 1
        assert SessionStore(key).get("token") == "mine"
        faulty.stack.clock.now += faulty.stack.config.data_key_cache_age
        faulty.kms.on("Decrypt", error(code, expected.status))
        session = SessionStore(key)
        if expected.refused:
            with pytest.raises(KMSUnavailable):
                session.get("token")
            assert session.session_key == key
        else:
            found = None if expected.raised is InvalidRecord else "mine"
            assert session.get("token") == found, code


def test_every_unwrap_names_the_key_and_the_complete_context(faulty: FaultyStack) -> None:
    key = saved_key(token="mine")
    faulty.restart()
    assert SessionStore(key).get("token") == "mine"
    asked = [request for operation, request in faulty.kms.requests if operation == "Decrypt"]
    assert asked
    for request in asked:
        assert request["KeyId"] == faulty.stack.config.key_id
        assert set(request["EncryptionContext"]) == {"purpose", "namespace", "period"}
