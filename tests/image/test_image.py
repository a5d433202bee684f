"""The container image, built and run on this machine by `make image-check`."""

import json
import os
import re
import signal
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from gateway_site.local.environment import CALLBACK
from gateway_site.local.provider import PEOPLE
from tests import ROOT
from tests.image.container import END_WITHIN, Container, Image
from tests.local.form import submit
from tests.support.processes import free_ports, is_listening
from tests.support.waiting import wait_until

FOLDER = os.environ.get("IMAGES", "")
pytestmark = [
    pytest.mark.skipif(not FOLDER, reason="make image-check builds the images"),
    pytest.mark.timeout(600),
]
# Of the image, and none of them a secret.
ENVIRONMENT = {
    "LOG_FORMAT",
    "PATH",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONSAFEPATH",
    "PYTHONUNBUFFERED",
    "STATIC_ROOT",
    "UVICORN_HOST",
    "UVICORN_PORT",
}
OF_THE_BASE = {"GPG_KEY", "LANG", "PYTHON_VERSION", "PYTHON_SHA256"}
OURS = ("gateway_site", "oauth", "sessions_kms")
SECRETS = ("DJANGO_SECRET_KEY", "DATABASE_URL", "OAUTH_LOCAL_CLIENT_SECRET")
ADA = PEOPLE[0]
NAMED_BY_HASH = 0b01  # flags of byte code that is not compared with its source (PEP 552)


@pytest.fixture(scope="session")
def gateway() -> Image:
    return Image.load(Path(FOLDER), "gateway")


@pytest.fixture(scope="session")
def local() -> Image:
    return Image.load(Path(FOLDER), "local")


@pytest.mark.parametrize("target", ["gateway", "local"])
def test_image_starts_the_server_under_tini_as_a_numeric_user(target: str) -> None:
    image = Image.load(Path(FOLDER), target)
    assert image.config["User"] == "10001:10001"
    assert image.config["Entrypoint"] == ["tini", "--", "kms-gateway"]
    assert image.config["Cmd"][0] == {"gateway": "serve", "local": "runlocal"}[target]
    assert image.config["Healthcheck"]["Test"] == ["CMD", "python", "-m", "gateway_site.probe"]


def test_environment_of_the_image_has_no_secret(gateway: Image) -> None:
    assert set(gateway.environment) - OF_THE_BASE == ENVIRONMENT


def test_nothing_of_ours_can_be_changed_by_its_user(gateway: Image) -> None:
    found = 0
    for top in ("opt/gateway", "opt/static"):
        for path in (gateway.root / top).rglob("*"):
            status = path.lstat()
            found += 1
            assert status.st_uid == 0, path
            assert stat.S_ISLNK(status.st_mode) or not status.st_mode & 0o022, path
    assert found > 5000


def test_only_its_user_can_write_to_the_folder_for_the_audit_file(gateway: Image) -> None:
    """The file itself is readable by its owner only. Builders differ in a folder's `--chmod`."""
    status = (gateway.root / "var/log/gateway").lstat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o022) == (10001, 10001, 0)


def test_tests_and_the_local_stack_s_packages_are_not_in_it(gateway: Image, local: Image) -> None:
    [packages] = gateway.root.glob("opt/gateway/lib/python3*/site-packages")
    [more] = local.root.glob("opt/gateway/lib/python3*/site-packages")
    assert not (packages / "tests").exists()
    assert not (packages / "pip").exists()
    assert not (packages / "mcp").exists()
    assert (more / "mcp").exists()


def test_code_of_this_tree_is_in_it(gateway: Image) -> None:
    [packages] = gateway.root.glob("opt/gateway/lib/python3*/site-packages")
    for name in OURS:
        for source in (ROOT / name).rglob("*.py"):
            assert (packages / source.relative_to(ROOT)).read_bytes() == source.read_bytes()


