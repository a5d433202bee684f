"""The finding `client`: who asks the table, and what to do where nobody can."""

import pytest

from sessions_kms.conf import Config
from sessions_kms.doctor.client import client_findings
from sessions_kms.doctor.finding import Finding, Level
from tests.sessions_kms.support.stacks import FAKE_KEY


def finding(wish: str) -> Finding:
    config = Config(
        key_id=FAKE_KEY,
        table_name="sessions",
        region_name="eu-west-1",
        client=wish,  # type: ignore[arg-type]
    )
    (found,) = client_findings(config)
    return found


@pytest.mark.parametrize(
    ("wish", "endpoint", "told"),
    [
        ("boto", "https://table.example", "boto asks: CLIENT is 'boto'"),
        ("auto", "https://table.example", "boto asks: moto.core.botocore_stubber watches"),
        ("wire", "https://table.example:444", "the wire asks https://table.example:444/: CLIENT"),
        ("wire", "https://table.example/a", "boto asks: the endpoint is more than a host"),
    ],
)
def test_who_asks_is_told_with_the_reason(
    wish: str, endpoint: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    found = finding(wish)
    assert (found.name, found.level, found.remedy) == ("client", Level.OK, "")
    assert found.detail.startswith(told)


def test_wire_that_cannot_ask_is_failing_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://table.example")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:SECRET@proxy.example")
    found = finding("wire")
    assert found.level is Level.FAILING
    assert "Set it to 'auto' or to 'boto'." in found.remedy
    assert "SECRET" not in repr(found)
