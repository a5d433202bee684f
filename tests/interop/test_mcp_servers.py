"""The gateway as a client of MCP servers of other projects, which it does not know beforehand."""

from collections.abc import Iterator
from html import unescape
from typing import TypeVar

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.signing_in import arrive
from tests.e2e.stack import LocalStack
from tests.interop.conftest import skip_if_left_out
from tests.interop.mcp_servers.consenting import allow_at_server
from tests.interop.mcp_servers.earlier import register_a_day_ago
from tests.interop.mcp_servers.servers import (
    SERVERS,
    Beside,
    McpServer,
    TypeScriptExample,
    Worker,
    running_servers,
)
from tests.interop.mcp_servers.visitor import ONWARD, Visitor
from tests.mcp_clients.disturbances import World, kms_key_moved, secret_key_rotated
from tests.support.waiting import wait_until

KINDS = [each.kind for each in SERVERS]
Servers = dict[str, McpServer]
S = TypeVar("S", bound=McpServer)


@pytest.fixture(scope="module")
def servers(pytestconfig: pytest.Config) -> Servers:
    """Give the servers that are not left out, by name; they run while the gateway does."""
    without = pytestconfig.getoption("--without")
    return {each.kind: each() for each in SERVERS if each.program not in without}


@pytest.fixture(scope="module")
def stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A gateway that has one line for each server."""
    folder = tmp_path_factory.mktemp("mcp_servers")
    stack = LocalStack(folder / "state", LOG_LEVEL="DEBUG")
    for each in servers.values():
        stack.variables |= each.variables | each.named(f"{each.name}_before").variables
    with running_servers(list(servers.values()), folder), stack.running():
        yield stack


@pytest.fixture
def server(request: pytest.FixtureRequest, servers: Servers) -> McpServer:
    if request.param not in servers:
        pytest.skip(f"{request.param} is left out")
    return servers[request.param]


def find_server(kind: type[S], servers: Servers, pytestconfig: pytest.Config) -> S:
    skip_if_left_out(pytestconfig, kind.program)
    found = servers[kind.kind]
    assert isinstance(found, kind)
    return found


@pytest.fixture
def beside(servers: Servers, pytestconfig: pytest.Config) -> Beside:
    return find_server(Beside, servers, pytestconfig)


@pytest.fixture
def worker(servers: Servers, pytestconfig: pytest.Config) -> Worker:
    return find_server(Worker, servers, pytestconfig)


def is_unchangeable(server: McpServer) -> bool:
    """Return True for the server that does not tell its tokens."""
    return isinstance(server, TypeScriptExample)


def connect_servers(stack: LocalStack, servers: Servers) -> Visitor:
    """Connect all of them in one session."""
    ada = Visitor(stack)
    for each in servers.values():
        ada.connect(each)
        assert works(ada, each)
    return ada


def works(person: Visitor, server: McpServer) -> bool:
    if is_unchangeable(server):
        return "Ada" in person.call(server, "greet", {"name": "Ada"})
    return "Ada Lovelace" in person.call(server, "whoami")


@pytest.mark.parametrize("server", KINDS, indirect=True)
def test_server_is_connected_called_and_disconnected_in_a_browser(
    server: McpServer, stack: LocalStack, page: Page
) -> None:
    arrive(page, stack)
    page.goto(f"{stack.url}/gateway/{server.name}")  # as a page: it leads to the connect page
    page.get_by_role("button", name="Connect").click()
    wanted = f"{stack.url}/continue/?to=%2Fgateway%2F{server.name}"  # it asks before it calls
    allow_at_server(page, stack.url, lambda: page.url == wanted)

    ada = Visitor(stack)
    ada.client.cookies.clear()
    for cookie in page.context.cookies(stack.url):
        ada.client.cookies.set(cookie["name"], cookie["value"])
    assert works(ada, server)
    token = None if is_unchangeable(server) else ada.token(server)

    page.goto(stack.url)
    page.get_by_role("link", name=f"Disconnect {server.name.title()}").click()
    page.get_by_role("button", name="Disconnect").click()
    expect(page.locator(".messages")).to_contain_text("disconnected")
    assert_not_connected(ada, server)
    if token and server.revokes:
        assert not server.accepts(token)


def assert_not_connected(person: Visitor, server: McpServer) -> None:
    response = person.initialize(server)
    assert (response.status_code, response.json()["code"]) == (401, "not_connected"), response.text
    assert f"/accounts/connect/{server.name}/" in response.json()["connect_url"]


def test_tokens_are_refreshed_and_their_successors_too(stack: LocalStack, servers: Servers) -> None:
    refreshed = {
        name: each for name, each in servers.items() if each.refreshes and not is_unchangeable(each)
    }
    ada = connect_servers(stack, refreshed)
    seen: dict[str, list[str]] = {name: [] for name in refreshed}

    def all_refreshed_twice() -> bool:
        for name, each in refreshed.items():
            if (token := ada.token(each)) not in seen[name]:
                seen[name].append(token)
        return all(len(tokens) >= 3 for tokens in seen.values())

    wait_until(all_refreshed_twice, "each refreshed twice", 60)


def test_resource_is_sent_as_it_was_received_at_the_refresh_too(
    stack: LocalStack, beside: Beside
) -> None:
    grants = ("authorization_code", "refresh_token")
    earlier = {grant: len(beside.authorization.seen("/token", grant)) for grant in grants}
    ada = connect_servers(stack, {beside.name: beside})
    first = ada.token(beside)
    wait_until(lambda: ada.token(beside) != first, "refreshed", 30)
    for grant in grants:
        requests = beside.authorization.seen("/token", grant)[earlier[grant] :]
        assert {each["resource"] for each in requests} == {beside.url}
        assert {each["status"] for each in requests} == {200}


def test_sign_out_revokes_what_each_server_lets_it_revoke(
    stack: LocalStack, servers: Servers
) -> None:
    ada = connect_servers(stack, servers)
    tokens = {name: ada.token(each) for name, each in servers.items() if not is_unchangeable(each)}
    page = ada.sign_out()
    assert page.status_code == 200
    still = {name for name, token in tokens.items() if servers[name].accepts(token)}
    assert still == {name for name in tokens if not servers[name].revokes}
    assert ada.get("/gateway/").status_code == 401
    log = (stack.state / "log/gateway.log").read_text()
    assert not [token for token in tokens.values() if token in log]


def test_connections_outlive_a_kill_and_new_keys_on_both_sides(
    stack: LocalStack, servers: Servers
) -> None:
    ada = connect_servers(stack, servers)
    stack.kill_everything()
    world = World(stack, None)  # type: ignore[arg-type]  # nobody is asked
    stack.start()
    assert all(works(ada, each) for each in servers.values())
    secret_key_rotated(world)
    assert all(works(ada, each) for each in servers.values())
    kms_key_moved(world)
    beside = servers.get(Beside.kind)
    if isinstance(beside, Beside):
        beside.authorization.rotate_keys()
    assert all(works(ada, each) for each in servers.values())
    connect_servers(stack, servers)  # with the registrations from before


def test_one_registration_serves_everybody(stack: LocalStack, beside: Beside) -> None:
    before = len(beside.authorization.seen("/reg"))
    for person in ("ada", "grace"):
        visitor = Visitor(stack, person)
        visitor.connect(beside)
        assert works(visitor, beside)
    assert len(beside.authorization.seen("/reg")) - before in {0, 1}  # 1 if it comes first


@pytest.mark.parametrize("server", [Beside.kind, Worker.kind], indirect=True)
def test_registration_that_a_server_deleted_is_made_anew_before_anybody_is_sent_there(
    server: Beside | Worker, stack: LocalStack
) -> None:
    before = server.named(f"{server.name}_before")
    made = register_a_day_ago(stack, before)
    server.forget_client(made)  # before the gateway asks: it takes a response as true for a minute
    assert made not in address_to_authorize(stack, before)
    ada = Visitor(stack)
    ada.connect(before)
    assert works(ada, before)


def address_to_authorize(stack: LocalStack, server: McpServer) -> str:
    """Return where the gateway sends somebody who connects a server."""
    found = ONWARD.search(Visitor(stack).start(server).text)
    assert found
    return unescape(found[1])


def test_scope_that_a_tool_needs_is_asked_for_on_a_page_that_names_it(
    stack: LocalStack, beside: Beside
) -> None:
    ada = connect_servers(stack, {beside.name: beside})
    refused = ada.initialize(beside)
    assert refused.status_code == 200
    response = ada.post_tool(beside, "write")
    assert (response.status_code, response.json()["code"]) == (403, "more_scope"), response.text
    page = ada.get(f"/accounts/connect/{beside.name}/")
    assert "notes:write" in page.text
    ada.connect(beside)
    assert ada.call(beside, "write") == "written"


def test_server_that_keeps_one_grant_a_person_asks_the_other_browser_to_connect_again(
    stack: LocalStack, worker: Worker
) -> None:
    """Cloudflare's library ends a person's grant when the same client gets another one."""
    first = connect_servers(stack, {worker.name: worker})
    second = connect_servers(stack, {worker.name: worker})
    # Its token is refused at once, and replaced when it is a few seconds old.
    wait_until(lambda: "connect_url" in first.initialize(worker).json(), "asked to connect", 30)
    response = first.initialize(worker)
    assert (response.status_code, response.json()["code"]) == (401, "reauthentication_required")
    assert f"/accounts/connect/{worker.name}/" in response.json()["connect_url"]
    first.connect(worker)
    assert works(first, worker)
    assert second.initialize(worker).status_code == 401


@pytest.mark.parametrize("server", KINDS, indirect=True)
def test_commands_say_what_they_found(server: McpServer, stack: LocalStack) -> None:
    done = stack.manage("discover_upstream", server.name)
    assert done.returncode == 0, done.stdout + done.stderr
    line = f"UPSTREAM_{server.name.upper()}_ISSUER={server.issuer}"
    assert (server.issuer if server.is_issuer_elsewhere else line) in done.stdout
    checked = stack.manage("check_providers", server.name, "--url", stack.url)
    assert "FAIL" not in checked.stdout, checked.stdout
