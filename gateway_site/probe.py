"""`python -m gateway_site.probe`: exits with 0 if the server on this machine is alive, else with 1.

For a container's health check. It asks `/healthz` of the server that `UVICORN_HOST` and
`UVICORN_PORT` describe, as uvicorn reads them, and takes two seconds at most.
"""

import os
import socket
import sys
import threading
from collections.abc import Mapping

PATH = "/healthz"
LIMIT = 1.5  # seconds; the start of Python takes the rest
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - not to listen on
OK = b"HTTP/1.1 200 "


def find_address(environment: Mapping[str, str]) -> tuple[str, int]:
    """Return where the server can be reached from its own machine. Raises ValueError."""
    host = environment.get("UVICORN_HOST", "").strip()
    return ANYWHERE.get(host, host), int(environment.get("UVICORN_PORT", "").strip() or 8000)


def is_alive(address: tuple[str, int]) -> bool:
    """Return True if the server answers 200. Raises OSError; may take long."""
    request = f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with socket.create_connection(address, timeout=LIMIT) as connection:
        connection.sendall(request.encode("ascii"))
        found = b""
        while len(found) < len(OK) and (piece := connection.recv(len(OK))):
            found += piece
    return found.startswith(OK)


def main() -> int:
    """Return the exit status; end the process if that takes too long, as names and bytes may."""
    timer = threading.Timer(LIMIT, os._exit, (1,))
    timer.daemon = True
    timer.start()
    try:
        return 0 if is_alive(find_address(os.environ)) else 1
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{PATH} cannot be asked: {type(error).__name__}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
