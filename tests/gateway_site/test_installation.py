"""The gateway as it is installed: its commands, in a folder that is no checkout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.deploy_check import PRODUCTION
from tests.support.processes import free_ports, is_listening, run_to_end
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

PACKAGES = ("sessions_kms", "oauth", "gateway_site")
SCRIPT = "import sys\nfrom gateway_site.__main__ import main\nsys.exit(main())\n"
WITHOUT_DATABASE = {name: text for name, text in PRODUCTION.items() if name != "DATABASE_URL"}
REPLACED = "Another distribution, oauth, has replaced the gateway's package oauth"
# Fails at the first file that is opened for writing.
READ_ONLY = """
import os, runpy, sys

def reject(event, details):
    if event == "open" and details[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        if details[0] not in {"/dev/null", "/dev/tty"}:
            os.write(2, b"WRITTEN: " + repr(details[0]).encode())
            os._exit(99)

sys.addaudithook(reject)
sys.argv[0] = "kms-gateway"
runpy.run_module("gateway_site", run_name="__main__")
"""


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder of packages, as site-packages is one."""
    folder = tmp_path / "library"
    folder.mkdir()
    for name in PACKAGES:
        (folder / name).symlink_to(ROOT / name)
    return folder


def run(library: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in an empty folder beside the packages."""
    current = library.parent / "current"
    current.mkdir(exist_ok=True)
    basis = {"PATH": os.environ["PATH"], "PYTHONPATH": str(library)}
    env = basis | {"PYTHONDONTWRITEBYTECODE": "1"} | variables
    done = run_to_end([sys.executable, *arguments], env, cwd=current)
    assert list(current.iterdir()) == []
    return done


def script(library: Path, name: str) -> str:
    path = library.parent / name
    path.write_text(SCRIPT, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("called", ["kms-gateway", "kms-gateway.exe", "python -m gateway_site"])
def test_hints_name_the_command_as_it_was_called(library: Path, called: str) -> None:
    by_module = called == "python -m gateway_site"
    start = ["-m", "gateway_site"] if by_module else [script(library, called)]
    done = run(library, *start, "check")
    assert done.returncode == 1
    name = called.removesuffix(".exe")
    assert f"`{name} runlocal` needs no variable" in done.stderr
    assert "manage.py" not in done.stderr
    response = run(library, *start, "check_session_store")
    assert f"(`{name} check --database default`)" in response.stdout


def test_migrate_without_a_database_names_the_variable_and_makes_no_file(library: Path) -> None:
    done = run(library, "-m", "gateway_site", "migrate", "--skip-checks", **WITHOUT_DATABASE)
    assert done.returncode == 1
    assert done.stderr == (
        "ImproperlyConfigured: DATABASE_URL is missing: this needs the SQL database.\n"
    )


@pytest.mark.parametrize("more", [[], ["--database", "default"], ["--deploy"]])
def test_check_reports_the_missing_database_and_writes_nothing(
    library: Path, more: list[str]
) -> None:
    done = run(library, "-c", READ_ONLY, "check", *more, **WITHOUT_DATABASE)
    assert done.returncode == 1
    assert "(gateway_site.E001) The environment variable DATABASE_URL is missing." in done.stderr


def test_server_without_a_database_ends_with_a_sentence(library: Path) -> None:
    done = run(library, "-m", "gateway_site", "serve", "--port", "0", **WITHOUT_DATABASE)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImproperlyConfigured: These variables are missing: DATABASE_URL")
    assert "Traceback" not in done.stderr


def test_mistake_in_a_variable_is_one_sentence(library: Path) -> None:
    done = run(library, "-m", "gateway_site", "check", **{**PRODUCTION, "LOG_LEVEL": "LOUD"})
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("ImproperlyConfigured: LOG_LEVEL ")


@pytest.mark.parametrize("module", ["gateway_site", "gateway_site.server"])
def test_both_ways_of_serving_start_the_server(library: Path, module: str) -> None:
    [port] = free_ports(1)
    serve = ["serve"] if module == "gateway_site" else []
    variables = PRODUCTION | {"DATABASE_URL": f"sqlite:///{library.parent}/db.sqlite3"}
    process = subprocess.Popen(
        [sys.executable, "-m", module, *serve, "--port", str(port)],
        cwd=library.parent,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(library)} | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: process.poll() is not None or is_listening(port), "it listens")
        assert process.poll() is None
    finally:
        process.terminate()
        _, said = process.communicate(timeout=20)
    assert "Connection limits" in said  # which the gateway's own protocol logs


def test_module_in_the_current_folder_is_not_imported_by_the_server(library: Path) -> None:
    current = library.parent / "theirs"
    current.mkdir()
    (current / "uvloop.py").write_text("raise SystemExit('IMPORTED')", encoding="utf-8")
    (current / "httptools.py").write_text("raise SystemExit('IMPORTED')", encoding="utf-8")
    command = [sys.executable, script(library, "kms-gateway"), "serve", "--port", "0"]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(library)} | WITHOUT_DATABASE
    done = run_to_end(command, env, cwd=current, is_fresh=True)
    assert "IMPORTED" not in done.stderr
    assert "variables are missing: DATABASE_URL" in done.stderr


@pytest.mark.parametrize(
    "start",
    [
        ["-m", "gateway_site", "version"],
        ["-m", "gateway_site", "serve"],
        ["-c", "import gateway_site.asgi"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("theirs", ["", "import nothing_of_that_name", None])
def test_other_distribution_named_oauth_is_one_sentence(
    library: Path, start: list[str], theirs: str | None
) -> None:
    """Installed after ours it has replaced `__init__.py`; uninstalled, it has taken it away."""
    (library / "oauth").unlink()
    (library / "oauth").mkdir()
    for path in (ROOT / "oauth").iterdir():
        if path.name not in {"__init__.py", "__pycache__"}:
            (library / "oauth" / path.name).symlink_to(path)
    if theirs is not None:
        (library / "oauth" / "__init__.py").write_text(theirs, encoding="utf-8")
    done = run(library, *start, **PRODUCTION)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(REPLACED)
    assert "pip uninstall oauth" in line


@pytest.mark.parametrize(
    "program",
    [
        "import gateway_site.wsgi",
        "from django.core.servers import basehttp as http; http.get_internal_wsgi_application()",
    ],
)
def test_start_under_wsgi_fails_and_names_what_to_run(library: Path, program: str) -> None:
    settings = {"DJANGO_SETTINGS_MODULE": "gateway_site.settings"}
    done = run(library, "-c", program, **PRODUCTION, **settings)
    assert done.returncode == 1
    *_, error = done.stderr.splitlines()
    assert "ImproperlyConfigured: The gateway does not run under WSGI." in error
    assert "Run `kms-gateway serve`" in error
