"""The gateway from its distribution: the first hour, production, and every command."""

import re
import signal
import subprocess
from pathlib import Path

import pytest
import requests

from tests.conftest import AWS_ENVIRONMENT
from tests.deploy_check import PRODUCTION
from tests.packaging.building import GATEWAY
from tests.release.browsing import TIMEOUT, sign_in
from tests.release.conftest import Installer
from tests.release.environment import DIST, Environment
from tests.support.processes import free_ports, is_listening, lines_until
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(900)

OPTIONS = tuple(
    f"--{each}port" for each in ("", "provider-", "kms-", "dynamodb-", "mcp-", "notes-")
)


def test_first_hour_needs_nothing_but_the_extra_local(install: Installer) -> None:
    environment = install(f"{GATEWAY}[local]")
    before = environment.list_installed()
    *ports, echo = free_ports(len(OPTIONS) + 1)
    upstream = {"UPSTREAM_API_URL": f"http://127.0.0.1:{echo}", "UPSTREAM_API_PROVIDER": "local"}
    words = [word for pair in zip(OPTIONS, map(str, ports), strict=True) for word in pair]
    python = str(environment.python)
    with (
        environment.running(python, "-m", "gateway_site.local.echo_api", str(echo)),
        environment.running(
            environment.command("kms-gateway"), "runlocal", *words, variables=upstream
        ) as (stack),
    ):
        welcome = "".join(lines_until(stack, "Logs are in"))
        use_as_told(environment, welcome, f"http://127.0.0.1:{ports[0]}")
        stack.send_signal(signal.SIGINT)
        assert stack.wait(60) == 0
    assert not any(map(is_listening, ports))
    assert [path.name for path in environment.current.iterdir()] == [".local"]
    assert environment.list_installed() == before


def use_as_told(environment: Environment, welcome: str, url: str) -> None:
    """Do what the welcome says: sign in, call an upstream, run a command, look at a page."""
    assert url in welcome
    with requests.Session() as browser:
        page = sign_in(browser, url, "ada")
        assert page.status_code == 200
        style = re.search(r'href="(/static/[^"]+\.css)"', page.text)
        assert style is not None
        assert requests.get(url + style[1], timeout=TIMEOUT).status_code == 200
        response = browser.get(f"{url}/gateway/api/hello", timeout=TIMEOUT)
        assert response.json()["path"] == "/hello"
        assert response.json()["authorization"].startswith("Bearer and ")
        assert browser.get(f"{url}/admin/", timeout=TIMEOUT).status_code == 200
    staff = environment.run(environment.command("kms-gateway"), "--local", "staff", "list")
    assert "ada" in staff.stdout
    [client] = re.findall(r"(\S+ -m gateway_site\.local\.mcp_client) http", welcome)
    environment.run(*client.split(), "--help")


def test_production_checks_and_serves_pages_with_their_style(install: Installer) -> None:
    environment = install(GATEWAY)
    before = environment.list_installed()
    gateway = environment.command("kms-gateway")
    database = f"sqlite:///{environment.folder}/production.sqlite3"
    variables = PRODUCTION | {"DATABASE_URL": database}
    environment.run(gateway, "check", "--deploy", variables=variables)
    environment.run(gateway, "migrate", "--no-input", variables=variables)
    collected = str(environment.folder / "static")
    environment.run(
        gateway, "collectstatic", "--no-input", variables=variables | {"STATIC_ROOT": collected}
    )
    variables |= AWS_ENVIRONMENT  # where AWS does not answer: that is an outage
    for more in ({}, {"STATIC_ROOT": collected}):
        check_served(environment, variables | more, is_hashed=bool(more))
    assert list(environment.current.iterdir()) == []
    assert environment.list_installed() == before


def check_served(environment: Environment, variables: dict[str, str], *, is_hashed: bool) -> None:
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [environment.command("kms-gateway"), "serve", "--port", str(port)]
    headers = {"Host": "gateway.example.com", "X-Forwarded-Proto": "https"}
    with environment.running(*command, variables=variables) as process:
        wait_until(lambda: process.poll() is not None or is_listening(port), "it serves", 60)
        assert requests.get(f"{url}/readyz", timeout=TIMEOUT).status_code == 200
        page = requests.get(f"{url}/accounts/login/", headers=headers, timeout=TIMEOUT)
        sheets = re.findall(r'href="(/static/[^"]+\.css)"', page.text)
        assert sheets
        for sheet in sheets:
            response = requests.get(url + sheet, headers=headers, timeout=TIMEOUT)
            assert response.status_code == 200
            assert ("immutable" in response.headers["Cache-Control"]) == is_hashed
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_every_command_has_its_help(install: Installer) -> None:
    environment = install(GATEWAY)
    gateway = environment.command("kms-gateway")
    listed = environment.run(gateway, "help", "--all").stdout
    for app in ("gateway_site", "sessions_kms"):
        section = listed.partition(f"[{app}]\n")[2].partition("\n\n")[0]
        names = section.split()
        assert names
        for name in names:
            environment.run(gateway, "help", name)


def test_runlocal_without_the_extra_names_it(install: Installer, tmp_path: Path) -> None:
    environment = install(GATEWAY)
    state = ("--state", str(tmp_path / "state"))
    done = environment.run(environment.command("kms-gateway"), "runlocal", *state, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        "run `pip install 'django-sessions-kms-gateway[local]'`."
    )


def test_extra_otel_brings_opentelemetry(install: Installer) -> None:
    environment = install(f"{GATEWAY}[otel]")
    environment.run(str(environment.python), "-c", "import opentelemetry.metrics")


# Another distribution of the index, which installs a package of the same name

SENTENCE = "Another distribution, oauth, has replaced the gateway's package oauth: run"
OTHER = "oauth==1.0.1"


def start_each_way(environment: Environment) -> list[subprocess.CompletedProcess[str]]:
    python = str(environment.python)
    commands = [
        [environment.command("kms-gateway"), "version"],
        [python, "-m", "gateway_site", "version"],
        [python, "-c", "import gateway_site.asgi"],
    ]
    return [environment.run(*command, check=False, variables=PRODUCTION) for command in commands]


def test_other_oauth_installed_before_ours_does_no_harm(fresh: Environment) -> None:
    fresh.install(OTHER)
    fresh.install(GATEWAY)
    assert [done.returncode for done in start_each_way(fresh)] == [0, 0, 0]


def test_other_oauth_installed_after_ours_or_uninstalled_is_named_and_can_be_repaired(
    fresh: Environment,
) -> None:
    fresh.install(GATEWAY)
    fresh.install(OTHER)
    require_sentence(fresh)
    fresh.pip("uninstall", "--yes", "oauth")
    line = require_sentence(fresh)
    *_, reinstall = re.findall("`pip ([^`]+)`", line)
    fresh.pip(*reinstall.split(), "--find-links", str(DIST))
    assert [done.returncode for done in start_each_way(fresh)] == [0, 0, 0]


def require_sentence(environment: Environment) -> str:
    lines = set()
    for done in start_each_way(environment):
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        lines.add(line)
    [line] = lines
    assert line.startswith(SENTENCE)
    return line
