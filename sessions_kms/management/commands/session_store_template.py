"""`manage.py session_store_template`: table, key and roles as code."""

import json
import re
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from sessions_kms import conf
from sessions_kms.infrastructure.policies import Store, resources_of, role_policy, roles_of
from sessions_kms.infrastructure.templates import render_cloudformation, render_terraform
from sessions_kms.management.base import OperatorCommand, UsageError
from sessions_kms.operations import provisioning

FORMATS = ("cloudformation", "terraform", "iam-policy")


class Command(OperatorCommand):
    help = (
        "Print the infrastructure of the session store as CloudFormation (YAML) or Terraform, "
        "or the IAM policies alone: the table with its index, TTL, backups and deletion "
        "protection; the KMS key with its alias and policy; and three least-privilege roles, "
        "for the site, for operators and for check_session_store. Names that the options do "
        "not give come from SESSIONS_KMS. Makes no AWS calls and changes nothing."
    )
    requires_system_checks = ()  # SESSIONS_KMS may not have the key and the table yet.
    changes = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--format", required=True, choices=FORMATS)
        parser.add_argument("--table", help="table name (default: TABLE_NAME, or 'sessions')")
        parser.add_argument("--namespace", help="namespace (default: NAMESPACE, or 'django')")
        parser.add_argument(
            "--alias", default=provisioning.DEFAULT_ALIAS, help="alias of the key (%(default)s)"
        )
        parser.add_argument(
            "--multi-region",
            action="store_true",
            help="a multi-Region key and a global table: a key cannot be converted later",
        )
        parser.add_argument(
            "--replica",
            action="append",
            default=[],
            metavar="REGION",
            help="another Region for table and key; implies --multi-region; can be repeated",
        )
        parser.add_argument(
            "--audit",
            action="store_true",
            help="an HMAC key for the audit log, too (default: if AUDIT_KEY_ID is set)",
        )
        policy = parser.add_argument_group("for --format iam-policy")
        policy.add_argument(
            "--role",
            choices=list(roles_of(audit=True)),
            help="print only the policy of this role",
        )
        policy.add_argument("--key", metavar="ARN", help="the KMS key (default: KEY_ID)")
        policy.add_argument(
            "--audit-key",
            metavar="ARN",
            help="the HMAC key of the audit log (default: AUDIT_KEY_ID)",
        )
        policy.add_argument("--account", help="account of the table (default: the key's)")
        policy.add_argument(
            "--region", help="home Region of the table (default: REGION_NAME, or the key's)"
        )

    def operate(self, options: dict[str, Any]) -> None:
        raw = getattr(settings, conf.SETTING, None)
        self._raw: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
        store, form = self._store(options), options["format"]
        if form == "iam-policy":
            document = self._policies(store, options)
            text = json.dumps(document, indent=2, ensure_ascii=False)
            self.conclude({"format": form, "document": document}, text)
            return
        render = render_terraform if form == "terraform" else render_cloudformation
        text = render(store)
        self.conclude({"format": form, "text": text}, text.rstrip("\n"))

    def _store(self, options: dict[str, Any]) -> Store:
        alias, replicas = options["alias"], tuple(dict.fromkeys(options["replica"]))
        if not provisioning.is_alias(alias):
            raise UsageError(
                f"{alias!r} is not an alias of a customer-managed key: use alias/NAME."
            )
        for region in replicas:
            self._parsed("REGION_NAME", region, "--replica")
        table = self._value("TABLE_NAME", options["table"], "--table") or "sessions"
        return Store(
            table=table.rpartition("/")[2],
            namespace=self._value("NAMESPACE", options["namespace"], "--namespace") or "django",
            alias=alias,
            encryption_context=self._value("ENCRYPTION_CONTEXT") or {},
            old_keys=self._value("DECRYPT_KEY_IDS") or (),
            multi_region=options["multi_region"] or bool(replicas),
            replicas=replicas,
            audit=options["audit"] or self._value("AUDIT_KEY_ID") is not None,
        )

    def _policies(self, store: Store, options: dict[str, Any]) -> dict[str, Any]:
        key = self._key(store, options["key"])
        region, account = self._home(key, options)
        audit_key = self._value("AUDIT_KEY_ID", options["audit_key"], "--audit-key")
        if options["audit"] and audit_key is None:
            raise UsageError("A policy names the HMAC key: pass --audit-key ARN, or AUDIT_KEY_ID.")
        arns = resources_of(store, key=key, account=account, region=region, audit_key=audit_key)
        names = roles_of(audit=audit_key is not None)
        policies = {role: role_policy(role, store.context, arns) for role in names}
        if options["role"] is None:
            return policies
        if options["role"] not in policies:
            raise UsageError("Without an HMAC key there is no audit log: pass --audit-key ARN.")
        return policies[options["role"]]

    def _key(self, store: Store, given: str | None) -> str:
        key: str | None = self._value("KEY_ID", given, "--key")
        if key is None:
            raise UsageError(
                "A policy names the key: pass --key ARN, or set KEY_ID in SESSIONS_KMS."
                " create_session_store --create-key prints it."
            )
        # https://docs.aws.amazon.com/kms/latest/developerguide/multi-region-keys-overview.html
        if store.replicas and ":key/mrk-" not in key:
            raise UsageError(f"{key} is not a multi-Region key: it has no replicas.")
        return key

    def _home(self, key: str, options: dict[str, Any]) -> tuple[str, str]:
        """Return Region and account of the table."""
        if options["account"] and not re.fullmatch("[0-9]{12}", options["account"]):
            raise UsageError("--account must be the 12 digits of an AWS account.")
        table = self._value("TABLE_NAME", options["table"], "--table") or ""
        region = self._value("REGION_NAME", options["region"], "--region")
        named = (table if table.startswith("arn:") else key).split(":")
        if table.startswith("arn:"):
            region = named[3]
        return region or named[3], options["account"] or named[4]

    def _value(self, name: str, given: str | None = None, option: str = "") -> Any:
        """Return the value of an option, or of the setting, or None."""
        if given:
            return self._parsed(name, given, option)
        if name in self._raw:
            return self._parsed(name, self._raw[name], f"{conf.SETTING}[{name!r}]")
        return None

    def _parsed(self, name: str, value: Any, source: str) -> Any:
        try:
            return conf.FIELDS[name].parse(value)
        except (TypeError, ValueError) as exc:
            raise UsageError(f"{source} {exc}") from exc
