"""Every command with every dependency down: one sentence with a remedy, and no traceback."""

import contextlib
import json
import logging
import os
import re
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from botocore.exceptions import EndpointConnectionError, NoRegionError
from django.core.management import CommandError, get_commands
from django.db import IntegrityError, OperationalError, ProgrammingError, connections
from django.db.migrations.exceptions import MigrationSchemaMissing
from django.db.utils import ConnectionHandler
from pytest_django import Settings

from gateway_site import __main__ as program
from gateway_site import installation
from gateway_site.environment.database import NO_DATABASE, parse_database_url
from sessions_kms import services
from sessions_kms.aws import clients
from sessions_kms.aws.circuit import CircuitOpen
from sessions_kms.exceptions import TableUnavailable
from sessions_kms.management import known_errors
from tests.deploy_check import PRODUCTION
from tests.gateway_site.audit.written import Machine
from tests.gateway_site.support.loading import load_settings
from tests.support.processes import run_to_end

OURS = ("gateway_site", "oauth", "sessions_kms")
SERVERS = {"runlocal", "runserver", "serve"}  # tests of their own
PERIOD = ("--from", "2026-01-01T00:00:00Z", "--to", "2026-01-02T00:00:00Z")
ENGINE = "django.contrib.sessions.backends.db"
DATABASE, AWS, PROVIDER = "the database", "AWS", "a provider"
# Each command with arguments, and what it cannot work without.
CASES: list[tuple[str, set[str]]] = [
    ("change_client_key notes --no-input", {AWS}),
    ("check --database default", {DATABASE}),
    ("check_providers corp", {PROVIDER}),
    ("check_session_store", {AWS}),
    ("clearsessions", {AWS}),
    ("client_secret", set()),
    ("create_session_store --no-input", {AWS}),
    ("create_session_store --create-key --no-input", {AWS}),
    ("discover_upstream notes --accept --dry-run", {PROVIDER}),
    ("docs settings", set()),
    ("end_sessions --all --no-input", {AWS}),
    ("end_sessions --user 1 --deactivate --no-input", {DATABASE}),
    ("explain_call notes tools/list", set()),
    ("explain_sign_in --user 1", {DATABASE}),
    (f"exposure {' '.join(PERIOD)}", {AWS}),
    (f"import_sessions --from {ENGINE}", set()),  # its app is not installed
    ("list_clients", {AWS}),
    ("migrate --no-input --verbosity 0", {DATABASE}),
    ("pin_tools notes --no-token --file pins.json", {PROVIDER}),
    ("rewrap_sessions --no-input", {AWS}),
    ("session_store_template --format iam-policy", set()),
    ("show_settings", set()),
    ("showmigrations", {DATABASE}),
    ("staff list", {DATABASE}),
    ("verify_audit", {AWS}),
]
FINDINGS = {"check_providers", "check_session_store"}  # they print several, on stdout


def cases_of(dependency: str) -> list[str]:
    return [line for line, needs in CASES if dependency in needs]


