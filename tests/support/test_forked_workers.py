"""Forks run each test once, and pytest shows of them what it shows of one process."""

import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import run_to_end
from tests.support.shares import Shares
from tests.support.waiting import wait_until

COMMAND = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", "pyproject.toml"]
OUTCOMES = """
import os
import time
import warnings

import pytest


@pytest.fixture
def broken_before():
    raise ValueError("before")


@pytest.fixture
def broken_after():
    yield
    print("what a fixture printed in the end")
    raise ValueError("after")


@pytest.mark.parametrize("number", range(40))
def test_has_a_folder_of_its_own(number, tmp_path):  # whose name is cut before the number
    assert not (tmp_path / "own").exists()
    (tmp_path / "own").touch()
    for _ in range(3):
        os.write(1, f"number {number} of {tmp_path.parent}\\n".encode())
        time.sleep(0.001)


def test_fails():
    print("what it printed")
    os.write(2, b"what it wrote")
    raise AssertionError


def test_is_skipped():
    pytest.skip("for a reason")


@pytest.mark.xfail(reason="known")
def test_is_expected_to_fail():
    raise AssertionError


def test_has_an_error_before(broken_before):
    pass


def test_has_an_error_after(broken_after):
    pass


@pytest.mark.filterwarnings("always::UserWarning")
def test_warns():
    warnings.warn("look at this")


@pytest.mark.timeout(0.1)
def test_hangs():
    time.sleep(60)


def test_has_parts(subtests):
    for part in range(3):
        with subtests.test(f"part {part}"):
            assert part != 1
"""
DIES = """
import os
import signal

import pytest


@pytest.mark.parametrize("number", range(20))
def test_passes(number):
    pass


@pytest.mark.parametrize("end", [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: os._exit(3)])
def test_dies(end):
    end()
"""
ENDS = """
import sys
import weakref

import pytest


class Unclosed:
    def __init__(self):
        self.itself = self

    def __del__(self):
        raise ValueError


@pytest.mark.parametrize("number", range(6))
def test_example(number, request):
    if number == 2:
        {last}
"""
WAITS = """
import os
import time
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def kept():
    yield
    Path("{folder}", f"over-{{os.getpid()}}").touch()


@pytest.mark.parametrize("number", range(1000))
def test_waits(number, kept):
    Path("{folder}", f"ran-{{os.getpid()}}").touch()
    time.sleep(0.05)
"""


@pytest.mark.parametrize("seed", range(30))
def test_each_test_runs_once_and_after_the_one_that_announced_it(seed: int) -> None:
    randomly = random.Random(seed)  # noqa: S311 - so that a failure can be repeated
    tests, workers = randomly.choice([1, 7, 50, 200]), randomly.randrange(1, 5)
    shares, ran, announced = Shares(tests, workers), list[int](), dict[int, int | None]()
    busy = list(range(workers))
    speed = [randomly.choice([1, 20]) for _ in busy]
    while busy:
        worker = randomly.choices(busy, [speed[each] for each in busy])[0]
        taken = shares.advance(worker)
        if taken is None:
            assert announced.get(worker) is None
            busy.remove(worker)
            continue
        assert announced.get(worker, taken[0]) == taken[0]
        announced[worker] = taken[1]
        ran.append(taken[0])
    assert sorted(ran) == list(range(tests))


def test_no_worker_begins_a_test_after_the_end_was_ordered() -> None:
    shares = Shares(100, 3)
    assert [shares.advance(each) for each in range(3)] == [(0, 1), (33, 34), (66, 67)]
    shares.clear()
    assert [shares.advance(each) for each in range(3)] == [None, None, None]


def test_worker_without_tests_takes_those_of_another_but_not_its_next() -> None:
    shares, ran = Shares(100, 2), list[int]()
    assert shares.advance(1) == (50, 51)
    while taken := shares.advance(0):
        ran.append(taken[0])
    assert sorted(ran) == [*range(50), *range(52, 100)]
    assert shares.advance(1) == (51, None)


def result_of(folder: Path, content: str, *options: str) -> tuple[list[str], str]:
    """Run a file of tests; return the summary without times, sorted, and all that was printed."""
    path = folder / "test_example.py"
    path.write_text(content, encoding="utf-8")
    command = [*COMMAND, "-p", "no:cacheprovider", "-rA", *options, str(path)]
    told = run_to_end(command, {"PATH": os.environ["PATH"]}).stdout
    assert "INTERNALERROR" not in told
    summary = told.partition("short test summary info")[2]
    return sorted(re.sub(r" in [\d.]+s.*|=", "", line) for line in summary.splitlines()), told


@pytest.mark.slow
def test_results_of_workers_are_those_of_one_process(tmp_path: Path) -> None:
    (alone, _), (shared, told) = (
        result_of(tmp_path, OUTCOMES, f"--workers={workers}") for workers in (0, 3)
    )
    assert shared == alone
    assert any("2 errors" in line and "1 warning" in line for line in alone)
    for words in (
        "what it printed",
        "what it wrote",
        "in the end",
        "look at this",
        "Timeout (>0.1s)",
    ):
        assert words in told
    written = re.findall(r"\[(\d+)\] _+\n-+ Captured stdout call -+\n((?:number .+\n)+)", told)
    folders = {line.split(" of ")[1] for _, lines in written for line in lines.splitlines()}
    assert len(folders) == 1
    assert [lines.count(f"number {number} of") for number, lines in written] == [3] * 40


@pytest.mark.slow
def test_worker_that_dies_is_replaced_and_its_test_has_failed(tmp_path: Path) -> None:
    summary, told = result_of(tmp_path, DIES, "--workers=2")
    assert any("2 failed, 20 passed" in line for line in summary)
    assert "ended with signal 9." in told
    assert "ended with exit code 3." in told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("last", "status"),
    [
        ("raise KeyboardInterrupt", pytest.ExitCode.INTERRUPTED),
        ("pytest.exit('')", pytest.ExitCode.INTERRUPTED),
        ("request.session.shouldfail = 'enough'", pytest.ExitCode.TESTS_FAILED),
        ("sys.unclosed = weakref.ref(Unclosed())", pytest.ExitCode.TESTS_FAILED),
    ],
)
def test_run_that_ends_early_or_leaves_errors_fails(
    last: str, status: pytest.ExitCode, tmp_path: Path
) -> None:
    path = tmp_path / "test_example.py"
    path.write_text(ENDS.format(last=last), encoding="utf-8")
    command = [*COMMAND, "-p", "no:cacheprovider", "-p", "no:randomly", "--workers=2", str(path)]
    assert run_to_end(command, {"PATH": os.environ["PATH"]}).returncode == status


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_their_fixtures_when_the_run_is_stopped(number: int, tmp_path: Path) -> None:
    path = tmp_path / "test_example.py"
    path.write_text(WAITS.format(folder=tmp_path), encoding="utf-8")
    command = [*COMMAND, "-p", "no:cacheprovider", "--workers=2", str(path)]
    printed = tmp_path / "printed"
    with (
        printed.open("w") as file,
        subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT) as run,
    ):
        wait_until(lambda: len(list(tmp_path.glob("ran-*"))) == 2, "both run tests")
        run.send_signal(number)
    wait_until(lambda: len(list(tmp_path.glob("over-*"))) == 2, "both end their fixture")
    assert "Traceback" not in printed.read_text("utf-8")
