"""An upstream API on this machine, which records the requests that it receives."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass(frozen=True)
class ReceivedRequest:
    """A request as it arrived. ``path`` has the query; names of ``headers`` are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class RecordingUpstream:
    """Answers every request alike. ``url`` has no slash at its end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[ReceivedRequest] = []
        self.respond()

    def respond(
        self, body: bytes = b"{}", *, status: int = 200, content_type: str = "application/json"
    ) -> None:
        """Answer like this from now on."""
        self.response = status, content_type, body


@contextmanager
def recording_upstream() -> Iterator[RecordingUpstream]:
    """Serve an upstream on a free port of 127.0.0.1 until the block ends."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.upstream = RecordingUpstream(f"http://127.0.0.1:{server.server_address[1]}")
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server.upstream
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    upstream: RecordingUpstream


class _Handler(BaseHTTPRequestHandler):
    """Records a request of any method, and answers it."""

    server: _Server

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _serve(self) -> None:
        upstream = self.server.upstream
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        upstream.requests.append(ReceivedRequest(self.command, self.path, headers, body))
        status, content_type, content = upstream.response
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Keep the output of tests clean."""
