"""An ASGI application under the product's server, in a thread, on a clock that a test moves.

All time-outs of server and gateway are the event loop's, so whoever moves its clock moves them.
"""

import asyncio
import functools
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec

import uvicorn

from gateway_site.server import OPTIONS

P = ParamSpec("P")


class MovedLoop(asyncio.SelectorEventLoop):
    """A loop whose clock can be put forward."""

    moved = 0.0

    def time(self) -> float:
        return super().time() + self.moved


def on_moved_clock(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test on a loop whose clock `advance` moves."""

    @functools.wraps(test)
    def running(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=MovedLoop) as runner:
            runner.run(test(*args, **kwargs))

    return running


async def advance(seconds: float) -> None:
    """Put the running loop's clock forward, when all that can has waited; do what is due."""
    await turns()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, MovedLoop)
    loop.moved += seconds
    await turns()


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Application:
    """Answers at once, but for `/body`, which reads, and two that wait.

    `/held` waits to be released, `/watched` until the client goes.

    `/heavy` is 30 MB in one piece, `/large` 1 GB in many.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.reached: list[str] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.gone = threading.Event()  # a client that was waited for, or sent to
        self.release: asyncio.Event | None = None
        self.pieces = 0  # of a response

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        self.reached.append(path)
        self.headers = scope["headers"]
        body = b"response to " + path.encode()
        if path == "/body":
            body = await self._whole(receive)
        if path == "/watched":
            while (await receive())["type"] != "http.disconnect":
                pass
            self.gone.set()
        if path == "/heavy":
            body *= 2_000_000
        if path == "/held":
            self.release = asyncio.Event()
            await self.release.wait()
        length = 10**9 if path == "/large" else len(body)
        headers = [(b"content-length", str(length).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if path == "/large":
            await self._flood(receive, send)
        await send({"type": "http.response.body", "body": body})

    async def _whole(self, receive: Any) -> bytes:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone.set()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        return body

    async def _flood(self, receive: Any, send: Any) -> None:
        await receive()  # the request itself
        watching = asyncio.ensure_future(receive())
        while not watching.done():
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            self.pieces += 1
            await asyncio.sleep(0)
        self.gone.set()


class Served:
    """A running server. Sockets that it gives are closed with it."""

    def __init__(
        self, application: Application, loop: MovedLoop, port: int, server: uvicorn.Server
    ) -> None:
        self.application = application  # unless a test has brought another
        self.loop = loop
        self._server = server
        self.port = port
        self.sockets: list[socket.socket] = []

    def connect(self, sent: bytes = b"", *, source: str = "127.0.0.1") -> socket.socket:
        """Connect and send bytes as they are."""
        address = ("127.0.0.1", self.port)
        client = socket.create_connection(address, timeout=20, source_address=(source, 0))
        self.sockets.append(client)
        client.sendall(sent)
        return client

    def hang_up(self) -> None:
        while self.sockets:
            self.sockets.pop().close()

    def release(self) -> None:
        """Let the application respond to `/held`."""
        assert self.application.release is not None
        self.loop.call_soon_threadsafe(self.application.release.set)

    def stop(self) -> None:
        """Ask it to end; it does not wait for that."""
        self._server.should_exit = True

    def settle(self) -> None:
        """Wait until the server has read what was sent, and done what is due."""
        asyncio.run_coroutine_threadsafe(turns(), self.loop).result(20)

    def advance(self, seconds: float) -> None:
        """Put the clock forward, second by second as far as the server's sweeps can tell."""
        self.settle()
        for step in [1.0] * int(seconds) + [seconds % 1]:
            self.move(step)
            self.settle()

    def move(self, seconds: float) -> None:
        """Put the clock forward without waiting for what is due: the server may end by that."""
        self.loop.call_soon_threadsafe(self._move, seconds)

    def _move(self, seconds: float) -> None:
        self.loop.moved += seconds


@contextmanager
def serving(application: Any, **options: Any) -> Iterator[Served]:
    """Serve, with the product's options but for those given."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        application,
        log_config=None,
        **{**OPTIONS, "timeout_graceful_shutdown": 1, **options},
    )
    server = uvicorn.Server(config)
    loop = MovedLoop()
    thread = threading.Thread(target=_run, args=(server, loop, listener))
    thread.start()
    served = Served(application, loop, listener.getsockname()[1], server)
    try:
        yield served
    finally:
        served.hang_up()
        served.stop()
        thread.join()


def _run(server: uvicorn.Server, loop: MovedLoop, listener: socket.socket) -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(server.serve(sockets=[listener]))


def exchange(port: int, sent: bytes) -> bytes:
    """Send bytes to a port of this machine; return all that comes until it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(sent)
        return read_all(client)


def read_all(client: socket.socket) -> bytes:
    """Return all that comes until the server closes."""
    found = b""
    while piece := client.recv(65536):
        found += piece
    return found


def read_response(client: socket.socket) -> bytes:
    """Return one response of a connection that stays."""
    found = b""
    while b"\r\n\r\n" not in found:
        found += _more(client)
    head, _, body = found.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += _more(client)
    return head + b"\r\n\r\n" + body


def _more(client: socket.socket) -> bytes:
    piece = client.recv(65536)
    assert piece, "the server has closed"
    return piece


def read_to_end(client: socket.socket) -> bytes:
    """Return what came of a connection that the server has closed, or answered, by now."""
    assert not is_open(client)
    return read_all(client)


def is_open(client: socket.socket) -> bool:
    """Whether the server has neither answered nor closed."""
    client.setblocking(False)
    try:
        client.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False
    finally:
        client.settimeout(20)
    return False
