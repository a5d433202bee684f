"""`manage.py check_session_store`, the doctor: can the store hold sessions?"""

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from django.core.management import get_commands

from sessions_kms.concurrency import deadline
from sessions_kms.doctor import Finding, Level, Measurements, examine, worst
from sessions_kms.doctor.finding import failing
from sessions_kms.hints import command, page
from sessions_kms.management.base import MARKS, OF_FINDINGS, OperatorCommand, exit_status

STYLES = {Level.OK: "SUCCESS", Level.WARNING: "WARNING", Level.FAILING: "ERROR"}
SECONDS = 25.0  # for all calls to AWS together
INTERRUPTED = failing("interrupted", "some checks did not run", "Run this again.")


class Command(OperatorCommand):
    help = (
        "Check the session store: the settings, the table, the KMS keys, the rights of the "
        "credentials in use, the data key of the period, the clock and a sample of the items. "
        "Then the real engine creates a canary session, reads it, changes it concurrently, "
        "tampers with it, expires and deletes it. Each finding says what is wrong and what to do "
        f"({page('doctor')}). Exit status: 0 nothing is failing, 1 something is failing, 4 there "
        "are warnings (with --strict)."
    )
    requires_system_checks = ()  # This command reports them itself.
    changes = False
    silenced = OF_FINDINGS

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--no-canary", action="store_true", help="write nothing: no canary, no data key"
        )
        parser.add_argument("--strict", action="store_true", help="exit 4 when there are warnings")

    def operate(self, options: dict[str, Any]) -> None:
        measured = Measurements()
        findings: list[Finding] = []
        try:
            with deadline.request(SECONDS):
                for finding in examine(measured, writes=not options["no_canary"]):
                    findings.append(finding)
                    self._print(finding)
        except KeyboardInterrupt:
            findings.append(INTERRUPTED)
            self._print(INTERRUPTED)
        level = worst(findings)
        self.conclude(
            {
                "ok": level is not Level.FAILING,
                "status": level,
                "checks": [asdict(finding) for finding in findings],
                "latencies": measured.latencies,
                "kms_calls": measured.kms_calls,
            },
            "\n".join([*_measured(measured), *_other_commands(), _summary(findings)]),
            status=exit_status(level, strict=options["strict"]),
        )

    def _print(self, finding: Finding) -> None:
        """Print a finding at once, unless --json prints all of them as one object at the end."""
        if self.as_json:
            return
        mark = getattr(self.style, STYLES[finding.level])(f"{MARKS[finding.level]:<4}")
        self.stdout.write(f"{mark} {finding.name}: {finding.detail}")
        if finding.remedy:
            self.stdout.write(f"     {finding.remedy}")
        self.stdout.flush()


def _measured(measured: Measurements) -> Iterator[str]:
    if measured.latencies:
        times = ", ".join(
            f"{name.removeprefix('canary ')} {taken} ms"
            for name, taken in measured.latencies.items()
        )
        yield f"Measured: {times}; KMS calls: {measured.kms_calls}"


def _other_commands() -> Iterator[str]:
    """Name the commands for what is not checked here."""
    yield f"Not checked here: the SQL database (`{command('check --database default')}`)" + (
        f", the providers (`{command('check_providers')}`)"
        if "check_providers" in get_commands()
        else ""
    )


def _summary(findings: Sequence[Finding]) -> str:
    fine, warnings, failing = (sum(each.level is level for each in findings) for level in Level)
    return f"{fine} ok, {warnings} warning{'' if warnings == 1 else 's'}, {failing} failing"
