"""What holds for every test: no real AWS within reach, and time that only moves when told."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings as hypothesis_settings

from sessions_kms import services
from tests.clock import FakeClock

AWS_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    # An address where nothing listens: a test that names no endpoint must fail, not call AWS.
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1,localhost",
}

hypothesis_settings.register_profile("suite", derandomize=True, deadline=None, max_examples=100)
hypothesis_settings.load_profile("suite")


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in AWS_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    services.reset()
    yield
    services.reset()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
