"""Each operation, struck at each of its calls by each fault; FUZZ_EXAMPLES strikes at two.

The calls are found by running the operation once. Afterwards a process that starts anew
finds a state that the design allows, and nothing lost that was acknowledged.
"""

import copy
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, product

import pytest
from pytest_django import Settings

from sessions_kms.aws import calls
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import StoreUnavailable
from tests.sessions_kms.model.world import World
from tests.sessions_kms.support.operations import OPERATIONS, Response, Scene, check, prepare
from tests.sessions_kms.support.wire import FAULTS, Killed, stray

STRAY = "an answer to another request"
LONG = bool(os.environ.get("FUZZ_EXAMPLES"))
SAMPLE = 40  # pairs of faults, of several hundred
READ_ONLY = {"GetItem", "Query", "Decrypt"}
EACH_OPERATION = pytest.mark.parametrize("name", OPERATIONS)
# A process that has just begun reads the data key and the moment of not-before besides.
COLD_OR_WARM = pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])


class Stage:
    """The same sessions, created again as often as needed."""

    def __init__(
        self, name: str, *, warm: bool, returns_old: bool = True, has_connections: bool = False
    ) -> None:
        self.act, _ = OPERATIONS[name]
        self.name = name
        self.world = World(returns_old=returns_old, has_connections=has_connections)
        self.warm = warm
        with self.world.running(1):
            self.before = prepare()
            self.items = copy.deepcopy(self.world.table.items)
        self.now = self.world.clock()

    def calls(self) -> list[str]:
        """Run the operation once, and return the calls that it makes."""
        self._set_up()
        first = len(self.world.wire.calls)
        assert self._response(copy.deepcopy(self.before)) == "ok"
        return self.world.wire.calls[first:]

    def strike(self, *faults: tuple[int, str]) -> Response:
        """Inject faults into calls of the operation, and check what is stored afterwards."""
        self._set_up()
        for call, fault in faults:
            self.world.wire.strike(call, stray if fault == STRAY else FAULTS[fault])
        scene = replace(copy.deepcopy(self.before), faults=len(faults))
        response = self._response(scene)
        self.world.wire.heal()
        self.world.restart(1)
        with self.world.running(1):
            check(self.name, scene, response, self.world.clock.advance)
        return response

    def _set_up(self) -> None:
        world = self.world
        world.wire.arrive()  # What is late is of the sessions before.
        world.clock.now = self.now
        world.table.items = copy.deepcopy(self.items)
        world.restart(0)
        if self.warm:
            with world.running(0):
                run_sync(world.processes[0].sealing_key())
                run_sync(world.processes[0].not_before.moment())

    def _response(self, scene: Scene) -> Response:
        with self.world.running(0):
            try:
                self.act(scene)
            except StoreUnavailable:
                return "unavailable"
            except Killed:
                return "killed"
        return "ok"


@pytest.fixture(autouse=True)
def quiet(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SESSION_ENGINE = "sessions_kms.backend"
    caplog.set_level("CRITICAL")
    monkeypatch.setattr(calls, "sleep", lambda _: None)  # between two tries of a read


def strikes(calls: list[str]) -> Iterator[tuple[int, str]]:
    yield from product(range(len(calls)), FAULTS)


@pytest.mark.slow
@EACH_OPERATION
@pytest.mark.parametrize(
    ("warm", "returns_old"),
    [
        pytest.param(False, True, id="cold"),
        pytest.param(True, False, id="warm, old not returned"),
        pytest.param(False, False, id="cold, old not returned", marks=pytest.mark.long),
        pytest.param(True, True, id="warm", marks=pytest.mark.long),
    ],
)
def test_any_fault_at_any_call_leaves_an_allowed_state(
    name: str, warm: bool, returns_old: bool
) -> None:
    stage = Stage(name, warm=warm, returns_old=returns_old)
    calls = stage.calls()
    for call, fault in strikes(calls):
        response = stage.strike((call, fault))
        assert (response == "killed") == fault.startswith("killed"), (call, fault)


@pytest.mark.slow
@EACH_OPERATION
@pytest.mark.parametrize("warm", [True, pytest.param(False, marks=pytest.mark.long)])
def test_built_in_client_leaves_an_allowed_state_after_any_fault_and_any_stray_response(
    name: str, warm: bool
) -> None:
    """Whose responses are confirmed by reads, which may fail as well."""
    stage = Stage(name, warm=warm, has_connections=True)
    calls = stage.calls()
    # That a session of nobody is stored, nothing confirms.
    strays = [(call, STRAY) for call in range(len(calls)) if name != "create"]
    for call, fault in [*strikes(calls), *strays]:
        response = stage.strike((call, fault))
        assert (response == "killed") == fault.startswith("killed"), (call, fault)


@EACH_OPERATION
def test_call_that_is_handled_twice_is_not_noticed(name: str) -> None:
    stage = Stage(name, warm=False)
    for call in range(len(stage.calls())):
        assert stage.strike((call, "twice")) == "ok"


@EACH_OPERATION
def test_lost_reads_are_unavailable_and_nothing_else(name: str) -> None:
    stage = Stage(name, warm=True)
    reads = [call for call, operation in enumerate(stage.calls()) if operation in READ_ONLY]
    for call in reads:
        assert stage.strike((call, "lost")) == "unavailable"


@pytest.mark.long  # one fault at each call is in the other tier
@EACH_OPERATION
@COLD_OR_WARM
def test_any_two_faults_leave_an_allowed_state(name: str, warm: bool) -> None:
    for returns_old in (True, False):
        stage = Stage(name, warm=warm, returns_old=returns_old)
        # Two calls more than without a fault: those that a fault makes necessary.
        every = strikes([*stage.calls(), "again", "and again"])
        pairs = [(one, two) for one, two in combinations(every, 2) if one[0] != two[0]]
        for one, two in pairs if LONG else random.sample(pairs, SAMPLE):
            stage.strike(one, two)
