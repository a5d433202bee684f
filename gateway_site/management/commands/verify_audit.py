"""`manage.py verify_audit`: whether the files of the audit log are complete and unaltered."""

from typing import Any

from gateway_site.management.audit_files import AuditCommand
from sessions_kms.management.base import FAILED


class Command(AuditCommand):
    help = (
        "Verify the files of the audit log: the chain of each process, its last checkpoint by KMS, "
        "and the checkpoints in the table. Reports up to where they are complete. Exit status: 0 "
        "nothing is missing or changed, 1 something is, or there are no files."
    )

    def operate(self, options: dict[str, Any]) -> None:
        report = self.report(options)
        found = "Nothing" if report.is_intact else "Something"
        summary = f"{found} is missing or changed, as far as can be seen."
        self.conclude(
            report.as_json(),
            "\n".join([*report.lines(), summary]),
            status=0 if report.is_intact else FAILED,
        )
