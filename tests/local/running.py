"""Real processes on ephemeral ports, for the tests of the local stack."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def is_listening(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


@contextmanager
def running(
    command: list[str], env: dict[str, str], log: Path, port: int
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the command until it listens on the port; kill it at the end."""
    with (
        log.open("ab") as output,
        subprocess.Popen(command, env=env, cwd=ROOT, stdout=output, stderr=output) as process,
    ):
        try:
            wait_until(
                lambda: process.poll() is not None or is_listening(port), f"port {port} answers"
            )
            assert process.poll() is None, log.read_text(encoding="utf-8")
            yield process
        finally:
            process.kill()
