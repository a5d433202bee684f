"""Real boto3 clients for the tests of the local KMS.

Each client checks every error response: its code must be in botocore's service model for that
operation, or be one of the errors that AWS documents as common to its services.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient

ACCOUNT = "123456789012"
REGION = "eu-central-1"
OTHER_REGION = "us-west-2"
ADMINISTRATOR = "ADMINISTRATOR"
UNKNOWN = "00000000-0000-4000-8000-000000000000"
CONTEXT = {"purpose": "test", "namespace": "django"}
PLAINTEXT = b"0123456789abcdef0123456789abcdef"

# KMS API Reference, "Common Errors", with the codes that JSON services give them on the wire.
COMMON_ERRORS = {
    "AccessDeniedException",
    "IncompleteSignatureException",
    "NotAuthorizedException",
    "SerializationException",
    "UnknownOperationException",
    "ValidationException",
}

Connect = Callable[..., "KMSClient"]


def client(url: str, region: str = REGION, access_key_id: str = ADMINISTRATOR) -> KMSClient:
    """Return a client that neither retries nor validates parameters, so that the server must."""
    made: KMSClient = _session().client(
        "kms",
        endpoint_url=url,
        region_name=region,
        aws_access_key_id=access_key_id,
        aws_secret_access_key="secret",
        config=Config(
            retries={"total_max_attempts": 1},
            parameter_validation=False,
        ),
    )
    made.meta.events.register("after-call.kms", check_documented)
    return made


@contextmanager
def clients(url: str) -> Iterator[Connect]:
    """Yield a function that returns clients of one server, cached by its arguments."""
    made: list[KMSClient] = []

    @functools.cache
    def connect(region: str = REGION, access_key_id: str = ADMINISTRATOR) -> KMSClient:
        made.append(client(url, region, access_key_id))
        return made[-1]

    try:
        yield connect
    finally:
        for each in made:
            each.close()


@contextmanager
def fails(code: str, saying: str = "") -> Iterator[None]:
    """Expect an error response with this code, HTTP status 400, and this text in its message."""
    with pytest.raises(ClientError) as caught:
        yield
    response = caught.value.response
    assert response["Error"]["Code"] == code, response["Error"]
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert saying in response["Error"]["Message"]


def state(kms: KMSClient, key: str) -> str:
    """Return the state of a key."""
    return kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"]


@functools.cache
def _session() -> boto3.session.Session:
    return boto3.session.Session()


def check_documented(parsed: dict[str, Any], model: Any, **_: object) -> None:
    if "Error" in parsed:
        documented = {shape.name for shape in model.error_shapes} | COMMON_ERRORS
        assert parsed["Error"]["Code"] in documented, (model.name, parsed["Error"])
