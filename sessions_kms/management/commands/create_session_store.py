"""`manage.py create_session_store`: the table, and with --create-key the KMS key."""

import json
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from sessions_kms import aws, conf, provisioning


class Command(BaseCommand):
    help = (
        "Create the DynamoDB table of the sessions, or complete the one that stands: on-demand"
        " billing, TTL on 'ttl', index 'by-owner', point-in-time recovery, deletion protection."
        " With --create-key, also a customer-managed KMS key with rotation and an alias. Safe to"
        " run again. It needs rights that the running site should not have."
    )
    requires_system_checks = ()  # SESSIONS_KMS may still lack the key that this creates.

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--table", help="table name (default: TABLE_NAME of SESSIONS_KMS)")
        parser.add_argument(
            "--region", help="AWS Region (default: REGION_NAME, AWS_REGION, boto's own chain)"
        )
        parser.add_argument(
            "--create-key",
            action="store_true",
            help="create a KMS key under the alias unless there is one",
        )
        parser.add_argument(
            "--alias",
            default=provisioning.DEFAULT_ALIAS,
            help="alias of that key (default: %(default)s)",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *_args: Any, **options: Any) -> None:
        raw = getattr(settings, conf.SETTING, None) or {}
        table = options["table"] or raw.get("TABLE_NAME")
        region = options["region"] or raw.get("REGION_NAME")
        if not table:
            raise CommandError("Name the table: --table NAME, or TABLE_NAME in SESSIONS_KMS.")
        try:
            result = self._create(table, region, options["alias"] if options["create_key"] else "")
        except provisioning.ProvisioningError as exc:
            raise CommandError(str(exc)) from exc
        except Exception as exc:
            # boto's errors have no common root with a message of their own; AWS's text helps here.
            raise CommandError(f"AWS did not do it: {exc}") from exc
        self._print(result, as_json=options["json"])

    def _create(self, table: str, region: str | None, alias: str) -> dict[str, Any]:
        result: dict[str, Any] = {"table": table, "done": []}
        if alias:
            arn, created = provisioning.create_key(aws.control_client("kms", region), alias)
            result["key_arn"] = arn
            result["done"] += [f"created key {arn} as {alias}"] if created else []
        result["done"] += provisioning.create_table(aws.control_client("dynamodb", region), table)
        return result

    def _print(self, result: dict[str, Any], *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(result))
            return
        for line in result["done"] or ["nothing to do: everything stands"]:
            self.stdout.write(line)
        self.stdout.write(f"TABLE_NAME: {result['table']}")
        if "key_arn" in result:
            self.stdout.write(f"KEY_ID: {result['key_arn']}")
