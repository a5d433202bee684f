"""The clients of `make mcp-clients` at MCP servers of other projects that the gateway connects."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.stack import LocalStack
from tests.interop.conftest import skip_if_left_out
from tests.interop.mcp_servers.consenting import ConsentingPerson
from tests.interop.mcp_servers.servers import (
    SERVERS,
    FastMCP,
    McpServer,
    TypeScriptExample,
    running_servers,
)
from tests.mcp_clients import rounds, trial
from tests.mcp_clients.client import Client
from tests.mcp_clients.disturbances import (
    Disturbance,
    World,
    gateway_killed,
    grant_ended,
    kms_key_moved,
    secret_key_rotated,
)
from tests.mcp_clients.expected import ASKS_ONCE, GOES_ON
from tests.mcp_clients.place import Place
from tests.mcp_clients.programs import PROGRAMS
from tests.mcp_clients.programs.python_sdk import LegacyPythonSDK, PythonSDK


@dataclass
class Stage:
    """A running gateway, its servers, a person at a browser, and the clients that were made."""

    folder: Path
    stack: LocalStack
    person: ConsentingPerson
    servers: dict[str, McpServer]
    clients: list[Client] = field(default_factory=list)

    def client(self, kind: type[Client], server: McpServer) -> Client:
        """Make a client in a new home, pointed at a server's address at the gateway."""
        home = self.folder / f"{len(self.clients)}"
        made = kind(Place(home, f"{self.stack.url}/gateway/{server.name}"))
        assert made.available() is None, f"{kind.name}: {made.available()}"
        self.clients.append(made)
        self.person.places.append(made.place)
        return made


@pytest.fixture(scope="module")
def stage(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    skip_if_left_out(pytestconfig, "mcp-clients")
    without = pytestconfig.getoption("--without")
    folder = tmp_path_factory.mktemp("mcp_clients")
    servers = {each.kind: each() for each in SERVERS if each.program not in without}
    stack = LocalStack(folder / "state")
    for each in servers.values():
        stack.variables |= each.variables
    with ExitStack() as all_of_it:
        all_of_it.enter_context(running_servers(list(servers.values()), folder))
        all_of_it.enter_context(stack.running())
        addresses = [one for each in servers.values() for one in each.addresses]
        person = all_of_it.enter_context(ConsentingPerson(stack, *addresses))
        made = Stage(folder, stack, person, servers)
        yield made
        for client in made.clients:
            client.close()


def test_every_client_goes_on_after_a_kill_and_new_keys_until_its_grant_ends(
    stage: Stage, pytestconfig: pytest.Config
) -> None:
    skip_if_left_out(pytestconfig, FastMCP.program)
    memory = stage.servers[FastMCP.kind]
    clients = [stage.client(kind, memory) for kind in PROGRAMS]
    seen = {row.client: row.seen for row in rounds.sign_in_all(clients)}
    assert seen == {each.name: ASKS_ONCE for each in clients}, stage.person.failures

    world = World(stage.stack, stage.person)
    struck = Disturbance("all at once", all_at_once, renews_token=True)
    seen = {row.client: row.seen for row in rounds.disturb(world, struck, clients)}
    assert seen == {each.name: GOES_ON for each in clients}

    grant_ended(world)
    assert trial.end_outcome(clients[0], clients[0].place.times_asked)[0] == ASKS_ONCE


def all_at_once(world: World) -> None:
    gateway_killed(world)
    secret_key_rotated(world)
    kms_key_moved(world)


@pytest.mark.parametrize("kind", [PythonSDK, LegacyPythonSDK], ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", [each.kind for each in SERVERS if each is not FastMCP])
def test_client_signs_in_at_each_server_and_asks_once_when_its_grant_ends(
    kind: type[Client], name: str, stage: Stage
) -> None:
    if name not in stage.servers:
        pytest.skip(f"{name} is left out")
    server = stage.servers[name]
    client = stage.client(kind, server)
    client.sign_in()
    assert client.place.times_asked == 1, stage.person.failures
    if isinstance(server, TypeScriptExample):
        assert "Ada" in client.call("greet", {"name": "Ada"})
        return
    assert trial.call_outcome(client)
    asked = client.place.times_asked
    grant_ended(World(stage.stack, stage.person))
    assert trial.end_outcome(client, asked)[0] == ASKS_ONCE
