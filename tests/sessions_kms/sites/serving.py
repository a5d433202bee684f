"""Real servers in a thread, on an ephemeral port of loopback: one WSGI, one ASGI."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal
from wsgiref.simple_server import WSGIRequestHandler, make_server

import uvicorn
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler

from tests.support.http_server import serve


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Log nothing."""

    def get_environ(self) -> dict[str, Any]:
        """Keep the bytes of cookies, as servers for production do.

        wsgiref strips all that Python takes for white space off every header.
        """
        cookies = self.headers.get_all("Cookie")
        return super().get_environ() | ({"HTTP_COOKIE": ",".join(cookies)} if cookies else {})

    def get_stderr(self) -> "_Nowhere":  # type: ignore[override]  # wsgiref writes text to it
        return _Nowhere()


class _Nowhere:
    def write(self, text: str) -> None:
        """Drop the traceback of a stream that broke."""

    def flush(self) -> None: ...


@contextmanager
def wsgi() -> Iterator[int]:
    """Serve the settings in force by wsgiref; give the port."""
    with serve(make_server("127.0.0.1", 0, WSGIHandler(), handler_class=_Quiet)) as server:
        yield server.server_port


@contextmanager
def asgi(http: Literal["httptools", "h11"] = "httptools") -> Iterator[int]:
    """Serve the settings in force by uvicorn; give the port."""
    config = uvicorn.Config(ASGIHandler(), lifespan="off", ws="none", log_config=None, http=http)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), name="uvicorn")
        thread.start()
        try:
            deadline = time.monotonic() + 10
            while not server.started:
                assert time.monotonic() < deadline, "uvicorn did not start"
                time.sleep(0.01)
            port: int = listener.getsockname()[1]
            yield port
        finally:
            server.should_exit = True
            thread.join()
