"""Which failures the soak reports, and which are explained."""

import time

from tests.soak.ledger import AFTERMATH, NO_RESPONSE, UNAVAILABLE, Disturbance, Ledger
from tests.soak.watching import Sample, are_descriptors_flat, is_memory_flat, without_warm_up


def samples(memory: float, descriptors: float) -> list[Sample]:
    """Return an hour's, which grow by this much in it."""
    return [
        Sample(minute * 60, 100 + memory * minute / 60, int(20 + descriptors * minute / 60), 9)
        for minute in range(61)
    ]


def test_steady_process_is_flat() -> None:
    assert is_memory_flat(samples(memory=1, descriptors=0))
    assert are_descriptors_flat(samples(memory=1, descriptors=0))


def test_growing_process_is_not_flat() -> None:
    assert not is_memory_flat(samples(memory=10, descriptors=0))
    assert not are_descriptors_flat(samples(memory=0, descriptors=10))


def test_warm_up_is_not_judged() -> None:
    assert without_warm_up(samples(0, 0))[0].at == 15 * 60


def test_failure_in_calm_is_a_fault() -> None:
    ledger = Ledger()
    ledger.failed("read", UNAVAILABLE, time.monotonic())
    assert len(ledger.violations) == 1


def test_outage_explains_its_503s_but_a_kill_does_not() -> None:
    ledger = Ledger()
    before = time.monotonic()
    with ledger.disturbance("table unreachable"):
        pass
    ledger.failed("read", UNAVAILABLE, before)
    assert ledger.violations == []
    ledger.failed("read", NO_RESPONSE, before)
    assert len(ledger.violations) == 1
    assert not Disturbance("a kill", True, before).explains(UNAVAILABLE, before, before)


def test_outage_explains_nothing_long_after() -> None:
    outage = Disturbance("table unreachable", False, 100, 106)
    assert outage.explains(UNAVAILABLE, 106 + AFTERMATH, 113)
    assert not outage.explains(UNAVAILABLE, 107 + AFTERMATH, 114)
    assert not outage.explains(UNAVAILABLE, 98, 99)
