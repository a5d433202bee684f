"""roto-server: another project's DynamoDB, as a separate process."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import free_port
from tests.support.waiting import wait_for


@contextmanager
def running_roto() -> Iterator[str]:
    """Run a separate roto-server in memory, and yield its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    binary = Path(sys.executable).with_name("roto-server")
    # Where there is setpriv, it ends with a run of tests that is killed.
    setpriv = shutil.which("setpriv")
    mortal = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
    with subprocess.Popen(
        [*mortal, binary, "--ephemeral", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # One thread of its runtime (Tokio) does with less CPU what the tests ask for.
        env={**os.environ, "TOKIO_WORKER_THREADS": "1"},
    ) as process:
        try:
            wait_for(url)
            yield url
        finally:
            process.kill()