@pytest.fixture(autouse=True)
def command_line(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(installation, "name_program", lambda: "kms-gateway")
    monkeypatch.setenv("AWS_REGION", PRODUCTION["AWS_REGION"])
    logging.disable()  # The settings of these tests are those of a server.
    yield
    logging.disable(logging.NOTSET)


def run(capsys: pytest.CaptureFixture[str], *line: str) -> tuple[int, str, str]:
    """Run a command line; any exception but SystemExit is a traceback on an operator's terminal."""
    try:
        program.run(line)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
        text = "" if isinstance(end.code, int) else f"{end.code}\n"
    else:
        status, text = 0, ""
    out, err = capsys.readouterr()
    return status, out, err + text


@contextlib.contextmanager
def database(settings: dict[str, Any]) -> Iterator[None]:
    usual = connections["default"]
    connections["default"] = tried = ConnectionHandler({"default": settings})["default"]
    try:
        yield
    finally:
        tried.close()
        connections["default"] = usual


@contextlib.contextmanager
def listening(*, is_silent: bool) -> Iterator[int]:
    """Yield a port that accepts connections and never responds, or one that refuses them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        if is_silent:
            yield port
    if not is_silent:
        yield port


@contextlib.contextmanager
def postgresql(*, is_silent: bool) -> Iterator[None]:
    with listening(is_silent=is_silent) as port:
        url = f"postgres://gateway:hunter2@127.0.0.1:{port}/gateway?connect_timeout=2"
        settings = parse_database_url(url)
        settings["OPTIONS"]["pool"] |= {"timeout": 0.5, "reconnect_timeout": 0.2}
        with database(settings):
            yield


@contextlib.contextmanager
def sqlite(name: str) -> Iterator[None]:
    with database(parse_database_url(f"sqlite:///{name}")):
        yield


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A database that another process does not let go."""
    other = sqlite3.connect(folder / "locked.sqlite3")
    other.execute("BEGIN EXCLUSIVE")
    settings = parse_database_url(f"sqlite:///{folder}/locked.sqlite3")
    with contextlib.closing(other), database(settings | {"OPTIONS": {"timeout": 0.01}}):
        yield


DATABASES: dict[str, tuple[str, Callable[[Path], contextlib.AbstractContextManager[None]]]] = {
    "refuses": ("Connection refused", lambda _: postgresql(is_silent=False)),
    "silent": ("timeout", lambda _: postgresql(is_silent=True)),
    "no folder": ("Create its folder", lambda folder: sqlite(f"{folder}/none/db.sqlite3")),
    "locked": ("Another process holds", locked),
    "not set": ("DATABASE_URL", lambda _: database(dict(NO_DATABASE))),
}


def assert_explained(found: tuple[int, str, str], line: str, text: str) -> None:
    """Assert that a command fails with one sentence that has this text."""
    status, out, err = found
    assert_ended(found, line)
    assert status, line
    sentences = [each for each in err.splitlines() if each and "System check" not in each]
    assert re.search(text, out + err), (line, out, err)
    if line.partition(" ")[0] not in FINDINGS:
        assert len([each for each in sentences if each != "ERRORS:"]) == 1, (line, err)
        assert re.search(r"[.?`)]$", sentences[-1]), err


def assert_ended(found: tuple[int, str, str], line: str) -> None:
    _, out, err = found
    assert "Traceback" not in out + err, line
    assert "hunter2" not in out + err, line


def test_every_command_is_tried() -> None:
    ours = {name for name, app in get_commands().items() if str(app).startswith(OURS)}
    assert ours - SERVERS <= {line.partition(" ")[0] for line, _ in CASES}


@pytest.mark.parametrize(
    "state",
    [pytest.param(each, marks=pytest.mark.slow if each == "silent" else ()) for each in DATABASES],
)
@pytest.mark.parametrize("line", cases_of(DATABASE))
def test_unusable_database_is_one_sentence(
    state: str,
    line: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    django_db_blocker: Any,
) -> None:
    text, unusable = DATABASES[state]
    with django_db_blocker.unblock(), unusable(tmp_path):
        found = run(capsys, *line.split())
    assert_explained(found, line, text)


@pytest.mark.parametrize("command", ["exposure", "verify_audit"])
def test_invalid_time_is_a_wrong_argument(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, command, "--since", "yesterday", *PERIOD)
    assert status == 2
    assert err.splitlines()[-1].endswith(
        "argument --since: 'yesterday' is not a time with its zone, such as 2026-01-31T12:00:00Z"
    )


def test_folder_that_cannot_be_created_is_one_sentence(
    capsys: pytest.CaptureFixture[str], settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    settings.STATIC_ROOT = tmp_path / "file" / "static"
    status, _, err = run(capsys, "collectstatic", "--no-input")
    assert status == 1
    assert err == (
        f"CommandError: {settings.STATIC_ROOT} cannot be used: Not a directory. Name another: a"
        " part of its path is a file.\n"
    )


def test_table_that_is_missing_has_a_command_as_its_remedy(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, django_db_blocker: Any
) -> None:
    with django_db_blocker.unblock(), sqlite(f"{tmp_path}/empty.sqlite3"):
        status, _, err = run(capsys, "staff", "list")
    assert status == 1
    assert "no such table: auth_user" in err
    assert err.endswith(" migrate`.\n")


def test_unknown_error_and_the_option_traceback_raise(
    tmp_path: Path, django_db_blocker: Any
) -> None:
    with (
        django_db_blocker.unblock(),
        sqlite(f"{tmp_path}/none/db.sqlite3"),
        pytest.raises(OperationalError),
    ):
        program.run(["showmigrations", "--traceback"])
    assert known_errors.explain(ValueError("a fault of the program")) is None
    assert known_errors.explain(IntegrityError("a fault of the program")) is None


def test_missing_right_or_schema_of_the_database_is_one_sentence() -> None:
    rejected = ProgrammingError("permission denied for schema public\nLINE 1: CREATE TABLE …")
    rejected.__cause__ = psycopg.errors.InsufficientPrivilege()
    missing = MigrationSchemaMissing("Unable to create the django_migrations table")
    missing.__context__ = rejected
    for error in (rejected, missing):
        assert known_errors.explain(error) == (
            "The database rejects its user: permission denied for schema public. Grant this user"
            " the right."
        )


def test_error_of_aws_shows_no_credentials_and_has_a_remedy() -> None:
    url = "http://user:hunter2@127.0.0.1:9/"
    cause = EndpointConnectionError(endpoint_url=url)
    error = TableUnavailable()
    error.__cause__ = cause
    for each in (cause, error, CommandError(str(cause))):
        assert "http://***@127.0.0.1:9/" in str(known_errors.explain(each))
    assert "AWS_ENDPOINT_URL" in str(known_errors.explain(cause))
    error.__cause__ = CircuitOpen()
    assert "()" not in str(known_errors.explain(error))


@pytest.mark.parametrize("error", [ConnectionRefusedError(111, "refused"), TimeoutError("late")])
def test_server_of_another_command_that_cannot_be_reached_is_one_sentence(error: OSError) -> None:
    found = str(known_errors.explain(error))
    assert found.startswith("A server that this command needs cannot be reached: ")


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["check_providers corp", "discover_upstream notes --accept --dry-run"]
)
def test_error_that_ends_a_command_is_not_logged_as_well(command: str) -> None:
    with listening(is_silent=False) as port:
        variables = {
            "PATH": os.environ["PATH"],
            "OAUTH_CORP_ISSUER": f"http://127.0.0.1:{port}",
            "UPSTREAM_NOTES_MCP": f"http://127.0.0.1:{port}/mcp",
        }
        program_line = [sys.executable, "-m", "gateway_site", *command.split()]
        done = run_to_end(program_line, PRODUCTION | variables)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if "oauth." in line]
    assert lines == []
    assert "reached" in done.stdout + done.stderr


