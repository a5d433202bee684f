"""`manage.py runlocal` itself: every process is real."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import requests
from django.core.management import CommandError, call_command

from gateway_site.local.options import Ports, parse_address
from gateway_site.local.processes import StackError
from gateway_site.local.stack import Stack
from tests.local.form import submit
from tests.local.hostile_environment import HOSTILE
from tests.support.processes import (
    free_ports,
    is_listening,
    lines_until,
    run_to_end,
    started,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.stack

CHILDREN = (
    "roto-server",
    "gateway_site.local.kms",
    "gateway_site.local.provider",
    " demo --issuer ",
    " notes --state ",
    "runserver",
)


@dataclass
class Run:
    """One `runlocal`, its ports and its state folder."""

    state: Path
    ports: Ports = field(default_factory=lambda: Ports(*free_ports(6)))
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.gateway}"

    @property
    def all_ports(self) -> list[int]:
        ports = self.ports
        return [
            ports.gateway, ports.provider, ports.kms, ports.dynamodb, ports.mcp, ports.notes
        ]  # fmt: skip

    def command(self, *options: str) -> list[str]:
        ports = self.ports
        command = [sys.executable, "manage.py", "runlocal", "--state", str(self.state)]
        command += ["--port", str(ports.gateway), "--provider-port", str(ports.provider)]
        command += ["--kms-port", str(ports.kms), "--dynamodb-port", str(ports.dynamodb)]
        command += ["--mcp-port", str(ports.mcp), "--notes-port", str(ports.notes)]
        return [*command, *options]

    @property
    def environment(self) -> dict[str, str]:
        """An environment in which every variable points elsewhere."""
        inherited = {name: value for name, value in HOSTILE.items() if "SETTINGS" not in name}
        return inherited | self.variables | {"PATH": os.environ["PATH"]}

    @contextmanager
    def serving(self, *options: str) -> Iterator["subprocess.Popen[str]"]:
        """Run it until it has printed its URL; its last line is then `Logs are…`."""
        with started(
            self.command(*options),
            self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            end=subprocess.Popen.terminate,
        ) as process:
            yield process

    def refusal(self, *options: str) -> str:
        """Return its message when it does not start: one line without a traceback."""
        response = run_to_end(self.command(*options), self.environment)
        assert response.returncode == 1
        said = [line for line in response.stdout.splitlines() if not line.startswith("Ignored")]
        assert said in ([], ["Checking the configuration."])
        [line] = response.stderr.splitlines()
        return line


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "state")


def read_welcome(process: "subprocess.Popen[str]") -> str:
    return "".join(lines_until(process, "Logs are in"))


def children_of(process: "subprocess.Popen[str]") -> dict[str, psutil.Process]:
    """Return the running children by their names."""
    found = {}
    for child in psutil.Process(process.pid).children():
        line = " ".join(child.cmdline())
        found.update({name: child for name in CHILDREN if name in line})
    return found


def remembered_values(run: Run) -> dict[str, str]:
    """Return the state that must be the same after a restart."""
    found = json.loads((run.state / "variables.json").read_text(encoding="utf-8"))
    keys = requests.get(f"http://127.0.0.1:{run.ports.provider}/.well-known/jwks.json", timeout=10)
    names = ("KMS_KEY_ARN", "DJANGO_SECRET_KEY", "OAUTH_LOCAL_CLIENT_SECRET")
    return {name: found[name] for name in names} | {"keys": keys.text}


def manage(run: Run, command: str) -> "subprocess.CompletedProcess[str]":
    """Run another command after sourcing `aws.env`, with all other variables set explicitly."""
    told = json.loads((run.state / "variables.json").read_text(encoding="utf-8"))
    stated = {name: value for name, value in told.items() if not name.startswith("AWS_")}
    script = f". {run.state}/aws.env && exec {sys.executable} manage.py {command}"
    return run_to_end(["/bin/sh", "-c", script], run.environment | stated)


@dataclass(frozen=True)
class Served:
    """A `runlocal` that runs in a hostile environment behind a development server at ``home``."""

    run: Run
    home: str
    welcome: str
    process: "subprocess.Popen[str]"


@pytest.fixture(scope="module")
def kept_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Start one for the tests that change nothing of it, and end it by Ctrl-C."""
    [port] = free_ports(1)
    variables = {"PUBLIC_URL": "http://192.0.2.1"}  # the option wins
    run = Run(tmp_path_factory.mktemp("runlocal") / "state", variables=variables)
    with (
        run.serving("--public-url", f"http://localhost:{port}") as process,
        development_server(port, run.ports.gateway) as home,
    ):
        yield Served(run, home, read_welcome(process), process)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        assert not any(is_listening(port) for port in run.all_ports)
    everything = [path for path in run.state.rglob("*") if path.is_file()]
    assert not [path for path in everything if path.stat().st_mode & 0o077]


