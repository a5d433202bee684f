"""Counters of sign-ins and grants: their attributes have few values."""

from typing import Any

import pytest

from oauth import metrics


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    configured = {"corp": object()}
    monkeypatch.setattr(metrics, "find_provider", configured.get)
    monkeypatch.setattr(
        metrics.telemetry, "count", lambda name, **attributes: found.append((name, attributes))
    )
    return found


def test_sign_in_is_counted_by_provider_and_code(
    counted: list[tuple[str, dict[str, Any]]],
) -> None:
    metrics.count_sign_in("corp")
    metrics.count_sign_in("corp", "state_unknown")
    assert counted == [
        ("sign_in", {"provider": "corp", "code": "ok"}),
        ("sign_in", {"provider": "corp", "code": "state_unknown"}),
    ]


def test_provider_that_is_not_configured_is_other(
    counted: list[tuple[str, dict[str, Any]]],
) -> None:
    metrics.count_sign_in("made-up-by-a-visitor")
    assert counted == [("sign_in", {"provider": "_OTHER", "code": "ok"})]
