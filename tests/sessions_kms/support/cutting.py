"""A TCP proxy that cuts one exchange after some bytes, or delays exchanges.

It does not depend on HTTP.
"""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

CHUNK = 65536
TICK = 0.02  # seconds between checks of a connection whether the proxy has ended


@dataclass
class CuttingProxy:
    """``passed`` counts the bytes of the watched exchange in both directions.

    ``answered`` counts the watched exchanges with a response, at least in part.
    """

    upstream: tuple[str, int]
    watched: bytes = b"TransactWriteItems"
    cut_after: int | None = None
    down_then: bool = False
    down: bool = False
    holding: bool = False
    held: list[bytearray] = field(default_factory=list)
    passed: int = 0
    answered: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def cut(self, after: int, *, down_then: bool = False) -> None:
        """Cut the next watched exchange; with ``down_then``, refuse connections afterwards."""
        self.cut_after, self.down_then, self.passed = after, down_then, 0

    def hold(self) -> None:
        """Delay the watched exchanges until `let_go`."""
        self.holding = True

    def let_go(self) -> int:
        """Deliver the delayed requests, even if their clients are gone; return their number."""
        held, self.held, self.holding = self.held, [], False
        for request in held:
            with socket.create_connection(self.upstream) as server:
                server.sendall(request)
                server.recv(CHUNK)
        return len(held)

    def heal(self) -> None:
        self.down, self.cut_after, self.passed = False, None, 0

    def serve(self, listener: socket.socket) -> None:
        while not self.ended.is_set():
            with suppress(TimeoutError):
                client, _ = listener.accept()
                threading.Thread(target=self.connect, args=(client,), daemon=True).start()

    def connect(self, client: socket.socket) -> None:
        server = socket.create_connection(self.upstream)
        with closing(client), closing(server), suppress(OSError):
            self.relay(client, server)

    def relay(self, client: socket.socket, server: socket.socket) -> None:
        is_watched, kept = False, None
        while not (self.ended.is_set() or self.down):
            for source in select.select([client, server], [], [], TICK)[0]:
                data = source.recv(CHUNK)
                if not data:
                    return
                if source is client and b"X-Amz-Target" in data:
                    is_watched, kept = self.watched in data, None
                    if is_watched and self.holding:
                        self.held.append(kept := bytearray())
                if kept is not None and source is client:
                    kept += data
                    continue
                target = server if source is client else client
                if is_watched and self.cut_after is not None:
                    left = self.cut_after - self.passed
                    target.sendall(data[:left])
                    self.passed += min(left, len(data))
                    if left <= len(data):
                        self.cut_after, self.down = None, self.down_then
                        return
                    continue
                target.sendall(data)
                self.passed += len(data) if is_watched else 0
                self.answered += is_watched and source is server


@contextmanager
def cutting_proxy(host: str, port: int) -> Iterator[tuple[CuttingProxy, str]]:
    """Run a proxy in front of a local service until the block ends; yield its URL as well."""
    proxy = CuttingProxy((host, port))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TICK)
        thread = threading.Thread(target=proxy.serve, args=(listener,), name="cutting-proxy")
        thread.start()
        try:
            yield proxy, f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            proxy.ended.set()
            thread.join()
