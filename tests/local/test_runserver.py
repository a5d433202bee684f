"""`manage.py runserver`: ASGI by uvicorn; unbuffered streams that close on a disconnect."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import requests
from django.core.management import get_commands
from django.test import override_settings

from gateway_site.checks import check_runserver
from tests import ROOT
from tests.support.processes import free_ports, is_listening, run_to_end, running
from tests.support.waiting import wait_until

SITE = Path(__file__).with_name("streaming_site.py")


@dataclass
class Server:
    """`runserver` for a site of one module in the test's own folder."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def site(self) -> Path:
        return self.folder / "site_under_test.py"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def closed(self) -> Path:
        return self.folder / "closed"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{self.folder}",
            "PYTHONDONTWRITEBYTECODE": "1",  # a change within the same second would be missed
            "DJANGO_SETTINGS_MODULE": "site_under_test",
            "CLOSED": str(self.closed),
        }

    def command(self, *options: str, address: str = "127.0.0.1") -> list[str]:
        manage = [sys.executable, "-m", "django", "runserver", f"{address}:{self.port}"]
        return [*manage, *options]

    @contextmanager
    def serving(self, *options: str) -> Iterator["subprocess.Popen[str]"]:
        command = self.command(*options)
        with running(command, self.environment, self.log, self.port) as process:
            yield process

    def refusal(self, *options: str, address: str = "127.0.0.1") -> str:
        """Return its message when it does not start."""
        response = run_to_end(self.command(*options, address=address), self.environment)
        assert response.returncode != 0
        return response.stderr


@pytest.fixture
def server(tmp_path: Path) -> Server:
    shutil.copyfile(SITE, tmp_path / "site_under_test.py")
    return Server(tmp_path, free_ports(1)[0])


@contextmanager
def open_stream(server: Server) -> Iterator[None]:
    """Open the event stream and read its first event, which is the only one."""
    with requests.get(f"{server.url}/events", stream=True, timeout=60) as response:
        lines = response.iter_lines(chunk_size=1)  # a reference keeps the connection open
        assert next(lines) == b"data: first"
        yield


@pytest.mark.stack
def test_events_are_not_buffered_and_a_disconnect_closes_the_generator(
    server: Server,
) -> None:
    with server.serving("--noreload"):
        with open_stream(server):
            assert not server.closed.exists()
        wait_until(server.closed.exists, "the generator is closed")


@pytest.mark.stack
def test_rules_of_the_gateways_own_server_hold(server: Server) -> None:
    with (
        server.serving("--noreload"),
        socket.create_connection(("127.0.0.1", server.port), timeout=60) as client,
    ):
        client.sendall(b"GET /version HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: b\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 400 ")


@pytest.fixture
def signals_as_in_a_terminal() -> None:
    """Children ignore Ctrl-C if a shell runs the tests in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.stack
@pytest.mark.usefixtures("signals_as_in_a_terminal")
@pytest.mark.parametrize(
    ("number", "options"),
    [
        pytest.param(signal.SIGINT, [], id="SIGINT, under the reloader"),
        pytest.param(signal.SIGTERM, ["--noreload"], id="SIGTERM, alone"),
        pytest.param(signal.SIGINT, ["--noreload"], id="SIGINT, alone", marks=pytest.mark.long),
        pytest.param(signal.SIGTERM, [], id="SIGTERM, under the reloader", marks=pytest.mark.long),
    ],
)
def test_signal_ends_it_and_frees_the_port_with_a_stream_open(
    server: Server, options: list[str], number: signal.Signals
) -> None:
    with server.serving(*options) as process, open_stream(server):
        process.send_signal(number)
        process.wait(timeout=60)
        wait_until(lambda: not is_listening(server.port), "the port is free")
    assert "Traceback" not in server.log.read_text(encoding="utf-8")


@pytest.mark.stack
@pytest.mark.long
@pytest.mark.usefixtures("signals_as_in_a_terminal")
def test_changed_module_is_reloaded(server: Server) -> None:
    def responds(version: str) -> bool:
        try:
            return requests.get(f"{server.url}/version", timeout=60).text == version
        except requests.ConnectionError:
            return False

    with server.serving() as process:
        wait_until(lambda: responds("one"), "it answers")
        [serving] = psutil.Process(process.pid).children()

        def notices() -> bool:
            """Change it again: a change before the reloader's first check is missed."""
            server.site.touch()
            return not serving.is_running()

        source = server.site.read_text(encoding="utf-8")
        server.site.write_text(source.replace('"one"', '"two"'), encoding="utf-8")
        wait_until(notices, "the reloader has seen it")
        wait_until(lambda: responds("two"), "it answers from the changed module")
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


@pytest.mark.stack
def test_static_files_are_served_without_debug_only_on_request(server: Server) -> None:
    url = f"{server.url}/static/{server.site.name}"
    with server.serving("--noreload", "--insecure"):
        assert requests.get(url, timeout=60).content == SITE.read_bytes()
    with server.serving("--noreload"):
        assert requests.get(url, timeout=60).status_code == 404


@pytest.mark.stack
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--noreload"], id="alone"),
        pytest.param([], id="under the reloader", marks=pytest.mark.slow),
    ],
)
def test_port_in_use_is_reported_in_one_line(server: Server, options: list[str]) -> None:
    with socket.create_server(("127.0.0.1", server.port)):
        error = server.refusal(*options)
    assert error.splitlines()[-1] == "Error: That port is already in use."
    assert "Traceback" not in error


@pytest.mark.stack
@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.1", "0"])  # noqa: S104 -- refused
def test_local_run_listens_on_loopback_only(server: Server, address: str) -> None:
    error = server.refusal("--noreload", address=address)
    assert "listens on 127.0.0.1 only" in error
    assert "Traceback" not in error


@pytest.fixture
def fresh_commands() -> Iterator[None]:
    forget: Callable[[], None] = get_commands.cache_clear  # type: ignore[attr-defined]  # stubs
    forget()
    yield
    forget()


@pytest.mark.usefixtures("fresh_commands")
@override_settings(
    INSTALLED_APPS=["gateway_site", "django.contrib.staticfiles"],
    MISSING_VARIABLES=[],
)
def test_gateways_runserver_passes_the_check() -> None:
    assert list(check_runserver()) == []


@pytest.mark.usefixtures("fresh_commands")
@override_settings(
    INSTALLED_APPS=["django.contrib.staticfiles", "gateway_site"],
    MISSING_VARIABLES=[],
)
def test_runserver_of_staticfiles_fails_the_check() -> None:
    [error] = check_runserver()
    assert error.id == "gateway_site.E004"
    assert "django.contrib.staticfiles" in error.msg
