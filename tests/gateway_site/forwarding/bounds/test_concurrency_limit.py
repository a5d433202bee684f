"""How many calls may be open at once."""

from __future__ import annotations

import pytest

from gateway_site.forwarding.bounds.concurrency_limit import Slots
from gateway_site.rules.problems import Problem


def test_limit_holds_for_each_key_and_a_free_slot_is_taken_again() -> None:
    slots = Slots()
    with slots.taken("a", 2), slots.taken("a", 2), slots.taken("b", 1):
        with pytest.raises(Problem) as refused, slots.taken("a", 2):
            pass
        assert refused.value.status == 429
    with slots.taken("a", 1):
        assert len(slots) == 1
    assert len(slots) == 0


def test_key_that_is_only_refused_is_not_remembered() -> None:
    slots = Slots()
    with pytest.raises(Problem), slots.taken("a", 0):
        pass
    assert len(slots) == 0


def test_slot_of_a_call_that_fails_is_given_back() -> None:
    slots = Slots()
    with pytest.raises(RuntimeError), slots.taken("a", 1):
        raise RuntimeError
    assert len(slots) == 0
