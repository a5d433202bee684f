"""`manage.py check_session_store`: is the store fit to keep sessions?"""

import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from sessions_kms.doctor import Finding, examine


class Command(BaseCommand):
    help = (
        "Check the table, the KMS key and the engine, with a canary session that is written,"
        " read back, shown to be ciphertext, tampered with, refused and deleted. Prints a line"
        " for each check; exit status 0 when all are well, else 1."
    )
    requires_system_checks = ()  # What the checks would say, this says too.

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *_args: Any, **options: Any) -> None:
        findings = []
        for finding in examine():
            findings.append(finding)
            if not options["json"]:
                self._print(finding)
        ok = all(finding.ok for finding in findings)
        if options["json"]:
            report = {"ok": ok, "checks": [asdict(finding) for finding in findings]}
            self.stdout.write(json.dumps(report))
        if not ok:
            sys.exit(1)

    def _print(self, finding: Finding) -> None:
        mark = self.style.SUCCESS("ok  ") if finding.ok else self.style.ERROR("FAIL")
        self.stdout.write(f"{mark} {finding.name}: {finding.detail}")
        if finding.remedy:
            self.stdout.write(f"     {finding.remedy}")
