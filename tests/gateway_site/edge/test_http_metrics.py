"""Metrics of requests: an upstream, or somebody who chooses its responses, hides no others."""

from typing import Any

import pytest

from gateway_site.edge import http_metrics
from gateway_site.edge.http_metrics import OTHER, STATUS, TimedCall
from sessions_kms.telemetry import ERROR_TYPE, Telemetry

LIMIT = 2000  # series of a metric that OpenTelemetry's SDK keeps; it merges all later ones


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(Telemetry, "is_enabled", True)
    monkeypatch.setattr(
        http_metrics.http, "record", lambda _name, _seconds, **attributes: found.append(attributes)
    )
    return found


def test_upstream_that_makes_up_statuses_leaves_room_for_others(
    recorded: list[dict[str, Any]],
) -> None:
    for method in [*http_metrics.METHODS, "MADE-UP"]:
        for status in range(100, 1000):
            TimedCall("hostile", "https://upstream.example.com", method).note_response(status)
    series = {tuple(sorted(each.items(), key=str)) for each in recorded}
    assert len(series) <= LIMIT / 2


@pytest.mark.parametrize(
    ("status", "shown"),
    [(200, 200), (404, 404), (499, 499), (503, 503), (299, 200), (520, 500), (700, OTHER)],
)
def test_registered_statuses_are_shown_and_others_as_the_first_of_their_class(
    recorded: list[dict[str, Any]], status: int, shown: int | str
) -> None:
    TimedCall("echo", "https://upstream.example.com", "GET").note_response(status)
    [found] = recorded
    assert found[STATUS] == shown
    assert found.get(ERROR_TYPE) == (str(shown) if status >= 500 else None)