@pytest.mark.slow
def test_hostile_environment_serves_a_page_that_offers_the_local_provider(kept_run: Served) -> None:
    run = kept_run.run
    assert f"http://127.0.0.1:{run.ports.gateway}/ for {kept_run.home}/" in kept_run.welcome
    assert "ada (password ada, staff) or grace (password grace)" in kept_run.welcome

    page = requests.get(kept_run.home, timeout=10)
    style = re.search(r'href="(/static/[^"]+\.css)"', page.text)
    assert page.status_code == 200
    assert "/accounts/oidc/local/login/" in page.text
    assert style is not None
    assert requests.get(kept_run.home + style[1], timeout=10).status_code == 200

    requests.get(f"{kept_run.home}/?code=the-code&state=the-state", timeout=10)
    log = run.state / "log" / "gateway.log"
    wait_until(lambda: log.read_text("utf-8").count(" GET / 200 ") == 2, "both are logged")
    assert "the-code" not in log.read_text("utf-8")

    checked = manage(run, "check_session_store")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for name in ("variables.json", "aws.env"):
        assert (run.state / name).stat().st_mode & 0o777 == 0o600
    assert run.state.stat().st_mode & 0o777 == 0o700

    children = children_of(kept_run.process)
    assert set(children) == set(CHILDREN)
    for child in children.values():
        addresses = {each.laddr.ip for each in child.net_connections() if not each.raddr}
        assert addresses == {"127.0.0.1"}

    assert "Another runlocal uses" in run.refusal()
    assert is_listening(run.ports.gateway)


@pytest.mark.long
def test_killed_run_leaves_no_process_and_loses_no_state_and_killed_child_ends_the_rest(
    run: Run,
) -> None:
    with run.serving() as process:
        read_welcome(process)
        before = remembered_values(run)
        children = children_of(process)
        process.kill()
    if sys.platform != "linux":
        for child in children.values():
            child.kill()
    wait_until(lambda: not any(map(is_listening, run.all_ports)), "all children are gone", 10)
    with run.serving() as process:
        read_welcome(process)
        assert remembered_values(run) == before
        children_of(process)["gateway_site.local.kms"].kill()
        assert process.wait(timeout=15) == 1
        assert process.stderr is not None
        [line] = process.stderr.read().splitlines()
    assert "The local KMS has ended (killed by SIGKILL)" in line
    assert str(run.state / "log" / "kms.log") in line
    assert not any(is_listening(port) for port in run.all_ports)


def stack_error(run: Run, **changes: Path) -> str:
    """Return the message of a stack that fails before any process runs."""
    said: list[str] = []
    with pytest.raises(StackError) as error:
        Stack(run.environment, run.ports, run.state, **changes).serve(said.append)
    assert "The gateway runs at" not in "".join(said)
    return str(error.value)


@pytest.mark.slow
def test_port_in_use_is_reported_in_one_sentence_before_anything_starts(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway_site.local.supervisor.PORT_FREE_WITHIN", 0)
    with socket.create_server(("127.0.0.1", run.ports.provider)):
        line = stack_error(run)
    assert f"Port {run.ports.provider}, for the local OpenID provider" in line
    assert "--provider-port" in line
    assert "\n" not in line
    assert not (run.state / "dynamodb").exists()


@pytest.mark.slow
def test_duplicate_port_is_reported_in_one_sentence_before_anything_starts(run: Run) -> None:
    line = run.refusal("--port", str(run.ports.provider))
    assert f"both use port {run.ports.provider}: choose another with" in line
    assert "--port" in line
    assert "--provider-port" in line
    assert not any(is_listening(port) for port in run.all_ports)


@pytest.mark.slow
def test_missing_binary_is_named_with_a_remedy(run: Run) -> None:
    line = stack_error(run, roto=run.state / "roto-server")
    assert "roto-server cannot be run " in line
    assert "pip install 'django-sessions-kms-gateway[local]'" in line


def test_missing_package_is_named_with_a_remedy_before_the_start(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    line = stack_error(run)
    assert line.startswith("The package mcp is not installed: ")
    assert "pip install 'django-sessions-kms-gateway[local]'" in line
    assert not (run.state / "dynamodb").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "reported"),
    [
        (
            "UPSTREAM_API_URL",
            "https://api.example.com",
            ["UPSTREAM_API_PROVIDER is missing: the provider whose token is sent"],
        ),
        (
            "SESSIONS_IDLE_TIMOUT",
            "600",
            ["SESSIONS_IDLE_TIMOUT is not a known variable", "Did you mean SESSIONS_IDLE_TIMEOUT?"],
        ),
    ],
)
def test_configuration_error_is_quoted_before_anything_starts(
    run: Run, name: str, value: str, reported: list[str]
) -> None:
    run.variables = {name: value}
    line = run.refusal()
    assert [each for each in reported if each not in line] == []
    assert "read /" not in line
    assert not (run.state / "dynamodb").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gateway.example.com"])  # noqa: S104 -- refused
