"""The finding `client`: which client sends requests, and the remedy if none can."""

import pytest

from sessions_kms.conf import Config
from sessions_kms.doctor.finding import Finding, Level
from sessions_kms.doctor.process import client_findings
from tests.sessions_kms.support.stacks import FAKE_KEY


def finding_of(setting: str) -> Finding:
    config = Config(
        key_id=FAKE_KEY,
        table_name="sessions",
        region_name="eu-west-1",
        client=setting,  # type: ignore[arg-type]
    )
    (found,) = client_findings(config)
    return found


@pytest.mark.parametrize(
    ("setting", "endpoint", "expected"),
    [
        ("boto", "https://table.example", "boto: CLIENT is 'boto'"),
        (
            "auto",
            "https://table.example",
            "boto: boto is instrumented by moto.",
        ),
        (
            "builtin",
            "https://table.example:444",
            "built-in, for https://table.example:444/: ",
        ),
        ("builtin", "https://table.example/a", "boto: the endpoint is more than a host"),
    ],
)
def test_client_is_reported_with_the_reason(
    setting: str, endpoint: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    found = finding_of(setting)
    assert (found.name, found.level, found.remedy) == ("client", Level.OK, "")
    assert found.detail.startswith(expected)


def test_unsupported_builtin_client_fails_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://table.example")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:SECRET@proxy.example")
    found = finding_of("builtin")
    assert found.level is Level.FAILING
    assert "Set it to 'auto' or 'boto'." in found.remedy
    assert "SECRET" not in repr(found)
