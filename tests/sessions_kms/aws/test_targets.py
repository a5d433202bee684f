"""The built-in client uses boto's endpoint and Region in every environment."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.awsrequest import AWSPreparedRequest

from sessions_kms.aws import clients
from sessions_kms.aws.client_choice import capture_requests, target_of

ACCOUNT = {"AWS_ACCOUNT_ID": "123456789012"}
ARN = "arn:aws:dynamodb:eu-west-1:999999999999:table/sessions"
CONFIG = """
[profile named]
region = eu-west-2
endpoint_url = http://profile.example:81
[profile services]
services = mine
[services mine]
dynamodb =
    endpoint_url = https://services.example:444
[profile fips]
use_fips_endpoint = true
use_dualstack_endpoint = true
"""
# What is set beside credentials; no endpoint, unless it is named here.
ENVIRONMENTS: list[dict[str, str]] = [
    {},
    {"AWS_ENDPOINT_URL": "http://localhost:8000"},
    {"AWS_ENDPOINT_URL": "https://any.example/"},
    {"AWS_ENDPOINT_URL": "http://[::1]:8000"},
    {"AWS_ENDPOINT_URL": "http://a.example", "AWS_ENDPOINT_URL_DYNAMODB": "http://b.example:82"},
    {"AWS_ENDPOINT_URL": "http://a.example", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
    {"AWS_ENDPOINT_URL_KMS": "http://kms.example"},
    {"AWS_USE_FIPS_ENDPOINT": "true"},
    {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
    {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"},
    {"AWS_DEFAULT_REGION": "us-gov-west-1", "AWS_USE_FIPS_ENDPOINT": "true"},
    {"AWS_DEFAULT_REGION": "cn-north-1"},
    {"AWS_DEFAULT_REGION": "local"},
    ACCOUNT,
    ACCOUNT | {"AWS_ACCOUNT_ID_ENDPOINT_MODE": "disabled"},
    ACCOUNT | {"AWS_ACCOUNT_ID_ENDPOINT_MODE": "required"},
    ACCOUNT | {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
    ACCOUNT | {"AWS_USE_FIPS_ENDPOINT": "true"},
    {"AWS_PROFILE": "named"},
    {"AWS_PROFILE": "services"},
    {"AWS_PROFILE": "fips"},
    {"AWS_SESSION_TOKEN": "token"},
]
KEY = {"id": {"S": "x"}}
OPERATIONS: dict[str, Any] = {
    "get_item": lambda table: {"TableName": table, "Key": KEY},
    "put_item": lambda table: {"TableName": table, "Item": KEY},
    "update_item": lambda table: {"TableName": table, "Key": KEY},
    "delete_item": lambda table: {"TableName": table, "Key": KEY},
    "query": lambda table: {"TableName": table},
    "transact_write_items": lambda table: {
        "TransactItems": [{"Delete": {"TableName": table, "Key": KEY}}]
    },
}


class Sent(Exception):
    def __init__(self, request: AWSPreparedRequest) -> None:
        super().__init__()
        self.request = request


def sent_by_boto(table: str) -> Iterator[AWSPreparedRequest]:
    """Yield what a client that nobody touched would send, by each operation."""

    def stop(request: AWSPreparedRequest, **_: Any) -> None:
        raise Sent(request)

    client: Any = botocore.session.Session().create_client("dynamodb")
    client.meta.events.register("before-send", stop)
    client.meta.events.register("needs-retry", lambda **_: False)
    for operation, params in OPERATIONS.items():
        with pytest.raises(Sent) as caught:
            getattr(client, operation)(**params(table))
        yield caught.value.request


@pytest.fixture
def environment(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text(CONFIG)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    for name, value in request.param.items():
        monkeypatch.setenv(name, value)


def captured_request() -> Any:
    client = clients.dynamodb_client(None)
    capture_requests(client)
    return client


@pytest.mark.parametrize("environment", ENVIRONMENTS, indirect=True, ids=str)
@pytest.mark.parametrize("table", ["sessions", ARN])
@pytest.mark.usefixtures("environment")
def test_target_is_where_boto_sends(table: str) -> None:
    target = target_of(captured_request(), table)
    assert target is not None
    for theirs in sent_by_boto(table):
        assert target.origin.url == f"{theirs.url.rstrip('/')}/"
        signed: Any = theirs.headers["Authorization"]
        signed = signed.decode() if isinstance(signed, bytes) else signed
        assert f"/{target.region}/dynamodb/aws4_request" in signed


@pytest.mark.parametrize(
    "environment",
    [
        {"AWS_ENDPOINT_URL": "http://gateway.example/dynamodb"},
        {"AWS_ENDPOINT_URL": "http://gateway.example/?a=b"},
        {"AWS_ENDPOINT_URL": "http://user:word@gateway.example"},
    ],
    indirect=True,
    ids=str,
)
@pytest.mark.usefixtures("environment")
def test_endpoint_that_is_more_than_a_host_is_left_to_boto() -> None:
    assert target_of(captured_request(), "sessions") is None


@pytest.mark.parametrize("environment", [{}], indirect=True)
@pytest.mark.usefixtures("environment")
def test_target_lookup_does_not_intercept_other_calls() -> None:
    client = captured_request()

    class Sending:
        def send(self, request: AWSPreparedRequest) -> None:
            raise Sent(request)

    client._endpoint.http_session = Sending()
    assert target_of(client, "sessions") is not None
    with pytest.raises(Sent):
        client.get_item(TableName="sessions", Key=KEY)
