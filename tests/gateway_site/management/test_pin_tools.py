"""`pin_tools`: what it asks a server, what it shows and writes."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from gateway_site.management import tool_lists
from gateway_site.management.tool_difference import LINES_MAX, compare
from gateway_site.policy.pinned_tools import load_pins
from gateway_site.rules.upstream import read_upstreams
from tests.sessions_kms.support.commands import Run, run
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
        super().__init__(("127.0.0.1", 0), ToolHandler)
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


class ToolHandler(QuietHandler):
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
            self.respond_new(body)
        else:
            self.respond_old(body)

    def do_DELETE(self) -> None:
        self.note(None)
        self.server.sessions.discard(self.headers.get("Mcp-Session-Id", ""))
        self.send(200, {}, b"")

    def note(self, body: Any) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.command, headers, body))

    def respond_new(self, body: Any) -> None:
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

    def respond_old(self, body: Any) -> None:
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


TOKEN = "token-of-the-operator"


def tool(name: Any, description: str = "As pinned.", **more: Any) -> dict[str, Any]:
    return {"name": name, "description": description, "inputSchema": {"type": "object"}, **more}


@pytest.fixture
def server() -> Iterator[ToolServer]:
    with tool_server() as found:
        found.pages = [[tool("b"), tool("a")], [tool("c")]]
        yield found


@pytest.fixture
def pins(server: ToolServer, settings: Settings, tmp_path: Path) -> Path:
    """Declare the server as an upstream, and return its file, which is not there yet."""
    path = tmp_path / "pins.json"
    variables = {"URL": server.url, "PROVIDER": "corp", "TOOLS_PINNED": str(path)}
    declared = {f"UPSTREAM_NOTES_{name}": value for name, value in variables.items()}
    settings.UPSTREAMS = read_upstreams(declared)
    return path


def pin(*arguments: str) -> Run:
    return run("pin_tools", "notes", *arguments)


def run_pin_tools(*arguments: str) -> Run:
    return pin("--no-token", *arguments)


def names(path: Path) -> list[str]:
    return [each["name"] for each in json.loads(path.read_text())["tools"]]


@pytest.mark.parametrize("responses", ["JSON", "events", "endless events"])
@pytest.mark.parametrize("versions", [{NEW}, {OLD}, {NEW, OLD}])
def test_all_pages_are_asked_for_in_each_version(
    server: ToolServer, pins: Path, versions: set[str], responses: str
) -> None:
    server.versions = versions
    server.has_events, server.is_endless = responses != "JSON", responses == "endless events"
    done = run_pin_tools("--write", "--json")
    assert done.status == 0, done.err
    assert done.json["versions"] == sorted(versions, reverse=True)
    assert done.json["new"] == names(pins) == ["a", "b", "c"]
    assert not server.sessions
    requests = [(headers, body) for method, headers, body in server.seen if method == "POST"]
    assert all("authorization" not in headers for headers, _ in requests)
    listing = [each for each in requests if each[1]["method"] == "tools/list" and OLD in str(each)]
    if OLD in versions:
        assert [each[1]["params"] for each in listing] == [{}, {"cursor": "1"}]
        assert {each[0]["mcp-session-id"] for each in listing} == {SESSION}
        expected = ["initialize", "notifications/initialized", "tools/list", "tools/list", "DELETE"]
        assert server.methods()[-5:] == expected


def test_status_tells_whether_something_differs(server: ToolServer, pins: Path) -> None:
    first = run_pin_tools()
    assert (first.status, "3 new, 0 gone, 0 changed, 0 as pinned." in first.out) == (1, True)
    assert not pins.exists()
    assert run_pin_tools("--write").status == 0
    pins.write_text(json.dumps(json.loads(pins.read_text())))
    written = pins.read_bytes()
    assert run_pin_tools("--write").status == run_pin_tools().status == 0
    assert pins.read_bytes() == written
    server.pages = [[tool("a", "Another."), tool("d"), tool("b")]]
    changed = run_pin_tools("--json")
    assert changed.status == 1
    found = {each: changed.json[each] for each in ("new", "gone", "changed", "same", "written")}
    assert found == {
        "new": ["d"], "gone": ["c"], "changed": ["a"], "same": ["b"], "written": False,
    }  # fmt: skip
    shown = run_pin_tools().out.splitlines()
    assert '-  "description": "As pinned.",' in shown
    assert '+  "description": "Another.",' in shown
    assert {"--- pinned a", "+++ listed a", "--- pinned c", "+++ listed d"} <= set(shown)
    assert not any('"b"' in line for line in shown)
    assert pins.read_bytes() == written
    assert run_pin_tools("--write").status == run_pin_tools().status == 0
    assert names(pins) == ["a", "b", "d"]


def test_definitions_that_differ_by_version_are_all_pinned(server: ToolServer, pins: Path) -> None:
    def list_otherwise(body: Any) -> tuple[int, dict[str, str], bytes] | None:
        if body["method"] != "tools/list" or "_meta" in body["params"]:
            return None
        result = {"tools": [tool("a", execution={})]}
        message = {"jsonrpc": "2.0", "id": body["id"], "result": result}
        return 200, JSON, json.dumps(message).encode()

    server.fault = list_otherwise
    server.versions = {NEW}
    assert run_pin_tools("--write").status == 0
    server.versions = {NEW, OLD}
    more = run_pin_tools("--json")
    assert (more.status, more.json["changed"]) == (1, ["a"])
    assert run_pin_tools("--write").status == 0
    assert names(pins) == ["a", "a", "b", "c"]
    assert len(load_pins(pins).digests["a"]) == 2
    assert run_pin_tools().status == 0


def test_text_of_the_server_cannot_deceive_the_terminal(server: ToolServer, pins: Path) -> None:
    odd = "\x1b[2J\r\u202e\u200b\ufe0f\x7f\n-  nothing"
    server.pages = [[tool("a", odd, **{"\x1b\u202e": odd}), tool("\x1b]0;x\x07"), tool("a b")]]
    done = run_pin_tools("--write")
    assert done.status == 0
    assert all(" " <= each <= "~" or each == "\n" for each in done.out)
    assert all(" " <= each <= "~" or each == "\n" for each in pins.read_text())
    assert "\n        -  nothing" not in done.out
    assert '\n+        -  nothing",\n' in done.out
    assert r"\u001b[2J\r\u202e\u200b\ufe0f\u007f\n" in done.out
    assert "Left out, since it has an odd name, or is there twice: 'a b'" in done.out
    assert names(pins) == ["a"]


def test_name_that_occurs_twice_is_left_out(server: ToolServer, pins: Path) -> None:
    server.pages = [[tool("a"), tool("b")], [tool("a", "Another.")], [{"Name": "x", "name": "c"}]]
    done = run_pin_tools("--write", "--json")
    assert (done.json["left_out"], names(pins)) == (["a", "c"], ["b"])


@pytest.mark.parametrize("has_token", [True, False])
def test_token_comes_from_the_environment(
    server: ToolServer, pins: Path, monkeypatch: pytest.MonkeyPatch, has_token: bool
) -> None:
    server.token = TOKEN
    monkeypatch.setenv("NOTES_TOKEN", TOKEN if has_token else "other")
    done = pin("--token-env", "NOTES_TOKEN", "--write")
    assert (done.status, pins.exists()) == ((0, True) if has_token else (2, False))
    assert TOKEN not in done.out + done.err
    if not has_token:
        assert "401: the token is missing, or not accepted." in done.err


def test_token_is_asked_for_at_a_terminal_only(
    server: ToolServer, pins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token = TOKEN
    without = pin()
    assert (without.status, "No terminal to ask for a token" in without.err) == (2, True)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: TOKEN + "\n")
    assert pin().status == 1
    monkeypatch.setattr("getpass.getpass", lambda prompt: "a\r\nX: y")
    assert "characters that no token has" in pin().err
    monkeypatch.delenv("NOTES_TOKEN", raising=False)
    assert "token is missing" in pin("--token-env", "NOTES_TOKEN").err


JSON = {"Content-Type": "application/json"}
FAULTS = {
    "answered 302, a redirect": (302, {"Location": "https://other.example/"}, b""),
    "answered 500": (500, {}, b""),
    "no readable message": (200, JSON, b"{"),
    "no list of tools": (200, JSON, b'{"jsonrpc":"2.0","id":1,"result":{"tools":{}}}'),
    "ended without a response": (200, {"Content-Type": "text/event-stream"}, b"data: {}\n"),
    "a content coding": (200, JSON | {"Content-Encoding": "gzip"}, b""),
    "an error of JSON-RPC": (
        200,
        JSON,
        b'{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"secret"}}',
    ),
    "of another request": (200, JSON, b'{"jsonrpc":"2.0","id":"1","result":{"tools":[]}}'),
}


@pytest.mark.parametrize("words", FAULTS)
def test_server_that_cannot_be_read_changes_nothing(
    server: ToolServer, pins: Path, words: str
) -> None:
    server.fault = lambda body: FAULTS[words]
    done = run_pin_tools("--write")
    assert (done.status, words in done.err) == (2, True), done.err
    assert "secret" not in done.err
    assert not pins.exists()


@pytest.mark.slow
def test_list_without_end_is_not_read_to_its_end(
    server: ToolServer, pins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pages = [[tool("a")]] * 200
    assert "more than 100 pages" in run_pin_tools().err
    assert len(server.seen) == 100
    server.pages = [[tool(str(number)) for number in range(2001)]]
    assert "more than 2000 tools" in run_pin_tools().err
    monkeypatch.setattr(tool_lists, "SIZE_MAX", 3000)
    server.pages = [[tool("a", "x" * 1000)], [tool("b", "x" * 1000)], [tool("c", "x" * 1000)]]
    assert "more than 3000 bytes" in run_pin_tools().err


def test_silent_server_is_waited_for_so_long_only(
    server: ToolServer, pins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool_lists, "TOTAL_TIMEOUT", 0.2)

    def wait(body: Any) -> None:
        server.is_closing.wait(20)

    server.fault = wait
    done = run_pin_tools()
    assert (done.status, "did not answer in time" in done.err) == (2, True)


def test_server_that_is_gone_is_an_error(server: ToolServer, pins: Path) -> None:
    server.server_close()
    done = run_pin_tools()
    assert (done.status, "cannot be reached" in done.err) == (2, True)


def test_saved_list_is_compared_without_the_server(
    server: ToolServer, pins: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "saved.json"
    saved.write_text(json.dumps({"tools": [tool("z"), tool("z", "Another.")]}))
    assert pin("--from", str(saved)).status == 1
    assert pin("--from", str(saved), "--write").status == 0
    assert names(pins) == ["z", "z"]
    assert pin("--from", str(pins)).status == 0
    saved.write_text("[]")
    assert (pin("--from", str(saved)).status, server.seen) == (2, [])


def test_file_is_replaced_as_a_whole_with_its_permissions(
    server: ToolServer, pins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_pin_tools("--write").status == 0
    assert pins.stat().st_mode & 0o777 == 0o666 & ~_umask()
    pins.chmod(0o640)
    link = tmp_path / "link.json"
    link.symlink_to(pins)
    server.pages = [[tool("d")]]
    assert run_pin_tools("--write", "--file", str(link)).status == 0
    assert (link.is_symlink(), names(pins), pins.stat().st_mode & 0o777) == (True, ["d"], 0o640)
    server.pages = [[tool("e")]]

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    done = run_pin_tools("--write")
    assert (done.status, "No space left on device" in done.err) == (2, True)
    assert (names(pins), {each.name for each in tmp_path.iterdir()}) == (
        ["d"],
        {"pins.json", "link.json"},
    )


def test_wrong_options_and_files_are_errors(server: ToolServer, pins: Path) -> None:
    unknown = run("pin_tools", "note", "--no-token")
    assert (unknown.status, "Did you mean notes?" in unknown.err) == (2, True)
    assert run_pin_tools("--path", "mcp").status == run_pin_tools("--path", "/../mcp").status == 2
    assert not server.seen
    run_pin_tools("--path", "/mcp")
    assert server.seen
    pins.write_text("{}")
    done = run_pin_tools("--write")
    assert (done.status, pins.read_text()) == (2, "{}")


def test_file_must_be_named(server: ToolServer, pins: Path, settings: Settings) -> None:
    settings.UPSTREAMS = read_upstreams(
        {"UPSTREAM_NOTES_URL": server.url, "UPSTREAM_NOTES_PROVIDER": "corp"}
    )
    done = run_pin_tools()
    assert (done.status, "UPSTREAM_NOTES_TOOLS_PINNED is not set" in done.err) == (2, True)
    assert run_pin_tools("--file", str(pins), "--write").status == 0
    assert names(pins) == ["a", "b", "c"]


def test_long_definition_is_shown_without_being_compared_line_by_line() -> None:
    text = "\n".join(str(number % 7) for number in range(2 * LINES_MAX))
    found = compare([tool("a", text)], [tool("a", text + "!")])
    assert len([line for line in found.lines if line.startswith("-")]) > 2 * LINES_MAX
    assert found.changed == ["a"]


def _umask() -> int:
    found = os.umask(0o022)
    os.umask(found)
    return found
