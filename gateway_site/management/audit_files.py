"""What the commands that read an audit log share: its files, and the report about them."""

import zlib
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from gateway_site.audit.event import parse_time
from gateway_site.audit.verification import (
    AuditLog,
    Fault,
    WriterLog,
    find_faults,
    find_faults_by_aws,
    find_files,
    read_log,
    read_stored,
)
from sessions_kms.management.base import OperatorCommand
from sessions_kms.management.known_errors import explain
from sessions_kms.operations.audit_writers import AuditWriters
from sessions_kms.services import services

UNREADABLE = (OSError, EOFError, zlib.error)  # a file, and one that is compressed


@dataclass(frozen=True)
class Report:
    """What was found in the files of a log."""

    files: list[Path]
    log: AuditLog
    faults: list[Fault]

    @property
    def is_intact(self) -> bool:
        """Whether nothing is missing or changed, as far as can be seen."""
        return not self.faults

    def lines(self) -> Iterator[str]:
        """Yield the report for people, without what a file could do to their terminal."""
        return map(_escape, self._lines())

    def _lines(self) -> Iterator[str]:
        yield from (f"FAIL {each.writer}: {each.sentence}" for each in self.faults)
        for name, writer in sorted(self.log.writers.items()):
            yield f"{'  ' if self.is_intact else ''}{name}: {describe(writer)}"
        if self.log.damaged:
            yield (
                f"{self.log.damaged} lines were cut. That alone is no fault: a"
                " process was killed while it wrote."
            )

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "intact": self.is_intact,
            "files": [str(each) for each in self.files],
            "damaged_lines": self.log.damaged,
            "faults": [{"writer": each.writer, "fault": each.sentence} for each in self.faults],
            "writers": {name: _as_json(each) for name, each in sorted(self.log.writers.items())},
        }


class AuditCommand(OperatorCommand):
    """A command that reads the files of an audit log and verifies them."""

    requires_system_checks = ()
    changes = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "files",
            nargs="*",
            type=Path,
            help="the files of all processes, in any order, also as .gz (default: AUDIT_FILE and"
            " those rotated beside it)",
        )
        parser.add_argument(
            "--since",
            type=parse_moment,
            metavar="TIME",
            help="older files are not kept: what was written before this time may be missing",
        )
        parser.add_argument(
            "--former-key",
            action="append",
            default=[],
            metavar="ARN",
            help="an HMAC key that signed before AUDIT_KEY_ARN; can be repeated",
        )
        parser.add_argument(
            "--offline",
            action="store_true",
            help="compare the files only with each other, not with KMS and the table",
        )

    def report(self, options: dict[str, Any]) -> Report:
        """Read and verify the files. Raises CommandError where there are none."""
        keys = options["former_key"]
        aws = None if options["offline"] else AuditWriters(services(), former_keys=keys)
        stored = {} if aws is None else read_stored(aws)  # first: processes go on writing
        files = self._find(options["files"])
        try:
            log = read_log(files)
        except UNREADABLE as error:
            found = explain(error) or error
            raise CommandError(f"Could not read the audit log: {found}") from error
        if not log.writers:
            raise CommandError("These files have no events: nothing can be said about that time.")
        since = options["since"]
        faults = list(find_faults(log, since=since))
        if aws is not None:
            faults += find_faults_by_aws(log, stored, aws, since)
        return Report(files, log, faults)

    def _find(self, named: list[Path]) -> list[Path]:
        for each in named:
            # A pipe can be read once only, and might never end.
            if each.exists() and not each.is_file():
                raise CommandError(f"{each} is not a file.")
        if named:
            return named
        if settings.AUDIT_FILE is None:
            raise CommandError(
                "There is no audit log: AUDIT_FILE is not set, and no files are named. Nothing can"
                " be said about what was not recorded."
            )
        found = find_files(settings.AUDIT_FILE)
        if not found:
            raise CommandError(f"There is no audit log at {settings.AUDIT_FILE}.")
        return found


def describe(writer: WriterLog) -> str:
    """Return one sentence about a writer."""
    last, checkpoint = writer.last, writer.last_checkpoint
    text = f"{last.number} events until {last.event['time']}"
    if writer.has_ended:
        text += ", complete to its end"
    elif checkpoint is not None:
        when = checkpoint.event["time"]
        text += f", complete up to {checkpoint.number} ({when}); later ones may be missing"
        if writer.unauthenticated:
            text += f"; {writer.unauthenticated} later ones are not authenticated"
    else:
        text += ", without a checkpoint"
    return text + (f"; {writer.lost} were dropped" if writer.lost else "")


def _as_json(writer: WriterLog) -> dict[str, Any]:
    checkpoint = writer.last_checkpoint
    return {
        "events": writer.last.number,
        "until": writer.last.event["time"],
        "complete_up_to": checkpoint and checkpoint.number,
        "complete_until": checkpoint and checkpoint.event["time"],
        "not_authenticated": writer.unauthenticated,
        "ended": writer.has_ended,
        "dropped": writer.lost,
    }


def _escape(text: str) -> str:
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def parse_moment(text: str) -> float:
    """Return epoch seconds, for argparse."""
    try:
        return parse_time(text)
    except ValueError:
        raise ArgumentTypeError(
            f"{text!a} is not a time with its zone, such as 2026-01-31T12:00:00Z"
        ) from None
