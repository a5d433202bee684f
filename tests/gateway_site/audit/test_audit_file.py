"""The file, with real processes that append to it, are killed, or find no space."""

import fcntl
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway_site.audit import audit_file
from gateway_site.audit.audit_file import AuditFile
from gateway_site.audit.verification import read_log
from tests import ROOT
from tests.gateway_site.audit.written import Machine

# Writes a chain until it is killed: many lines at once, so that many kills hit a write.
WRITER = """
import sys
from pathlib import Path
from gateway_site.audit.audit_file import AuditFile
from gateway_site.audit.chain import Chain
from gateway_site.audit.event import make_event
file, chain = AuditFile(Path(sys.argv[1])), Chain(sys.argv[2])
while True:
    lines = [chain.add(chain.link(make_event("call", 0, text="x" * 200))) for _ in range(400)]
    file.append(b"".join(lines))
    if chain.number == 400:
        print("ready", flush=True)
"""


def test_line_that_was_cut_by_another_process_is_ended_first(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"writer":"a","numb')
    AuditFile(path).append(b"one\n")
    assert path.read_bytes() == b'{"writer":"a","numb\none\n'


def test_renamed_and_removed_files_are_left_at_once(tmp_path: Path) -> None:
    path, file = tmp_path / "audit.jsonl", AuditFile(tmp_path / "audit.jsonl")
    file.append(b"1\n")
    path.rename(tmp_path / "audit.jsonl.1")
    file.append(b"2\n")
    path.unlink()
    file.append(b"3\n")
    path.rename(tmp_path / "audit.jsonl.2")
    path.write_bytes(b"of another process\n")
    file.append(b"4\n")
    assert (tmp_path / "audit.jsonl.1").read_bytes() == b"1\n"
    assert (tmp_path / "audit.jsonl.2").read_bytes() == b"3\n"
    assert path.read_bytes() == b"of another process\n4\n"
    assert (tmp_path / "audit.jsonl.2").stat().st_mode & 0o777 == 0o600


def test_write_without_space_leaves_no_part_of_a_line(tmp_path: Path) -> None:
    path, file = tmp_path / "audit.jsonl", AuditFile(tmp_path / "audit.jsonl")
    file.append(b"a" * 900 + b"\n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            file.append(b"b" * 200 + b"\n")
        assert path.stat().st_size == 901
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    file.append(b"b" * 200 + b"\n")
    assert path.stat().st_size == 901 + 201


def test_stopped_process_that_holds_the_lock_delays_others_briefly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_file, "LOCK_TIME", 0)
    path = tmp_path / "audit.jsonl"
    with path.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        AuditFile(path).append(b"1\n")
    assert path.read_bytes() == b"1\n"


@pytest.mark.parametrize("path", [os.devnull, "."])
def test_what_is_no_file_is_an_error(path: str) -> None:
    with pytest.raises(OSError, match=r"regular file|directory"):
        AuditFile(Path(path)).append(b"1\n")


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.long)])
def test_killed_process_damages_no_line_of_another(tmp_path: Path, rounds: int) -> None:
    path = tmp_path / "audit.jsonl"
    survivor = Machine(path).process("survivor")
    for number in range(rounds):
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(path), f"{number}{name}"],
                cwd=ROOT,
                stdout=subprocess.PIPE,
            )
            for name in "ab"
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            survivor.write("call", bytes=number)
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
    survivor.end()
    log = read_log([path])
    assert set(log.writers) >= {"survivor", "0a", "0b"}
    assert log.writers["survivor"].has_ended
    for writer in log.writers.values():
        assert len(writer.segments) == 1, writer.name
    assert log.damaged <= 2 * rounds
