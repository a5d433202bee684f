"""Every command with every dependency down: one sentence with a remedy, and no traceback."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import NoRegionError
from django.core.management import get_commands
from django.db import IntegrityError, OperationalError, connections
from django.db.utils import ConnectionHandler
from pytest_django import Settings

from gateway_site import __main__ as program
from gateway_site import installation
from gateway_site.environment.database import NO_DATABASE, parse_database_url
from sessions_kms import services
from sessions_kms.aws import clients
from sessions_kms.management import known_errors
from tests.deploy_check import PRODUCTION
from tests.support.http_server import QuietHandler, serve_handler
from tests.support.processes import run_to_end

OURS = ("gateway_site", "oauth", "sessions_kms")
SERVERS = {"runlocal", "runserver", "serve"}  # tests of their own
PERIOD = ("--from", "2026-01-01T00:00:00Z", "--to", "2026-01-02T00:00:00Z")
DATABASE, AWS = "the database", "AWS"
# Each command with arguments, and what it cannot work without.
COMMANDS: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "change_client_key": (("https://app.example.com/id",), {AWS}),
    "check": (("--database", "default"), {DATABASE}),
    "check_providers": ((), set()),
    "check_session_store": ((), {AWS}),
    "clearsessions": ((), {AWS}),
    "client_secret": ((), set()),
    "create_session_store": (("--no-input",), {AWS}),
    "discover_upstream": (("nothing",), set()),
    "docs": (("settings",), set()),
    "end_sessions": (("--user", "1", "--deactivate", "--no-input"), {DATABASE, AWS}),
    "explain_call": (("nothing", "tools/list"), set()),
    "explain_sign_in": (("--user", "1"), {DATABASE}),
    "exposure": (PERIOD, {AWS}),
    "import_sessions": (("--from", "django.contrib.sessions.backends.db"), set()),
    "list_clients": ((), {AWS}),
    "migrate": (("--no-input", "--verbosity", "0"), {DATABASE}),
    "pin_tools": (("nothing",), set()),
    "rewrap_sessions": (("--no-input",), set()),  # without a previous key
    "session_store_template": ((), set()),
    "show_settings": ((), set()),
    "showmigrations": ((), {DATABASE}),
    "staff": (("list",), {DATABASE}),
    "verify_audit": ((), {AWS}),
}


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


def assert_explained(found: tuple[int, str, str], dependency: str, command: str, text: str) -> None:
    """Assert that a command that needs a dependency fails, with a sentence that says which."""
    status, out, err = found
    assert "Traceback" not in out + err, command
    assert "hunter2" not in out + err, command
    if dependency not in COMMANDS[command][1]:
        return
    assert status, command
    # The doctor reports findings, and `check` a list of faults.
    lines = [line for line in err.splitlines() if line and "System check" not in line]
    if command != "check_session_store":
        assert len([line for line in lines if line != "ERRORS:"]) == 1, (command, err)
    assert text in out + err, (command, out, err)


def test_every_command_is_tried() -> None:
    ours = {name for name, app in get_commands().items() if str(app).startswith(OURS)}
    assert ours - SERVERS <= COMMANDS.keys()


@pytest.mark.parametrize("state", DATABASES)
@pytest.mark.parametrize(
    "command", [each for each, (_, needs) in COMMANDS.items() if DATABASE in needs]
)
def test_unusable_database_is_one_sentence(
    state: str,
    command: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    django_db_blocker: Any,
) -> None:
    text, unusable = DATABASES[state]
    with django_db_blocker.unblock(), unusable(tmp_path):
        found = run(capsys, command, *COMMANDS[command][0])
    assert_explained(found, DATABASE, command, text)


@pytest.mark.parametrize("command", ["exposure", "verify_audit"])
def test_invalid_time_is_a_wrong_argument(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, command, "--since", "yesterday", *COMMANDS[command][0])
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
    ("option", "end"),
    [("--jsno", ": --jsno. Did you mean --json?"), ("--xyz=--json", ": --xyz=--json")],
)
def test_misspelled_option_gets_a_suggestion(
    option: str, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run(capsys, "check_providers", option)
    assert status == 2
    assert err.rstrip("\n").endswith(end)


def test_missing_region_has_its_variable_as_a_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise NoRegionError

    monkeypatch.setattr(clients, "control_client", fail)
    status, _, err = run(capsys, "create_session_store", "--no-input")
    assert status == 1
    assert err.endswith("Set REGION_NAME in SESSIONS_KMS, or the variable AWS_REGION.\n")


class Rejecting(QuietHandler):
    """DynamoDB and KMS without the table and the key."""

    def do_POST(self) -> None:
        self.read_body()
        is_kms = self.headers["X-Amz-Target"].startswith("TrentService")
        kind = "NotFoundException" if is_kms else "ResourceNotFoundException"
        body = json.dumps({"__type": f"com.amazonaws#{kind}", "message": "not found"}).encode()
        self.respond(400, body, "application/x-amz-json-1.0")


@contextlib.contextmanager
def without_table() -> Iterator[int]:
    with serve_handler(Rejecting) as address:
        yield int(address.rpartition(":")[2])


AWS_STATES: dict[str, Callable[[], contextlib.AbstractContextManager[int]]] = {
    "refuses": lambda: listening(is_silent=False),
    "missing": without_table,
    "silent": lambda: listening(is_silent=True),
}


@pytest.mark.long
@pytest.mark.django_db
@pytest.mark.parametrize("state", AWS_STATES)
@pytest.mark.parametrize("command", [each for each, (_, needs) in COMMANDS.items() if AWS in needs])
def test_unusable_aws_is_one_sentence(
    state: str, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if (command, state) == ("create_session_store", "silent"):
        pytest.skip("it waits three minutes, since creating a key is not idempotent")
    with AWS_STATES[state]() as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        services.reset()
        found = run(capsys, command, *COMMANDS[command][0])
    assert_explained(found, AWS, command, "")
