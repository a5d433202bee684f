"""`make` before anything is installed, and its messages on failures."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.interop.canaille_provider import CanailleProvider
from tests.support.catalogs import load_script
from tests.support.processes import run_to_end

MAKE = shutil.which("make")
ENVIRONMENT = load_script(ROOT / "packaging/environment.py")
needs_make = pytest.mark.skipif(MAKE is None, reason="NO MAKE: install it")


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def requirements(tmp_path: Path) -> str:
    path = tmp_path / "local.txt"
    path.write_text(f"nothing==1 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def no_uv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/empty:/usr/bin:/bin")


@needs_make
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_of_make_run_installs_nothing(tmp_path: Path, option: str) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    command = [str(MAKE), "run", f"ARGS={option}", f"PYTHON={sys.executable} -S"]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = run_to_end(command, env, cwd=tmp_path, is_fresh=True)
    assert done.returncode == 0, done.stderr
    assert "--provider-port" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["Makefile"]


@needs_make
@pytest.mark.parametrize(
    ("target", "options", "is_installed"),
    [
        ("interop", "", True),
        ("interop", "-k canaille", True),
        ("interop", "--without=oidc-provider", True),
        ("interop", "--without=canaille", True),
        ("interop", "--without=fastmcp", True),
        ("interop", "--without=canaille --without=fastmcp", False),
        ("interop", "-x --without canaille --without fastmcp", False),
        ("mcp-clients", "--without='Claude Code'", True),
        ("mcp-clients", "--without=fastmcp", False),
    ],
)
def test_tools_that_are_not_left_out_must_be_installed(
    tmp_path: Path, target: str, options: str, *, is_installed: bool
) -> None:
    """`make` fails without running anything if a tool is missing."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "env").mkdir()
    (tmp_path / "requirements").mkdir()
    for name in ("dev", "interop", "clients"):
        (tmp_path / f"requirements/{name}.txt").touch()
    (tmp_path / "env/.dev-installed").touch()
    script(tmp_path / "bin/npm", "exit 0")
    script(tmp_path / "env/bin/python", 'echo "TRIED"')
    command = [str(MAKE), target, f"ARGS={options}", "VENV=env", "PYTHON=false"]
    env = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    done = run_to_end(command, env, cwd=tmp_path, is_fresh=True)
    assert (done.returncode != 0, "TRIED\n" not in done.stdout) == (is_installed, is_installed)


def test_provider_that_is_missing_fails_its_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CANAILLE_PYTHON", raising=False)
    provider = CanailleProvider("http://127.0.0.1:1")
    outcomes = (pytest.fail.Exception, pytest.skip.Exception)
    with pytest.raises(outcomes) as raised, provider.running(tmp_path / "log"):
        pass
    assert raised.type is pytest.fail.Exception
    assert "--without=canaille" in str(raised.value)


@pytest.mark.slow
def test_every_fixture_of_the_providers_tests_exists() -> None:
    """They only run on demand, so nobody would notice that a fixture was moved."""
    command = [sys.executable, "-m", "pytest", "--setup-plan", "tests/interop"]
    done = run_to_end(command, os.environ | {"INTEROP": "1"})
    assert "test_sign_out_leaves_the_provider_too_in_a_browser" in done.stdout
    # `--setup-plan` runs no test; an error has another exit code.
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout


def test_uv_installs_where_it_is_on_the_path(
    tmp_path: Path, requirements: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path / "bin/uv", f'echo "$@" >> {tmp_path}/asked')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    folder = tmp_path / "environment"
    assert ENVIRONMENT.main(str(folder), requirements) == 0
    made, installed = (tmp_path / "asked").read_text("utf-8").splitlines()
    assert made == f"venv --quiet --seed --python {sys.executable} {folder}"
    assert installed.endswith(f"--python {folder}/bin/python --require-hashes -r {requirements}")


@pytest.mark.parametrize("uv", ["exit 1", None], ids=["uv fails", "no uv"])
def test_pip_installs_where_uv_does_not(
    tmp_path: Path,
    requirements: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    uv: str | None,
) -> None:
    if uv:
        script(tmp_path / "bin/uv", uv)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    script(tmp_path / "environment/bin/python", f'echo "$@" >> {tmp_path}/asked')
    assert ENVIRONMENT.main(str(tmp_path / "environment"), requirements) == 0
    [asked] = (tmp_path / "asked").read_text("utf-8").splitlines()
    assert asked.startswith("-m pip install")
    assert asked.endswith(f"--require-hashes -r {requirements}")
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.usefixtures("no_uv")
def test_unreachable_index_is_reported_in_one_sentence(
    tmp_path: Path,
    requirements: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the real pip, which prints a dozen lines."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    script(tmp_path / "environment/bin/python", f'exec {sys.executable} "$@"')
    assert ENVIRONMENT.main(str(tmp_path / "environment"), requirements) == 1
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith("The package index cannot be reached: ")


@pytest.mark.usefixtures("no_uv")
@pytest.mark.parametrize(
    "failure",
    [
        ("OSError: [Errno 28] No space left on device: '/x'", "The disk is full: "),
        (
            "The virtual environment was not created: ensurepip is not available.",
            "Python's module venv",
        ),
    ],
)
def test_failed_environment_is_reported_in_one_sentence_and_removed(
    tmp_path: Path,
    requirements: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failure: tuple[str, str],
) -> None:
    (said, sentence), folder = failure, tmp_path / "environment"
    half = f'mkdir -p "$3/bin"; touch "$3/bin/python"; echo "{said}"; exit 1'
    monkeypatch.setattr(sys, "executable", str(script(tmp_path / "python", half)))
    assert ENVIRONMENT.main(str(folder), requirements) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(sentence)
    assert not folder.exists()


@pytest.mark.usefixtures("no_uv")
def test_unknown_failure_shows_the_installers_output(
    tmp_path: Path, requirements: str, capsys: pytest.CaptureFixture[str]
) -> None:
    script(tmp_path / "environment/bin/python", "echo THESE PACKAGES DO NOT MATCH; exit 1")
    assert ENVIRONMENT.main(str(tmp_path / "environment"), requirements) == 1
    assert capsys.readouterr().err.splitlines() == [
        "THESE PACKAGES DO NOT MATCH",
        ENVIRONMENT.FAILED,
    ]


@pytest.mark.usefixtures("no_uv")
def test_interrupted_installation_is_reported_in_one_sentence(
    tmp_path: Path, requirements: str
) -> None:
    script(tmp_path / "environment/bin/python", "kill -INT $PPID; exec sleep 5")
    # A background job of a shell, as in some CI, ignores Ctrl-C.
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    install = "sys.exit(environment.main(*sys.argv[1:]))"
    code = f"import signal, sys; {heard}; sys.path[0] = 'packaging'; import environment; {install}"
    command = [sys.executable, "-c", code, str(tmp_path / "environment"), requirements]
    done = run_to_end(command, is_fresh=True)
    assert done.returncode == 1
    assert done.stderr == f"\n{ENVIRONMENT.INTERRUPTED}\n"
