"""The MCP servers that the gateway connects: started, and called without the gateway.

Nobody registered the gateway with any of them. They are at `localhost`, another site than
127.0.0.1, where the gateway is.
"""

import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import requests

from tests.oauth.support.accepting import INITIALIZE
from tests.support.processes import free_ports, running

NODE_FOLDER = Path(__file__).parents[1] / "node"
MODULES = NODE_FOLDER / "node_modules"
TOLD_LIFE = 8  # seconds that access tokens are said to live; worker.capnp has it as well


class McpServer(ABC):
    """One MCP server. It has the tool `whoami`, unless it is one that cannot be changed."""

    kind: ClassVar[str]
    program: ClassVar[str]  # as `--without` names it
    refreshes: ClassVar[bool] = True
    revokes: ClassVar[bool] = True  # for such a client as the gateway is there

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self.name = self.kind  # of the upstream

    def named(self, name: str) -> Self:
        """Return the same server as another upstream, with a registration of its own."""
        other = copy(self)
        other.name = name
        return other

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/mcp"

    @property
    def addresses(self) -> list[str]:
        """The beginnings of all addresses that a browser is led to."""
        return [f"http://localhost:{self.port}", self.issuer]

    @property
    def issuer(self) -> str:
        """The issuer, as the server writes it."""
        return f"http://localhost:{self.port}/"

    @property
    def variables(self) -> dict[str, str]:
        """The gateway's variables for it: its address, its issuer if that is elsewhere, that OAuth
        clients may call it, and that each end revokes, since tests share one user.
        """
        named = f"UPSTREAM_{self.name.upper()}"
        declared = {
            f"{named}_MCP": self.url,
            f"{named}_CLIENTS": "1",
            f"{named}_REVOCATION": "always",
        }
        return declared | ({f"{named}_ISSUER": self.issuer} if self.is_issuer_elsewhere else {})

    @property
    def is_issuer_elsewhere(self) -> bool:
        return not f"{self.issuer}/".startswith(f"http://localhost:{self.port}/")

    @abstractmethod
    @contextmanager
    def running(self, folder: Path) -> Iterator[None]:
        """Run it; what it prints is in a file of the folder. Fails if it is not installed."""

    def accepts(self, token: str) -> bool:
        """Return True if the server itself accepts an access token."""
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json, text/event-stream",
        }
        response = requests.post(self.url, json=INITIALIZE, headers=headers, timeout=10)
        assert response.status_code in {200, 401}, response.text
        return response.status_code == 200


class FastMCP(McpServer):
    """FastMCP, which keeps its clients and tokens in memory, and asks nobody."""

    kind = "memory"
    program = "fastmcp"

    @property
    def options(self) -> dict[str, Any]:
        return {"kind": "memory", "port": self.port, "toldLife": TOLD_LIFE}

    @contextmanager
    def running(self, folder: Path) -> Iterator[None]:
        python = Path(os.environ.get("FASTMCP", "none")).with_name("python")
        assert python.is_file(), "FastMCP is not installed: run `make interop`."
        command = [str(python), "tests/interop/mcp_servers/fastmcp_site.py"]
        home = {"FASTMCP_HOME": str(folder / f"{self.name}-home"), "PATH": os.environ["PATH"]}
        log = folder / f"{self.name}.log"
        with running([*command, json.dumps(self.options)], home, log, self.port):
            yield


class FastMCPAssertions(FastMCP):
    """FastMCP, which accepts assertions of a provider. It signs nobody in there."""

    kind = "assertions"
    client_id, client_secret = "gateway", "secret-of-the-gateway"

    def __init__(self, trusted: str) -> None:
        super().__init__()
        self.trusted = trusted

    @property
    def options(self) -> dict[str, Any]:
        upstream = {"issuer": self.trusted, "clientId": "none", "clientSecret": "none"}
        client = {"id": self.client_id, "secret": self.client_secret}
        return super().options | {"kind": self.kind, "upstream": upstream, "client": client}


class FastMCPProxy(FastMCP):
    """FastMCP before a provider that knows it: each of its clients is one of the same there.

    Its clients have no secret, but only those with a secret may revoke (seen in 4.2.3).
    """

    kind = "proxy"
    revokes = False

    def __init__(self) -> None:
        super().__init__()
        self.provider = AuthorizationServer(
            client_id="fastmcp",
            redirect_uris=[f"http://localhost:{self.port}/auth/callback"],
            grant_types=["authorization_code", "refresh_token"],
        )

    @property
    def addresses(self) -> list[str]:
        return [*super().addresses, self.provider.issuer]

    @property
    def options(self) -> dict[str, Any]:
        return super().options | {"kind": "proxy", "upstream": self.provider.as_seen_by_client}

    @contextmanager
    def running(self, folder: Path) -> Iterator[None]:
        with self.provider.running(folder / "proxy-provider.log"), super().running(folder):
            yield


