"""One local KMS for each test, and clients of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.local.test_kms.clients import (
    CONTEXT,
    PLAINTEXT,
    Connect,
    clients,
)
from tests.support.local_kms import LocalKMS, running_kms

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient


@pytest.fixture
def server() -> Iterator[LocalKMS]:
    with running_kms() as server:
        yield server


@pytest.fixture
def connect(server: LocalKMS) -> Iterator[Connect]:
    with clients(server.url) as connect:
        yield connect


@pytest.fixture
def kms(connect: Connect) -> KMSClient:
    return connect()


@pytest.fixture
def key(kms: KMSClient) -> str:
    return kms.create_key()["KeyMetadata"]["Arn"]


@pytest.fixture
def blob(kms: KMSClient, key: str) -> bytes:
    response = kms.encrypt(KeyId=key, Plaintext=PLAINTEXT, EncryptionContext=CONTEXT)
    return response["CiphertextBlob"]
