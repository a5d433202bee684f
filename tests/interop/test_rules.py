"""MCP servers of both SDKs and of both protocol versions behind rules, called by real clients.

Each client sees and calls what it may, in JSON and in events, and shows why it got nothing.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.stack import LocalStack
from tests.interop.conftest import skip_if_left_out
from tests.interop.mcp_servers.servers import running_servers
from tests.interop.mcp_servers.tools_servers import RARE, ToolsServer, tools_servers
from tests.mcp_clients.client import CallFailed, Client
from tests.mcp_clients.person import Person
from tests.mcp_clients.place import Place
from tests.mcp_clients.programs import PROGRAMS
from tests.mcp_clients.programs.python_sdk import LegacyPythonSession, PythonSession
from tests.mcp_clients.programs.typescript_sdk import FirstTypeScriptSession, TypeScriptSession

ALLOWED, DENIED = ("whoami", "search_open", RARE), ("export", "search_private")
OF_2026 = (PythonSession, TypeScriptSession)
OF_2025 = (LegacyPythonSession, FirstTypeScriptSession)
SERVERS = tools_servers()


@dataclass
class Stage:
    """A running gateway with rules, its servers, a person at a browser, and clients."""

    folder: Path
    stack: LocalStack
    person: Person
    clients: list[Client] = field(default_factory=list)

    def signed_in(self, kind: type[Client], server: ToolsServer) -> Client:
        """Return a new client that has signed in."""
        url = f"{self.stack.url}/gateway/{server.name}"
        made = kind(Place(self.folder / f"{len(self.clients)}", url))
        assert made.available() is None, f"{kind.name}: {made.available()}"
        self.clients.append(made)
        self.person.places.append(made.place)
        made.sign_in()
        return made


@pytest.fixture(scope="module")
def stage(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    for name in ("mcp-clients", "canaille", "typescript-sdk"):
        skip_if_left_out(pytestconfig, name)
    folder = tmp_path_factory.mktemp("rules")
    stack = LocalStack(folder / "state")
    for each in SERVERS:
        stack.variables |= each.variables(folder)
    with ExitStack() as all_of_it:
        all_of_it.enter_context(running_servers(SERVERS, folder))
        all_of_it.enter_context(stack.running())
        person = all_of_it.enter_context(Person(stack))
        made = Stage(folder, stack, person)
        yield made
        for client in made.clients:
            client.close()


def call_text(client: Client, tool: str) -> str:
    """Return what a client shows of a call, whether it takes that for a failure or not."""
    try:
        return client.call(tool, {})
    except CallFailed as failure:
        return str(failure)


def check(client: Client) -> None:
    """Compare what a client sees and calls with the rules."""
    tools = client.tools()
    assert [each for each in (*ALLOWED, *DENIED) if each in tools] == list(ALLOWED), tools
    for tool in DENIED:
        shown = call_text(client, tool)
        assert f'"{tool}"' not in shown, shown  # as it would answer
        assert is_readable_denial(client, shown), shown
    shown = call_text(client, "search_open")
    assert "search_open" in shown, shown
    assert "Ada Lovelace" in shown, shown


def is_readable_denial(client: Client, shown: str) -> bool:
    """Return True for the gateway's words; command lines may know themselves what is not listed."""
    own = ("No such tool available", "unsupported call", "not found")
    return "Unknown tool" in shown or any(each in shown for each in own)


def check_rate(client: Client) -> None:
    """Call too often: the client says so, stays signed in, and goes on."""
    call_text(client, RARE)  # perhaps the one call of the hour: all clients here count as one
    shown = call_text(client, RARE)
    assert "Too many calls" in shown, shown
    assert "search_open" in call_text(client, "search_open")


@pytest.mark.parametrize("kind", [*OF_2026, *OF_2025], ids=lambda kind: kind.name)
@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_sdk_sees_and_calls_what_it_may(
    server: ToolsServer, kind: type[Client], stage: Stage
) -> None:
    if kind in OF_2025 and (server.program, server.line) == ("typescript", "second"):
        pytest.skip("it speaks 2026-07-28 alone")
    client = stage.signed_in(kind, server)
    check(client)
    check_rate(client)
    assert client.place.times_asked == 1, stage.person.failures


@pytest.mark.timeout(300)  # Claude Code's open session looks for an unlisted tool for a minute.
@pytest.mark.parametrize("kind", PROGRAMS, ids=lambda kind: kind.name)
def test_client_shows_why_a_call_was_rejected(kind: type[Client], stage: Stage) -> None:
    [server] = [each for each in SERVERS if each.name == "python_first_events"]
    client = stage.signed_in(kind, server)
    check(client)
    check_rate(client)
    assert client.place.times_asked == 1, stage.person.failures
