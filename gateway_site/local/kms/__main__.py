"""`python -m gateway_site.local.kms --port 9001 --state PATH/kms.sqlite3`."""

import argparse
import signal
import sys
import threading
from pathlib import Path

from . import StartError
from .server import serve


def main() -> int:
    """Serve until SIGTERM or SIGINT; return 2 after a one-sentence message if it cannot start."""
    parser = argparse.ArgumentParser(prog="kms", description="A local KMS for development.")
    parser.add_argument("--port", type=int, required=True, help="on 127.0.0.1; 0 picks a free one")
    parser.add_argument("--state", type=Path, required=True, help="SQLite file that keeps the keys")
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        with serve(arguments.state, arguments.port) as url:
            sys.stdout.write(f"kms listening on {url}\n")
            sys.stdout.flush()
            stop.wait()
    except StartError as error:
        sys.stderr.write(f"kms: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
