"""The three servers of docs/guides/identity-tokens.md, from the page's own code, as processes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import requests

from tests import ROOT
from tests.support.http_server import QuietHandler
from tests.support.processes import free_ports, running

GUIDE = ROOT / "docs/guides/identity-tokens.md"
NODE_MODULES = ROOT / "tests/interop/node/node_modules"
BLOCK = re.compile(r"```(?:python|js)\n(.*?)```", re.DOTALL)
GATEWAY = "https://gateway.example.com"
SECONDS = 30

# What each block of the page needs to become a program that listens on the port it is given.
FASTMCP = """
import sys
from fastmcp.server.dependencies import get_access_token

@server.tool
def whoami() -> str:
    return get_access_token().claims["sub"]

server.run("http", host="127.0.0.1", port=int(sys.argv[1]), stateless_http=True, json_response=True,
           show_banner=False)
"""
DJANGO = """
import sys
from wsgiref.simple_server import make_server

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import path

settings.configure(SECRET_KEY="x" * 50, ROOT_URLCONF="__main__", ALLOWED_HOSTS=["*"])
urlpatterns = [path("whoami", whoami)]
make_server("127.0.0.1", int(sys.argv[1]), get_wsgi_application()).serve_forever()
"""
EXPRESS = "\napp.listen(Number(process.argv[2]), '127.0.0.1');\n"


@dataclass(frozen=True)
class Server:
    """One of the servers; ``audience`` is the address that the gateway calls, as the page says."""

    name: str
    port: int
    command: tuple[str, ...]
    audience: str

    @property
    def is_mcp(self) -> bool:
        return self.name == "tools"

    def ask(self, token: str) -> str | None:
        """Show a token directly; return the `sub` that the server read, or None for a 401."""
        headers = {"Authorization": f"Bearer {token}"}
        return subject_of(self, request(self, self.audience, headers))


def request(
    server: Server, url: str, headers: dict[str, str], http: requests.Session | None = None
) -> requests.Response:
    """Call a server at a URL, its own or the gateway's."""
    http = http or requests.Session()
    if not server.is_mcp:
        return http.get(f"{url}/whoami", headers=headers, timeout=SECONDS)
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "whoami"}}
    accepted = {"Accept": "application/json, text/event-stream"}
    return http.post(url, json=call, headers=headers | accepted, timeout=SECONDS)


def subject_of(server: Server, response: requests.Response) -> str | None:
    if response.status_code == 401:
        return None
    assert response.status_code == 200, (server.name, response.status_code, response.text)
    found = response.json()
    subject: str = found["result"]["content"][0]["text"] if server.is_mcp else found["sub"]
    return subject


def write_servers(folder: Path, issuer: str, jwks: str) -> list[Server]:
    """Write the programs; they fetch keys from ``jwks``."""
    blocks = BLOCK.findall(GUIDE.read_text(encoding="utf-8"))
    ports = free_ports(3)
    fastmcp = Path(os.environ["FASTMCP"]).with_name("python")
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(NODE_MODULES)
    made = []
    for name, suffix, program, host, path, block, addition, port in (
        ("tools", "py", str(fastmcp), "tools", "/mcp", blocks[0], FASTMCP, ports[0]),
        ("django", "py", sys.executable, "orders", "", blocks[1], DJANGO, ports[1]),
        ("express", "mjs", "node", "orders", "", blocks[2], EXPRESS, ports[2]),
    ):
        audience = f"http://127.0.0.1:{port}{path}"
        text = block.replace(f"{GATEWAY}/.well-known/jwks.json", jwks).replace(GATEWAY, issuer)
        written = f"https://{host}.internal.example.com{path}"
        assert written in text
        file = folder / f"{name}_{port}.{suffix}"
        file.write_text(text.replace(written, audience) + addition, encoding="utf-8")
        made.append(Server(name, port, (program, str(file), str(port)), audience))
    return made


@contextmanager
def running_servers(servers: list[Server], folder: Path) -> Iterator[None]:
    """Run the servers, with empty caches."""
    with ExitStack() as all_of_them:
        for each in servers:
            log = folder / f"{each.name}.log"
            environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
            all_of_them.enter_context(running(each.command, environment, log, each.port))
        yield


class KeyRelay:
    """The address of the key set, behind which one of the gateway's processes answers."""

    def __init__(self) -> None:
        self.process = ""
        self.fetches = 0
        relay = self

        class Handler(QuietHandler):
            def do_GET(self) -> None:
                relay.fetches += 1
                found = requests.get(f"{relay.process}{self.path}", timeout=SECONDS)
                self.respond(found.status_code, found.content)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/.well-known/jwks.json"

    def __enter__(self) -> KeyRelay:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