@pytest.mark.slow
def test_settings_that_do_not_exist_are_one_sentence() -> None:
    env = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "nowhere.settings"}
    done = run_to_end([sys.executable, "-m", "gateway_site", "staff", "list"], env)
    assert done.returncode == 1
    assert done.stderr == (
        "ImproperlyConfigured: There is no module nowhere.settings, which --settings or"
        " DJANGO_SETTINGS_MODULE names. The gateway's is gateway_site.settings.\n"
    )


@pytest.mark.django_db
def test_upstream_that_nobody_connects_is_not_discovered(
    capsys: pytest.CaptureFixture[str], settings: Settings
) -> None:
    variables = {"UPSTREAM_API_URL": "https://api.example.com", "UPSTREAM_API_PROVIDER": "corp"}
    loaded = load_settings(PRODUCTION | variables)
    settings.UPSTREAMS, settings.OAUTH_PROVIDERS = loaded["UPSTREAMS"], loaded["OAUTH_PROVIDERS"]
    status, _, err = run(capsys, "discover_upstream", "api")
    assert status == 2
    assert err.endswith("set UPSTREAM_API_MCP in place of UPSTREAM_API_URL.\n")


@pytest.mark.slow
def test_command_of_its_own_process_logs_no_attempts_to_connect() -> None:
    with listening(is_silent=False) as port:
        env = {
            **PRODUCTION,
            "PATH": os.environ["PATH"],
            "DATABASE_URL": f"postgres://gateway:hunter2@127.0.0.1:{port}/gateway",
        }
        done = run_to_end([sys.executable, "-m", "gateway_site", "staff", "list"], env)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("CommandError: ")  # below warnings of checks
    assert done.stderr.lower().count("connection refused") == 1
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    ("line", "end"),
    [
        ("check_providers --jsno", ": --jsno. Did you mean --json?"),
        ("check_providers --xyz=--json", ": --xyz=--json"),
        ("docs --hlp", ": --hlp. Did you mean --help?"),
        ("runlocal --provider-prt 1", ": --provider-prt 1. Did you mean --provider-port?"),
        ("runserver --norelod", ": --norelod. Did you mean --noreload?"),
        ("show_settings --st", ": --st. Did you mean --set?"),
        ("staff list --jsno", ": --jsno. Did you mean --json?"),
        ("end_sessions", " end_sessions --help` explains them."),
        ("staff grant --provider corp", " staff grant --help` explains them."),
        ("explain_sign_in", " explain_sign_in --help` explains them."),
    ],
)
def test_misspelled_or_missing_option_gets_a_suggestion(
    line: str, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run(capsys, *line.split())
    assert status == 2
    assert err.rstrip("\n").endswith(end)
    assert ("usage: " in err) is ("explains them" not in end)


def test_missing_region_has_its_variable_as_a_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise NoRegionError

    monkeypatch.setattr(clients, "control_client", fail)
    status, _, err = run(capsys, "create_session_store", "--no-input")
    assert status == 1
    assert err.endswith("Set REGION_NAME in SESSIONS_KMS, or the variable AWS_REGION.\n")


class Rejecting(BaseHTTPRequestHandler):
    """DynamoDB and KMS without the table and the key, and a web server without any page."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        is_kms = self.headers.get("X-Amz-Target", "").startswith("TrentService")
        kind = "NotFoundException" if is_kms else "ResourceNotFoundException"
        self._response(400, json.dumps({"__type": f"com.amazonaws#{kind}", "message": "not found"}))

    def do_GET(self) -> None:
        self._response(404, "")

    def _response(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        """Write no log."""


@contextlib.contextmanager
def rejecting() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Rejecting) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


PORTS: dict[str, Callable[[], contextlib.AbstractContextManager[int]]] = {
    "refuses": lambda: listening(is_silent=False),
    "missing": rejecting,
    "silent": lambda: listening(is_silent=True),
}


@pytest.fixture
def declare(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., None]]:
    """Yield what declares a provider, an MCP server, a former key and an audit log."""

    def declare_at(*, provider: int, aws: int) -> None:
        variables = {
            "OAUTH_CORP_ISSUER": f"http://127.0.0.1:{provider}",
            "UPSTREAM_NOTES_MCP": f"http://127.0.0.1:{provider}/mcp",
            "DECRYPT_KEY_ARNS": PRODUCTION["KMS_KEY_ARN"].replace("key/1", "key/2"),
        }
        others = ("OAUTH_GOOGLE_", "OAUTH_GITHUB_")  # they are elsewhere
        own = {name: each for name, each in PRODUCTION.items() if not name.startswith(others)}
        loaded = load_settings(own | variables)
        for name in ("SOCIALACCOUNT_PROVIDERS", "OAUTH_MCP_SERVERS", "UPSTREAMS", "SESSIONS_KMS"):
            setattr(settings, name, loaded[name])
        machine = Machine(tmp_path / "audit.jsonl")
        machine.process("a").end()
        settings.AUDIT_FILE = machine.path
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{aws}")
        services.reset()

    yield declare_at
    services.reset()


def is_quick(line: str, state: str) -> bool:
    return state == "missing" and line in {"check_providers corp", "clearsessions"}


def states_of(dependency: str) -> list[Any]:
    """Return each state with each command; a few are not `long`."""
    return [
        pytest.param(state, line, marks=() if is_quick(line, state) else pytest.mark.long)
        for state in PORTS
        for line in cases_of(dependency)
    ]


@pytest.mark.django_db
@pytest.mark.parametrize(("state", "line"), states_of(AWS))
def test_unusable_aws_is_one_sentence(
    state: str, line: str, capsys: pytest.CaptureFixture[str], declare: Callable[..., None]
) -> None:
    with PORTS[state]() as port, listening(is_silent=False) as closed:
        declare(provider=closed, aws=port)
        found = run(capsys, *line.split())
    assert_explained(found, line, "AWS call failed|cannot be used at the moment|FAIL table")


@pytest.mark.django_db
@pytest.mark.parametrize(("state", "line"), states_of(PROVIDER))
def test_unusable_provider_is_one_sentence(
    state: str, line: str, capsys: pytest.CaptureFixture[str], declare: Callable[..., None]
) -> None:
    with PORTS[state]() as port, listening(is_silent=False) as closed:
        declare(provider=port, aws=closed)
        found = run(capsys, *line.split())
    assert_explained(found, line, "cannot be reached|answer|404|FAIL metadata|has no metadata")


@pytest.mark.long
@pytest.mark.django_db
@pytest.mark.parametrize("state", [*DATABASES, *PORTS])
def test_no_command_has_a_traceback_while_another_dependency_is_down(
    state: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], declare: Callable[..., None]
) -> None:
    with contextlib.ExitStack() as down:
        closed = down.enter_context(listening(is_silent=False))
        port = down.enter_context(PORTS[state]()) if state in PORTS else closed
        declare(provider=port, aws=closed)
        if state in DATABASES:
            down.enter_context(DATABASES[state][1](tmp_path))
        for line, needs in CASES:
            if AWS not in needs:
                assert_ended(run(capsys, *line.split()), line)
