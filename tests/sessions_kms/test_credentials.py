"""Credentials that boto has to ask for: as hasty as every other call."""

import socket
from collections.abc import Iterator
from pathlib import Path

import botocore.endpoint
import pytest

from sessions_kms import aws
from sessions_kms.exceptions import KMSUnavailable, TableUnavailable
from sessions_kms.items import ItemTable
from tests.sessions_kms.faulty import NoSleep

KEY = "arn:aws:kms:eu-west-1:111122223333:key/11111111-1111-4111-8111-111111111111"
HINDERED = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")


@pytest.fixture
def silent_sts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have boto assume a role, as in Kubernetes, by an STS that takes calls and never answers."""
    token = tmp_path / "token"
    token.write_text("a token of the cluster")
    for name in HINDERED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/gateway")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setattr(botocore.endpoint, "time", NoSleep)
    monkeypatch.setattr(aws, "READ_TIMEOUT", 0.2)
    aws._client_config.cache_clear()
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{server.getsockname()[1]}")
        aws.reset()
        yield
    aws._client_config.cache_clear()
    aws.reset()


@pytest.mark.timeout(30)
@pytest.mark.usefixtures("silent_sts")
def test_credentials_that_do_not_come_make_the_table_unavailable_and_nobody_hang() -> None:
    table = ItemTable(aws.dynamodb_client("eu-west-1"), name="sessions")
    with pytest.raises(TableUnavailable):
        table.get_item("any")


@pytest.mark.timeout(30)
@pytest.mark.usefixtures("silent_sts")
def test_credentials_that_do_not_come_make_kms_unavailable_and_nobody_hang() -> None:
    with pytest.raises(KMSUnavailable) as caught:
        aws.KMS().generate_data_key(KEY, {})
    assert caught.value.refused_key is None
