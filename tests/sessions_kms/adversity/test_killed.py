"""A real process killed (kill -9) at each write of each operation, over HTTP to real servers.

What a process that lives finds afterwards is what `operations` allows.
"""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.sessions_kms.support.faults import Exchange, FaultProxy
from tests.sessions_kms.support.faulty import FaultyStack, MakeFaulty
from tests.sessions_kms.support.mortal import Mortals, kill_at
from tests.sessions_kms.support.operations import OPERATIONS, Scene, check, prepare
from tests.sessions_kms.support.stacks import settings_of

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("make_stack", ["servers"], indirect=True)]
WRITES = {"PutItem", "DeleteItem", "TransactWriteItems"}
WRITING = [name for name in OPERATIONS if name != "load"]
GROUPS = [WRITING[start::3] for start in range(3)]  # each with a process to fork from
CASES = [["save"], *(pytest.param(names, marks=pytest.mark.long) for names in GROUPS)]


@pytest.fixture
def faulty(make_faulty: MakeFaulty) -> FaultyStack:
    made = make_faulty()
    made.stack.clock.now = time.time()
    return made


@pytest.fixture
def mortals(faulty: FaultyStack) -> Iterator[Mortals]:
    config = faulty.stack.config
    settings: dict[str, Any] = settings_of(config) | {"REGION_NAME": config.region_name}
    with Mortals(settings) as running:
        yield running


def prepare_scene(faulty: FaultyStack) -> Scene:
    """Make the sessions of a case, and none but these."""
    faulty.restart()
    faulty.stack.clock.now = time.time()
    for item_id in faulty.stack.items():
        if not item_id.startswith("data-key#"):
            faulty.stack.delete_item(item_id)
    scene = prepare()
    faulty.restart()
    return scene


def strike(faulty: FaultyStack, mortals: Mortals, name: str, number: int, *, applied: bool) -> None:
    """Kill a process at the write of this number, and look at what it left."""
    scene = prepare_scene(faulty)
    at_write(faulty.table, number, kill_at(mortals, applied=applied))
    response, told = mortals.run(name, scene)
    assert response == "killed"
    faulty.restart()
    faulty.stack.clock.now = time.time()
    check(name, told, "killed", faulty.stack.clock.advance)


def at_write(table: FaultProxy, number: int, fault: Any) -> None:
    """Let a fault strike the write of this number, of whatever operation."""
    left = [number]

    def strike_or_forward(exchange: Exchange) -> Any:
        left[0] -= 1
        return exchange.forward() if left[0] >= 0 else fault(exchange)

    for operation in WRITES:
        table.on(operation, strike_or_forward)


@pytest.mark.parametrize("names", CASES, ids=", ".join)
def test_process_killed_at_any_write_leaves_an_allowed_state(
    faulty: FaultyStack, mortals: Mortals, names: list[str]
) -> None:
    for name in names:
        for number in range(writes_of(faulty, mortals, name)):
            for applied in (False, True):
                strike(faulty, mortals, name, number, applied=applied)


def writes_of(faulty: FaultyStack, mortals: Mortals, name: str) -> int:
    """Let an operation run undisturbed, and count its writes."""
    scene = prepare_scene(faulty)
    assert mortals.run(name, scene)[0] == "ok"
    mortals.spare()
    found = sum(operation in WRITES for operation in faulty.table.operations)
    assert found
    return found
