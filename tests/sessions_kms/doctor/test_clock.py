"""The error of a machine's clock is reported, measured by the `Date` of AWS."""

import time
from collections.abc import Callable

import pytest

from sessions_kms import conf, services
from sessions_kms.aws.clock import ServerClock
from tests.sessions_kms.support import checked_store
from tests.sessions_kms.support.checked_store import Store, only_trouble, proxied, troubles
from tests.sessions_kms.support.faults import error
from tests.sessions_kms.support.stacks import install

pytestmark = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
store = checked_store.store


def clock_off_by(seconds: int) -> Callable[[], float]:
    return lambda: time.time() + seconds


def set_clock(clock: Callable[[], float]) -> None:
    install(services.build(conf.config(), clock=ServerClock(clock)))


@pytest.mark.parametrize(
    ("seconds", "level", "detail"),
    [
        (100, "warning", "ahead of AWS's"),
        (-100, "warning", "behind AWS's"),
        (10_000, "warning", "ahead of AWS's"),
        (200_000, "failing", "ahead of AWS's"),
        (-200_000, "failing", "behind AWS's"),
    ],
)
def test_clock_that_is_off_is_found_and_set(
    store: Store, seconds: int, level: str, detail: str
) -> None:
    set_clock(clock_off_by(seconds))
    found = only_trouble("clock")
    assert found.level == level
    told, _, corrected = found.detail.partition(", which the engine corrects by ")
    assert told.endswith(detail)
    assert abs(int(corrected.split()[0]) + seconds) <= 5
    assert abs(int(found.detail.split()[0]) - abs(seconds)) <= 5
    assert "NTP" in found.remedy
    set_clock(time.time)
    assert troubles() == {}


def test_clock_a_little_off_is_no_fault(store: Store) -> None:
    set_clock(clock_off_by(50))
    assert troubles() == {}


@pytest.mark.slow
def test_error_response_corrects_the_clock_too(
    store: Store, roto_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS refuses what was signed at a wrong time, and by that the clock can be set."""
    with proxied("DYNAMODB", roto_url, monkeypatch) as proxy:
        proxy.on("GetItem", error("RequestTimeTooSkewed"))
        set_clock(clock_off_by(1000))
        found = troubles()
        assert found["clock"].level == "warning"
        assert "s ahead of AWS's" in found["clock"].detail
        assert "Set this machine's clock" in found["right dynamodb:GetItem"].remedy
        proxy.heal()
        set_clock(time.time)
        assert troubles() == {}
