"""A shell that stays open over the commands of a guide, as the reader's does."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

MOST = 600  # seconds that one command may take


class Terminal:
    """One bash: folders, variables and jobs stay from one command to the next."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def run(self, command: str) -> tuple[int, str]:
        """Run a command to its end; return its status and all that it printed."""
        assert self._process.stdin is not None
        end = f"end-{token_hex(8)}"
        script = f'{{ {command}\n}} </dev/null 2>&1\nprintf "%s %s\\n" {end} "$?"\n'
        self._process.stdin.write(script.encode())
        self._process.stdin.flush()
        printed, _, status = self._read_until(f"{end} ".encode()).partition(f"{end} ")
        return int(status), printed

    def _read_until(self, end: bytes) -> str:
        """Return what is printed until a line that begins with these bytes, and that line."""
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        read, deadline = b"", time.monotonic() + MOST
        while not (end in read and read.endswith(b"\n")):
            ready, _, _ = select.select([output], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"no end after {MOST} s: {read.decode(errors='replace')}"
            more = os.read(output, 65536)
            assert more, f"the shell ended: {read.decode(errors='replace')}"
            read += more
        return read.decode()


@contextmanager
def open_terminal(folder: Path, variables: Mapping[str, str]) -> Iterator[Terminal]:
    """Open a shell in a folder, with these variables alone; end it with all that it started."""
    with subprocess.Popen(
        ["/bin/bash", "--noprofile", "--norc"],
        cwd=folder,
        env=dict(variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            yield Terminal(process)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
