"""Logs that were written by made-up processes, with KMS and the table in memory."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway_site.audit.audit_file import AuditFile
from gateway_site.audit.chain import Chain, digest_of
from gateway_site.audit.checkpoint import Checkpoints
from gateway_site.audit.event import STARTED, make_event
from gateway_site.audit.file_writer import FileSink
from gateway_site.audit.verification import (
    Fault,
    find_faults,
    find_faults_by_aws,
    read_log,
    read_stored,
)
from sessions_kms.operations.audit_writers import AuditWriters
from sessions_kms.testing.kms import MemoryKMS
from tests.sessions_kms.support.stacks import FAKE_KEY, fake_stack
from tests.support.clock import FakeClock

START = 1_700_000_000.0


@dataclass
class Machine:
    """One machine's file, and the KMS and table that it shares with others."""

    path: Path
    clock: FakeClock = field(default_factory=lambda: FakeClock(START))

    def __post_init__(self) -> None:
        self.stack = fake_stack(self.clock)
        made = self.stack.services
        config = replace(made.config, audit_key_id=FAKE_KEY)
        self.aws = AuditWriters(replace(made, config=config), MemoryKMS())

    def process(self, name: str) -> Process:
        return Process(self, name)

    def faults(self, *paths: Path, since: float | None = None, offline: bool = False) -> list[str]:
        """Return what verification finds, without its order."""
        stored = {} if offline else read_stored(self.aws)
        log = read_log(paths or [self.path])
        found: list[Fault] = list(find_faults(log, since=since))
        if not offline:
            found += find_faults_by_aws(log, stored, self.aws, since)
        return [f"{each.writer}: {each.sentence}" for each in found]


class Process:
    """A process that writes; it begins with its first event and a checkpoint."""

    def __init__(self, machine: Machine, name: str, *, is_started: bool = True) -> None:
        self.machine = machine
        chain = Chain(name)
        clock = machine.clock
        checkpoints = Checkpoints(chain, "django", lambda: machine.aws, clock)
        self.sink = FileSink(AuditFile(machine.path), chain, checkpoints, clock)
        if is_started:
            self.write(STARTED)
            self.checkpoint()

    @staticmethod
    def append(machine: Machine, writer: str, event: str) -> bytes:
        """Append the next line of a writer, as anybody can; return it."""
        lines = machine.path.read_bytes().splitlines()
        last = [each for each in lines if f'"writer":"{writer}"'.encode() in each][-1]
        chain = Chain(writer)
        chain.number, chain.digest = json.loads(last)["number"], digest_of(last)
        line = chain.link(make_event(event, machine.clock()))
        machine.path.write_bytes(machine.path.read_bytes() + line + b"\n")
        return line

    def write(self, event: str, **fields: Any) -> None:
        assert self.sink.write([make_event(event, self.machine.clock(), **fields)])

    def checkpoint(self) -> None:
        assert self.sink._checkpoint(is_last=False)

    def end(self) -> None:
        self.sink.close()
