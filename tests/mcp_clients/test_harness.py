"""The harness of `make mcp-clients`: which results it reports, and which clients it skips."""

import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from tests.mcp_clients import conformance, expected, node, rounds, trial
from tests.mcp_clients.__main__ import Trials, select_clients
from tests.mcp_clients.client import CallFailed, Client
from tests.mcp_clients.disturbances import DISTURBANCES
from tests.mcp_clients.place import Place
from tests.mcp_clients.programs import PROGRAMS
from tests.mcp_clients.programs.dialogue import Dialogue

RESPONSE = '{"name": "Ada Lovelace", "token": "the provider\'s, opaque", "sha256": "0123456789ab"}'
ADDRESS = "http://127.0.0.1:8000/oauth/authorize?a=1&b='%20\"$HOME"


class Scripted(Client):
    """Does at each call what a test says, and asks for the browser at each sign-in."""

    name = "scripted"

    def __init__(self, place: Place, calls: Iterator[Callable[[Client], str]]) -> None:
        super().__init__(place)
        self.calls = calls

    def sign_in(self) -> None:
        ask(self)

    def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        return next(self.calls)(self)


def ask(client: Client) -> str:
    subprocess.run([client.place.environment["BROWSER"], ADDRESS], check=True)
    return RESPONSE


def fail(_: Client) -> str:
    raise CallFailed("503")


def respond(_: Client) -> str:
    return RESPONSE


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "client's place", "http://127.0.0.1:8000/gateway/demo")


@pytest.mark.parametrize(
    ("calls", "end"),
    [
        ([respond], expected.GOES_ON),
        ([fail, respond], expected.AT_SECOND_TRY),
        ([ask], expected.ASKS_ONCE),
        ([fail, fail, respond], expected.ASKS_ONCE),
        ([fail, ask], expected.ASKS_ONCE),
        ([fail, fail, ask], "asks 2 times"),
        ([fail, fail, fail], "stuck: 503"),
        ([lambda _: "an error"] * 3, "stuck: no answer of the tool: 'an error'"),
    ],
)
def test_end_is_recognised_by_responses_and_browser_visits(
    place: Place, calls: list[Callable[[Client], str]], end: str
) -> None:
    assert trial.end_outcome(Scripted(place, iter(calls)), place.times_asked)[0] == end


def test_early_authorization_counts_as_unexpected(place: Place) -> None:
    client = Scripted(place, iter([ask, ask]))
    before = place.times_asked
    trial.call_outcome(client)
    assert trial.end_outcome(client, before)[0] == "asks 2 times"


def test_browser_passes_the_address_unchanged(place: Place) -> None:
    ask(Scripted(place, iter(())))
    (file,) = place.asked_folder.iterdir()
    assert file.read_text(encoding="utf-8") == ADDRESS


def test_program_that_has_ended_fails_its_calls_and_can_be_started_again(place: Place) -> None:
    dialogue = Dialogue()
    environment, folder = place.environment, place.folder
    dialogue.begin(["true"], environment, folder, place.log)
    dialogue._process.wait()
    with pytest.raises(CallFailed, match="has ended"):
        dialogue.ask("a line that nobody reads")
    dialogue.begin(["cat"], environment, folder, place.log)
    assert dialogue.ask("a line") == "a line\n"
    dialogue.end()


def test_every_disturbance_has_an_end() -> None:
    assert set(expected.EXPECTED) == {rounds.SIGN_IN, *(each.name for each in DISTURBANCES)}
    assert len(DISTURBANCES) == 8


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_run_fails_if_any_client_of_the_list_is_missing(
    program: type[Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "available", lambda _: "it is not installed.")
    trials = Trials(tmp_path, select_clients((), ()), ["gateway killed"])
    (client,) = [each for each in trials.clients if type(each) is program]
    assert trials._is_missing(client)
    assert not trials.is_right
    assert program.name in trials.notes[0]
    without = Trials(tmp_path / "without", select_clients((), (program.name,)), ["gateway killed"])
    assert program not in map(type, without.clients)
    assert len(without.clients) == len(PROGRAMS) - 1


def test_run_fails_if_the_conformance_tool_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conformance, "missing", lambda: "it is not installed.")
    trials = Trials(tmp_path, select_clients((), ()), ["gateway killed"])
    assert trials.with_conformance
    trials._try_conformance(Mock())
    assert not trials.is_right
    assert not Trials(tmp_path / "x", select_clients((), (conformance.NAME,)), []).with_conformance


def test_only_a_client_s_own_name_leaves_it_out() -> None:
    assert select_clients((), ()) == [*(each.name for each in PROGRAMS), conformance.NAME]
    assert select_clients(("Codex",), ()) == ["Codex"]
    assert select_clients((), ("Codex",)) == [
        each for each in select_clients((), ()) if each != "Codex"
    ]
    assert select_clients(("Codex",), ("Codex",)) == []


@pytest.mark.parametrize(
    ("said", "is_whole"),
    [
        ("Running test (2 scenarios) against x\n✓ a\n✓ b\nTotal: 2 passed, 0 failed\n", True),
        ("Running test (2 scenarios) against x\n✓ a\nTotal: 1 passed, 0 failed\n", False),
        ("Running test (2 scenarios) against x\n✓ a\n✗ b\nTotal: 1 passed, 1 failed\n", False),
        ("Running test (1 scenarios) against x\nSkipped: a\nTotal: 1 passed, 0 failed\n", False),
        ("Test error: fetch failed\n", False),
    ],
)
def test_conformance_suite_passes_wholly_or_not(said: str, is_whole: bool) -> None:
    assert (conformance.wrong(said) is None) is is_whole


def test_pinned_packages_name_no_host() -> None:
    assert '"resolved"' not in (node.FOLDER / "package-lock.json").read_text(encoding="utf-8")
