"""`manage.py create_session_store`: the table, and with --create-key the KMS key."""

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from sessions_kms import conf
from sessions_kms.aws import clients
from sessions_kms.management.base import OperatorCommand, UsageError
from sessions_kms.management.known_errors import explain
from sessions_kms.operations import provisioning
from sessions_kms.operations.provisioning import DryRunClient


class Command(OperatorCommand):
    help = (
        "Create the DynamoDB table of the sessions, or complete the existing one: on-demand "
        "billing, TTL on 'ttl', index 'by-owner', point-in-time recovery, deletion "
        "protection. With --create-key, also create a KMS key with rotation and an alias. "
        "Safe to run again. Run it with permissions that the site itself should not have."
    )
    requires_system_checks = ()  # SESSIONS_KMS may not have the key yet.

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--table", help="table name (default: TABLE_NAME of SESSIONS_KMS)")
        parser.add_argument(
            "--region", help="AWS Region (default: REGION_NAME, AWS_REGION, boto's own chain)"
        )
        parser.add_argument(
            "--create-key",
            action="store_true",
            help="create a KMS key with the alias unless it exists",
        )
        parser.add_argument(
            "--alias",
            default=provisioning.DEFAULT_ALIAS,
            help="alias of that key (default: %(default)s)",
        )

    def operate(self, options: dict[str, Any]) -> None:
        raw = getattr(settings, conf.SETTING, None)
        in_settings = raw if isinstance(raw, Mapping) else {}
        table = options["table"] or in_settings.get("TABLE_NAME")
        region = options["region"] or in_settings.get("REGION_NAME")
        if not table:
            raise UsageError("Pass --table NAME, or set TABLE_NAME in SESSIONS_KMS.")
        try:
            conf.FIELDS["TABLE_NAME"].parse(table)
        except ValueError as exc:
            raise UsageError(f"The table {exc}") from exc
        self._done: list[str] = []
        result = {"table": table, "done": self._done, "dry_run": self.dry_run}
        try:
            if options["create_key"]:
                result["key_arn"] = self._create_key(region, options["alias"])
            self._create_table(region, table)
        except provisioning.ProvisioningError as exc:
            raise CommandError(str(exc)) from exc
        except Exception as exc:
            # boto's errors have no common base class; AWS's own message helps here.
            raise CommandError(explain(exc) or f"AWS call failed: {exc}") from exc
        self.conclude(result, "\n".join(self._summary(result)))

    def _create_key(self, region: str | None, alias: str) -> str:
        arn, done = provisioning.create_key(self._client("kms", region), alias)
        for step in done:
            self._report(step)
        return arn

    def _create_table(self, region: str | None, table: str) -> None:
        with self.progress("steps") as advance:
            for step in provisioning.create_table(self._client("dynamodb", region), table):
                self._report(step)
                advance()

    def _client(self, service: str, region: str | None) -> Any:
        client = clients.control_client(service, region)
        return DryRunClient(client) if self.dry_run else client

    def _report(self, step: str) -> None:
        """Print each step when it is done, in case the next one fails."""
        self._done.append(step)
        self.say(f"[dry run] {step}" if self.dry_run else step)

    def _summary(self, result: Mapping[str, Any]) -> Iterator[str]:
        if not self._done:
            what = "table and key already exist" if "key_arn" in result else "table already exists"
            yield f"nothing to do: {what}"
        yield f"TABLE_NAME: {result['table']}"
        if "key_arn" in result:
            yield f"KEY_ID: {result['key_arn']}"