def test_byte_code_is_there_and_is_not_compared_with_its_source(gateway: Image) -> None:
    [packages] = gateway.root.glob("opt/gateway/lib/python3*/site-packages")
    code = "import sys; print(sys.implementation.cache_tag)"
    tag = Container(gateway).execute("python", "-c", code).stdout.strip()
    for name in (*OURS, "django", "uvicorn"):
        for source in (packages / name).rglob("*.py"):
            compiled = source.parent / "__pycache__" / f"{source.stem}.{tag}.pyc"
            assert compiled.read_bytes()[4] == NAMED_BY_HASH, compiled


def test_static_files_are_collected_and_compressed(gateway: Image) -> None:
    [style] = gateway.root.glob("opt/static/gateway.????????????.css")
    assert style.with_name(style.name + ".gz").exists()


def test_only_tmp_can_be_written(gateway: Image) -> None:
    write = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('x')"
    container = Container(gateway)
    assert container.execute("python", "-c", write, "/tmp/x").returncode == 0  # noqa: S108
    for path in ("/x", "/opt/gateway/x", "/opt/static/x", "/run/x", "/var/x"):
        assert "Error" in container.execute("python", "-c", write, path).stderr


def test_start_without_variables_says_which_are_missing(gateway: Image) -> None:
    done = Container(gateway).run("serve")
    assert done.returncode != 0
    assert "DATABASE_URL" in done.stderr


class Deployed:
    """The production image with the services of the local one, and with its own provider."""

    def __init__(self, folder: Path, image: Image, variables: dict[str, str], port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        [self.metrics_port] = free_ports(1)
        self.log = folder / "gateway.log"
        secrets = folder / "secrets"
        secrets.mkdir()
        for name in SECRETS:
            (secrets / name.lower()).write_text(variables.pop(name) + "\n", encoding="utf-8")
            variables[f"{name}_FILE"] = f"/run/secrets/{name.lower()}"
        self.container = Container(
            image,
            variables
            | {
                "UVICORN_PORT": str(port),
                "UVICORN_HOST": "127.0.0.1",
                "OTEL_METRICS_EXPORTER": "prometheus",
                "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
                "OTEL_EXPORTER_PROMETHEUS_PORT": str(self.metrics_port),
            },
            read_only={"/run/secrets": secrets},
            writable={"/run/database": folder / "database"},
        )

    @contextmanager
    def running(self) -> Iterator[psutil.Process]:
        with self.container.running(log=self.log) as first:
            wait_until(self.is_healthy, "the gateway is healthy", 60)
            yield first

    def is_healthy(self) -> bool:
        return self.container.execute("python", "-m", "gateway_site.probe").returncode == 0

    def metrics(self) -> str:
        """Return what Prometheus gets."""
        return requests.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10).text

    def readiness(self) -> tuple[int, str]:
        response = requests.get(f"{self.url}/readyz", timeout=10)
        return response.status_code, response.json().get("reason", "")


@pytest.fixture
def deployed(tmp_path: Path, gateway: Image, local: Image) -> Iterator[Deployed]:
    """Return the image with everything that it needs running, and nothing migrated."""
    own, port, provider, kms, dynamodb, mcp, notes, issuer = free_ports(8)
    state = _folder(tmp_path / "state")
    options = [
        f"--port={own}",
        f"--provider-port={provider}",
        f"--kms-port={kms}",
        f"--dynamodb-port={dynamodb}",
        f"--mcp-port={mcp}",
        f"--notes-port={notes}",
        "--state=/run/state",
    ]
    variables_file = state / "variables.json"
    with ExitStack() as stack:
        services = Container(local, writable={"/run/state": state})
        stack.enter_context(services.running("runlocal", *options, log=tmp_path / "local.log"))
        wait_until(lambda: is_listening(own), (tmp_path / "local.log").read_text("utf-8"), 120)
        variables = _variables(json.loads(variables_file.read_text(encoding="utf-8")), port, issuer)
        stack.enter_context(_provider(local, variables, issuer, port, tmp_path))
        _folder(tmp_path / "database")
        yield Deployed(tmp_path, gateway, variables, port)


def _folder(path: Path) -> Path:
    """Make a folder that only the container's user can enter: it is root outside."""
    path.mkdir(mode=0o700)
    return path