class TypeScriptExample(McpServer):
    """The example of the first TypeScript SDK, unchanged, with its authorization server.

    Tokens live for an hour, and there is neither a refresh token nor a revocation.
    """

    kind = "example"
    program = "typescript-sdk"
    refreshes = False
    revokes = False

    def __init__(self) -> None:
        super().__init__()
        (self.authorization_port,) = free_ports(1)

    @property
    def issuer(self) -> str:
        return f"http://localhost:{self.authorization_port}/"

    @contextmanager
    def running(self, folder: Path) -> Iterator[None]:
        sdk = MODULES / "@modelcontextprotocol/sdk/dist/esm/examples/server"
        command = node(sdk / "simpleStreamableHttp.js", "--oauth", "--oauth-strict")
        ports = {"MCP_PORT": str(self.port), "MCP_AUTH_PORT": str(self.authorization_port)}
        log = folder / "example.log"
        with running(command, {"PATH": os.environ["PATH"]} | ports, log, self.port):
            yield


class Beside(McpServer):
    """An MCP server of 2026-07-28 (the second TypeScript SDK) beside `oidc-provider`."""

    kind = "beside"
    program = "oidc-provider"

    def __init__(self) -> None:
        super().__init__()
        self.authorization = AuthorizationServer(
            client_id="resource",
            resource=self.url,
            redirect_uris=[],
            response_types=[],
            grant_types=[],
        )

    @property
    def issuer(self) -> str:
        return self.authorization.issuer

    @contextmanager
    def running(self, folder: Path) -> Iterator[None]:
        known = self.authorization.as_seen_by_client | {"port": self.port}
        command = node(NODE_FOLDER / "mcp_server.js", json.dumps(known))
        environment = {"PATH": os.environ["PATH"]}
        with (
            self.authorization.running(folder / "beside-authorization.log"),
            running(command, environment, folder / "beside.log", self.port),
        ):
            yield

    def forget_client(self, client_id: str) -> None:
        self.authorization.forget_client(client_id)


class Worker(McpServer):
    """Cloudflare's library for OAuth in `workerd`, Cloudflare's runtime."""

    kind = "worker"
    program = "workerd"

    @property
    def issuer(self) -> str:
        return f"http://localhost:{self.port}"

    @contextmanager
    def running(self, folder: Path) -> Iterator[None]:
        address = f"--socket-addr=http=127.0.0.1:{self.port}"
        programs = list(MODULES.glob("@cloudflare/workerd-*/bin/workerd"))  # this machine's alone
        assert programs, "workerd is not installed: run `make interop`."
        command: list[str | Path] = [programs[0], "serve", NODE_FOLDER / "worker.capnp", address]
        environment = {"PATH": os.environ["PATH"]}
        with running(command, environment, folder / "worker.log", self.port):
            yield

    def forget_client(self, client_id: str) -> None:
        url = f"{self.issuer}/_control/forget"
        assert requests.get(url, {"client": client_id}, timeout=10).json() is True


class AuthorizationServer:
    """`oidc-provider` with registration, and one client that is registered by hand."""

    def __init__(self, resource: str | None = None, **client: Any) -> None:
        (self.port,) = free_ports(1)
        self.issuer = f"http://localhost:{self.port}"
        self.client = {"client_secret": "secret-of-a-client-by-hand-in-tests", **client}
        self.resource = resource

    @property
    def as_seen_by_client(self) -> dict[str, str]:
        """Issuer, id and secret, in the words of the client's options."""
        return {
            "issuer": self.issuer,
            "clientId": self.client["client_id"],
            "clientSecret": self.client["client_secret"],
        }

    @contextmanager
    def running(self, log: Path) -> Iterator[None]:
        options = {"port": self.port, "clients": [self.client]}
        if self.resource:
            options |= {"resource": self.resource, "toldLife": TOLD_LIFE}
        command = node(NODE_FOLDER / "authorization_server.js", json.dumps(options))
        with running(command, {"PATH": os.environ["PATH"]}, log, self.port):
            yield

    def rotate_keys(self) -> None:
        self._control("rotate")

    def forget_client(self, client_id: str) -> None:
        self._control("forget", client=client_id)

    def seen(self, path: str, grant: str | None = None) -> list[dict[str, Any]]:
        """Return the requests at a path, with their `resource` and the response's `status`."""
        return [
            each
            for each in self._control("seen")
            if each["path"] == path and (grant is None or each.get("grant") == grant)
        ]

    def _control(self, what: str, **parameters: str) -> Any:
        return requests.get(f"{self.issuer}/_control/{what}", parameters, timeout=10).json()


def node(program: Path, *arguments: str | Path) -> list[str | Path]:
    """Return the command for a program in JavaScript. Fails if Node or the packages are missing."""
    found = shutil.which("node")
    assert found, "Node 20 or newer is needed."
    assert program.is_file(), f"{program.name} is not installed: run `make interop`."
    return [found, program, *arguments]


SERVERS: tuple[type[McpServer], ...] = (
    FastMCP,
    FastMCPProxy,
    TypeScriptExample,
    Beside,
    Worker,
)


class Runs(Protocol):
    """What can be run; what it prints is in a file of the folder."""

    def running(self, folder: Path) -> AbstractContextManager[None]: ...


@contextmanager
def running_servers(servers: Sequence[Runs], folder: Path) -> Iterator[None]:
    """Run several of them, started at once."""
    with ExitStack() as all_of_it:
        with ThreadPoolExecutor() as starting:
            for each in starting.map(lambda one: _start(one, folder), servers):
                all_of_it.push(each)
        yield


def _start(server: Runs, folder: Path) -> ExitStack:
    with ExitStack() as started:
        started.enter_context(server.running(folder))
        return started.pop_all()
