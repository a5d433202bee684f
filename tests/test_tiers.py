"""The three tiers of the suite hold every test between them; a run that tests nothing fails."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.processes import run_to_end

MAKE = shutil.which("make")
NOTHING_COLLECTED = 5  # https://docs.pytest.org/en/stable/reference/exit-codes.html
SKIPPED = """
import pytest

@pytest.mark.skip(reason="nothing to test it with")
def test_one() -> None:
    raise AssertionError

@pytest.mark.long
def test_other() -> None:
    {body}
"""


@pytest.mark.skipif(MAKE is None, reason="NO MAKE: install it")
@pytest.mark.parametrize(
    ("goal", "selected"),
    [
        ("test", '-m "not slow and not long"'),
        ("test-slow", '-m "slow and not long"'),
        ("test-long", "-m long"),
    ],
)
def test_goal_selects_its_tier(goal: str, selected: str) -> None:
    assert MAKE is not None
    told = run_to_end([MAKE, "-n", goal, "ARGS="])  # not those of the `make` that runs this
    assert told.returncode == 0, told.stderr
    (command,) = [line for line in told.stdout.splitlines() if "-m pytest" in line]
    assert command.rstrip().endswith(f" {selected}")


@pytest.mark.parametrize(
    "processes",
    [
        pytest.param([], id="alone", marks=pytest.mark.slow),
        pytest.param(["--workers=1"], id="in processes", marks=pytest.mark.long),
    ],
)
def test_run_that_tests_nothing_fails(tmp_path: Path, processes: list[str]) -> None:
    path = tmp_path / "test_skipped.py"
    path.write_text(SKIPPED.format(body="pytest.skip('nor this')"), encoding="utf-8")
    assert outcome(path, "not long", *processes) == NOTHING_COLLECTED
    path.write_text(SKIPPED.format(body="pass"), encoding="utf-8")
    assert outcome(path, "long", *processes) == 0


@pytest.mark.long
def test_long_test_gets_more_time(request: pytest.FixtureRequest) -> None:
    marker = request.node.get_closest_marker("timeout")
    assert marker is not None
    assert marker.args[0] > float(request.config.getini("timeout"))


def outcome(path: Path, selected: str, *options: str) -> int:
    """Run a file of tests as those of this folder are run; return how that ended."""
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", "pyproject.toml"]
    command += ["-p", "no:cacheprovider", "-m", selected, *options, str(path)]
    return run_to_end(command, {"PATH": os.environ["PATH"]}).returncode