def test_addresses_other_than_loopback_are_rejected(
    run: Run, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(Stack, "serve", lambda *_: pytest.fail("it would be served"))
    with pytest.raises(CommandError) as error:
        call_command(*run.command("--host", host)[2:])
    line = str(error.value)
    assert "listens on 127.0.0.1 only" in line
    ports = (run.ports.gateway, run.ports.provider, run.ports.notes)
    assert " ".join(f"-L {port}:127.0.0.1:{port}" for port in ports) + " " in line
    assert not run.state.exists()


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.1:5173",
        "http://0.0.0.0:5173",
        "http://localhost.example.com:5173",
        "http://localhost:5173@evil.example",
        "http://evil.example#@localhost",
        "http://127.0.0.1:5173/app",
        "http://localhost:5173 http://evil.example",
        "http://localhost:5173\n",
        "http://localhost:99999",
        "http://localhost:",
        "https://localhost:5173",
        "localhost:5173",
        "",
    ],
)
def test_address_in_front_that_is_not_on_this_machine_is_rejected(
    run: Run, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setattr(Stack, "serve", lambda *_: pytest.fail("it would be served"))
    with pytest.raises(CommandError, match="--public-url"):
        call_command(*run.command("--public-url", url)[2:])


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("HTTP://LocalHost:05173/", "http://localhost:5173"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
    ],
)
def test_address_in_front_is_written_as_browsers_send_it(given: str, used: str) -> None:
    assert parse_address(given) == used


@contextmanager
def development_server(port: int, gateway: int) -> Iterator[str]:
    """Pass connections on to the gateway unchanged, as `server.proxy` does with the Host."""
    listener = socket.create_server(("127.0.0.1", port))

    def pass_on(source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError), to:  # The other direction may have closed both.
            while piece := source.recv(65536):
                to.sendall(piece)
            to.shutdown(socket.SHUT_WR)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            served = socket.create_connection(("127.0.0.1", gateway))
            for pair in ((client, served), (served, client)):
                threading.Thread(target=pass_on, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://localhost:{port}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.mark.slow
def test_person_signs_in_and_out_behind_a_development_server(kept_run: Served) -> None:
    browser, home = requests.Session(), kept_run.home
    browser.trust_env = False
    page = browser.get(f"{home}/accounts/login/?next=/items%3Fa%3D1", timeout=10)
    login = submit(browser, page, follow=True)
    consent = submit(browser, login, follow=True, login="ada", password="ada")
    back = submit(browser, consent, follow=True, action="grant")
    assert back.url == f"{home}/items?a=1"  # of the app

    told = browser.get(f"{home}/gateway/", headers={"Sec-Fetch-Site": "same-origin"}, timeout=9)
    token = {"csrfmiddlewaretoken": told.json()["csrf_token"]}
    url = home + told.json()["sign_out_url"]
    for origin, statuses in ((kept_run.run.url, {403}), (home, {200, 302})):
        headers = {"Origin": origin}
        left = browser.post(url, token, headers=headers, timeout=10, allow_redirects=False)
        assert left.status_code in statuses
    assert browser.get(f"{home}/gateway/", timeout=10).status_code == 401
    assert requests.get(f"{kept_run.run.url}/healthz", timeout=10).status_code == 200


def test_port_out_of_range_is_rejected(run: Run) -> None:
    response = run_to_end(run.command("--kms-port", "65536"), run.environment)
    assert response.returncode == 2
    assert "--kms-port: invalid port: '65536'" in response.stderr
