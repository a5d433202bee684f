"""An MCP server that lists tools over real HTTP, in versions and with faults as a test wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any

from tests.support.http_server import QuietHandler, serve

NEW, OLD = "2026-07-28", "2025-11-25"
SESSION = "session-1"


class ToolServer(ThreadingHTTPServer):
    """``pages`` are lists of tools. ``versions`` are those that it speaks.

    ``token`` is the only one that it accepts. It answers with events if ``has_events``, in streams
    that do not end if ``is_endless``. ``fault`` may return another response: status, headers, body.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.pages: list[list[Any]] = [[]]
        self.versions = {NEW, OLD}
        self.token: str | None = None
        self.has_events = False
        self.is_endless = False
        self.fault: Callable[[Any], tuple[int, dict[str, str], bytes] | None] = lambda _: None
        self.seen: list[tuple[str, dict[str, str], Any]] = []
        self.sessions: set[str] = set()
        self.is_closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def methods(self) -> list[str]:
        """Return what was called, and forget it."""
        found = [body["method"] if body else method for method, _, body in self.seen]
        self.seen.clear()
        return found


class Answering(QuietHandler):
    server: ToolServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.read_body())
        self.note(body)
        if (fault := self.server.fault(body)) is not None:
            self.send(*fault)
        elif self.server.token and self.headers["Authorization"] != f"Bearer {self.server.token}":
            self.send(401, {}, b"")
        elif "id" not in body:
            self.send(202, {}, b"")
        elif "_meta" in body["params"]:
            self.answer_new(body)
        else:
            self.answer_old(body)

    def do_DELETE(self) -> None:
        self.note(None)
        self.server.sessions.discard(self.headers.get("Mcp-Session-Id", ""))
        self.send(200, {}, b"")

    def note(self, body: Any) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.command, headers, body))

    def answer_new(self, body: Any) -> None:
        meta = body["params"]["_meta"]
        versions = {
            meta["io.modelcontextprotocol/protocolVersion"],
            self.headers["Mcp-Protocol-Version"],
        }
        is_right = self.headers["Mcp-Method"] == body["method"] == "tools/list"
        if NEW not in self.server.versions or versions != {NEW} or not is_right:
            self.send(400, {"Content-Type": "text/plain"}, b"Unsupported protocol version")
        else:
            self.send_page(body)

    def answer_old(self, body: Any) -> None:
        if OLD not in self.server.versions:
            error = {"code": -32022, "message": "Unsupported"}
            self.send_message({"jsonrpc": "2.0", "id": body["id"], "error": error})
        elif body["method"] == "initialize":
            self.server.sessions.add(SESSION)
            result = {"protocolVersion": body["params"]["protocolVersion"], "capabilities": {}}
            message = {"jsonrpc": "2.0", "id": body["id"], "result": result}
            self.send_message(message, {"Mcp-Session-Id": SESSION})
        elif self.headers["Mcp-Session-Id"] not in self.server.sessions:
            self.send(404, {}, b"")
        else:
            self.send_page(body)

    def send_page(self, body: Any) -> None:
        number = int(body["params"].get("cursor", 0))
        result: dict[str, Any] = {"tools": self.server.pages[number]}
        if number + 1 < len(self.server.pages):
            result["nextCursor"] = str(number + 1)
        self.send_message({"jsonrpc": "2.0", "id": body["id"], "result": result})

    def send_message(self, message: Any, headers: dict[str, str] | None = None) -> None:
        text = json.dumps(message).encode()
        if not self.server.has_events:
            self.send(200, {"Content-Type": "application/json", **(headers or {})}, text)
            return
        other = b'{"jsonrpc":"2.0","method":"notifications/message","params":{}}'
        events = b": hello\n\nid: 1\ndata:\n\ndata: " + other + b"\n\ndata: " + text + b"\n\n"
        self.send_response(200)
        for name, value in {"Content-Type": "text/event-stream", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(events), events))
        if self.server.is_endless:
            self.close_connection = True
            self.server.is_closing.wait(20)
        else:
            self.wfile.write(b"0\r\n\r\n")

    def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def tool_server() -> Iterator[ToolServer]:
    """Serve until the block ends."""
    with serve(ToolServer()) as server:
        try:
            yield server
        finally:
            server.is_closing.set()
