"""A separate PostgreSQL on loopback that can be killed and restarted."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from tests.support.processes import free_ports, is_listening
from tests.support.waiting import wait_until

DEBIAN = Path("/usr/lib/postgresql")  # Debian's servers are not on the PATH.
PORTS = 3  # ports to try


def binaries() -> Path | None:
    """Return the folder of the newest server's binaries, if there is one."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    versions = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return versions[-1].parent if versions else None


class PostgreSQL:
    """One cluster. PostgreSQL refuses to run as root; then it runs under another account."""

    def __init__(self, bin_folder: Path, folder: Path) -> None:
        self._bin = bin_folder
        self._data = folder / "data"
        self._account = "postgres" if os.geteuid() == 0 else None
        if self._account:
            shutil.chown(folder, self._account)
        self.port = 0
        self._server: subprocess.Popen[bytes] | None = None
        self._run("initdb", "--no-sync", "--auth=trust", "--username=postgres", self._data)

    @property
    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def start_somewhere(self) -> None:
        """Start the server on a free port; try another if the port is taken meanwhile."""
        for _ in range(PORTS):
            self.port = free_ports(1)[0]
            if self._starts():
                return
        raise AssertionError(f"PostgreSQL ended at once, on {PORTS} ports.")

    def start(self) -> None:
        """Start the server, and wait until it responds."""
        assert self._starts(), "PostgreSQL ended at once."

    def _starts(self) -> bool:
        server = self._server = subprocess.Popen(
            [
                *(self._bin / "postgres", "-D", self._data, "-p", str(self.port)),
                *("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="),
                *("-c", "fsync=off"),
            ],
            user=self._account,
            cwd="/",
            stderr=subprocess.DEVNULL,
        )
        wait_until(
            lambda: server.poll() is not None or self._responds(), "PostgreSQL answers or has ended"
        )
        return server.poll() is None

    def kill(self) -> None:
        """Kill the server and its current work."""
        assert self._server is not None
        self._server.kill()
        self._server.wait()
        wait_until(lambda: not is_listening(self.port), "PostgreSQL is gone")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all its processes: connections stay open, without responses."""
        assert self._server is not None
        server = psutil.Process(self._server.pid)
        stopped = [server, *server.children(recursive=True)]
        for process in stopped:
            process.suspend()
        try:
            yield
        finally:
            for process in stopped:
                process.resume()

    def connections(self) -> int:
        """Return the number of client connections, without this one."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute(
                "SELECT count(*) - 1 FROM pg_stat_activity WHERE backend_type = 'client backend'"
            ).fetchone()
        assert row is not None
        return int(row[0])

    def count(self, table: str) -> int:
        with psycopg.connect(self.url) as connection:
            row = connection.execute(
                sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
            ).fetchone()
        assert row is not None
        return int(row[0])

    def _responds(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, name: str, *arguments: str | Path) -> None:
        command = [self._bin / name, *arguments]
        subprocess.run(command, user=self._account, cwd="/", check=True, capture_output=True)


@contextmanager
def running_postgresql(bin_folder: Path) -> Iterator[PostgreSQL]:
    """Run a cluster in a folder that the server's account can reach, and delete it afterwards."""
    with tempfile.TemporaryDirectory(prefix="gateway-postgresql-") as folder:
        cluster = PostgreSQL(bin_folder, Path(folder))
        try:
            cluster.start_somewhere()
            yield cluster
        finally:
            cluster.kill()