def _variables(of_stack: dict[str, str], port: int, issuer: int) -> dict[str, str]:
    kept = ("AWS_", "KMS_", "SESSIONS_", "OAUTH_LOCAL_", "UPSTREAM_PROVIDER_", "DJANGO_SECRET")
    found = {name: value for name, value in of_stack.items() if name.startswith(kept)}
    return found | {
        "GATEWAY_LOCAL": "1",
        "DATABASE_URL": "sqlite:////run/database/gateway.sqlite3",
        "DRAIN_SECONDS": "3",
        "OAUTH_LOCAL_ISSUER": f"http://127.0.0.1:{issuer}",
        "UPSTREAM_PROVIDER_URL": f"http://127.0.0.1:{issuer}",
    }


@contextmanager
def _provider(
    image: Image, variables: dict[str, str], issuer: int, port: int, folder: Path
) -> Iterator[None]:
    """Run the local provider with the production image's address as that of its client."""
    home = f"http://127.0.0.1:{port}"
    container = Container(
        image,
        {
            "PROVIDER_CLIENT_ID": variables["OAUTH_LOCAL_CLIENT_ID"],
            "PROVIDER_CLIENT_SECRET": variables["OAUTH_LOCAL_CLIENT_SECRET"],
            "PROVIDER_REDIRECT_URIS": home + CALLBACK,
            "PROVIDER_POST_LOGOUT_REDIRECT_URIS": home,
        },
        writable={"/run/provider": _folder(folder / "provider")},
    )
    module = ["python", "-m", "gateway_site.local.provider"]
    options = ["--port", str(issuer), "--state", "/run/provider"]
    with container.starting([*module, *options], folder / "provider.log"):
        wait_until(lambda: is_listening(issuer), "the provider listens", 60)
        yield


def test_image_is_migrated_started_signed_in_to_scraped_drained_killed_and_started_again(
    deployed: Deployed,
) -> None:
    assert not deployed.is_healthy()
    with deployed.running():
        assert deployed.readiness() == (503, "migrations")
    assert deployed.container.run("migrate").returncode == 0
    with requests.Session() as browser:
        browser.trust_env = False
        with deployed.running() as first:
            wait_until(lambda: deployed.readiness()[0] == 200, "the gateway is ready")
            _sign_in(browser, deployed.url)
            _call(browser, deployed.url)
            assert "http_server_request_duration_seconds_count" in deployed.metrics()
            _drain(first, deployed)
        with deployed.running() as first:
            _call(browser, deployed.url)
            first.kill()
            first.wait(END_WITHIN)
        with deployed.running():
            _call(browser, deployed.url)
    log = deployed.log.read_text(encoding="utf-8")
    assert all(isinstance(json.loads(line), dict) for line in log.splitlines())
    assert "Traceback" not in log
    assert not any(path.read_text("utf-8").strip() in log for path in _secrets(deployed))


def _sign_in(browser: requests.Session, url: str) -> None:
    home = browser.get(url, timeout=20)
    login = submit(browser, home, follow=True)
    consent = submit(browser, login, follow=True, login=ADA.username, password=ADA.password)
    signed_in = submit(browser, consent, follow=True, action="grant")
    assert signed_in.url.startswith(url)
    assert signed_in.status_code == 200
    style = re.search(r'href="(/static/[^"]+\.css)"', signed_in.text)
    assert style is not None
    assert browser.get(url + style[1], timeout=20).status_code == 200


def _call(browser: requests.Session, url: str) -> None:
    response = browser.get(f"{url}/gateway/provider/identity/o/api/userinfo", timeout=20)
    assert response.status_code == 200
    assert ADA.username in response.text


def _drain(first: psutil.Process, deployed: Deployed) -> None:
    first.send_signal(signal.SIGTERM)
    wait_until(lambda: deployed.readiness() == (503, "draining"), "the gateway drains")
    assert deployed.is_healthy()
    first.wait(END_WITHIN)


def _secrets(deployed: Deployed) -> Iterator[Path]:
    return deployed.container.read_only["/run/secrets"].iterdir()
