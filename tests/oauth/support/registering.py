"""An authorization server that registers clients, over real HTTP, with faults as a test wants."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from oauth.mcp.discovery import Discovered
from oauth.mcp.servers import McpServer
from oauth.network.vetted_addresses import PUBLIC
from oauth.provider.metadata import Metadata
from tests.support.http_server import QuietHandler, serve

CALLBACK = "https://gateway.example/accounts/connect/wiki/callback/"
RESOURCE = "https://wiki.example/mcp"
MANAGEMENT_TOKEN = "management-token-that-nobody-may-keep"

Json = dict[str, Any]


class RegistrationServer(ThreadingHTTPServer):
    """``clients`` are those that exist, with their secrets; ``registered`` the requests.

    ``on_registration`` is called before a client is made. ``change`` alters each response to a
    registration, ``status`` and ``body`` replace it. ``probes`` are the forms that the token
    endpoint got.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.clients: dict[str, str] = {}
        self.registered: list[Json] = []
        self.probes: list[dict[str, str]] = []
        self.on_registration: Callable[[], object] = lambda: None
        self.change: Callable[[Json], Json] = lambda response: response
        self.status = 201
        self.body: bytes | None = None
        self.unknown_client = (400, "invalid_client")
        self.dummy_code = (400, "invalid_grant")

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def found(self, **changes: Any) -> Discovered:
        """Return what discovery would find."""
        return discovered_at(self.issuer, **changes)

    def register(self, wanted: Json) -> tuple[int, bytes]:
        self.on_registration()
        with self.lock:
            self.registered.append(wanted)
            client_id = f"client-{len(self.registered)}"
            response = {**wanted, "client_id": client_id, "client_id_issued_at": 1}
            if wanted["token_endpoint_auth_method"] != "none":
                response |= {
                    "client_secret": f"secret of {client_id}",
                    "client_secret_expires_at": 0,
                }
            response = self.change(response)
            self.clients[str(response.get("client_id"))] = str(response.get("client_secret", ""))
        return self.status, json.dumps(response).encode() if self.body is None else self.body

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, bytes]:
        """Answer a code that nobody issued."""
        self.probes.append(form)
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
        if authorization:
            decoded = base64.b64decode(authorization.partition(" ")[2]).decode()
            client_id, secret = (unquote_plus(each) for each in decoded.split(":"))
        known = client_id in self.clients and self.clients[client_id] == secret
        status, error = self.dummy_code if known else self.unknown_client
        return status, json.dumps({"error": error}).encode()


class _Handler(QuietHandler):
    server: RegistrationServer

    def do_POST(self) -> None:
        body = self.read_body()
        if self.path == "/register":
            status, response = self.server.register(json.loads(body))
        else:
            form = dict(parse_qsl(body.decode()))
            status, response = self.server.token(form, self.headers.get("Authorization", ""))
        self.respond(status, response)


WIKI = McpServer(name="wiki", url=RESOURCE, label="Wiki")


def discovered_at(issuer: str, **changes: Any) -> Discovered:
    """Return what discovery would find at an issuer on this machine."""
    metadata: Json = {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/token",
        "registration_endpoint": f"{issuer}/register",
        "auth_methods": ("none", "client_secret_basic"),
        "scopes": changes.pop("listed", ()),
        "reach": PUBLIC.with_network_of("127.0.0.1"),
    }
    return Discovered(
        server=changes.pop("server", WIKI),
        scopes=changes.pop("scopes", ()),
        issuer=issuer,
        resource=RESOURCE,
        metadata=Metadata(**(metadata | changes)),
    )


@contextmanager
def serving() -> Iterator[RegistrationServer]:
    with serve(RegistrationServer()) as server:
        yield server


class Binding:
    def __init__(self, client_id: str, issuer: str, resource: str) -> None:
        self.client_id = client_id
        self.issuer = issuer
        self.resource = resource
