"""Rights that the engine does not need: what leaked credentials could do besides.

Seen is what can be tried without doing it: a grant is asked for only where KMS knows dry runs.
"""

import secrets
from collections.abc import Iterator, Mapping

from sessions_kms.aws import clients, kms
from sessions_kms.conf import Config
from sessions_kms.doctor.finding import Finding, ok, warning
from sessions_kms.doctor.rights.needed import NEVER, wrapped_data_key
from sessions_kms.doctor.rights.trying import Call, asking, ends_as_dry_run, seems_permitted
from sessions_kms.doctor.trouble import POLICY
from sessions_kms.services import build_kms_keyring

OTHER_CONTEXT = {"purpose": "check_session_store"}  # not the one that seals sessions
NONE = "none that can be seen"


def over_grant_findings(config: Config) -> Iterator[Finding]:
    """Try what the policies that are printed deny."""
    yield _context(config)
    yield _key(config)
    yield _table(config)


def _context(config: Config) -> Finding:
    """Tell whether the key serves outside of the sessions' encryption context."""
    blob = wrapped_data_key(config)
    tried: Mapping[str, Call] = {
        "kms:GenerateDataKey": _generating(config, OTHER_CONTEXT),
        "kms:Decrypt": asking("decrypt", config.key_id, OTHER_CONTEXT, CiphertextBlob=blob),
    }
    if loose := [action for action, call in tried.items() if seems_permitted(call)]:
        return warning(
            "over-grant context",
            f"{' and '.join(loose)} with any encryption context",
            "Add the conditions kms:EncryptionContext:purpose and kms:EncryptionContext:namespace"
            f" to the statement that allows it. {POLICY}",
        )
    return ok("over-grant context", NONE)


def _key(config: Config) -> Finding:
    """Tell what else the key would do."""
    key = config.key_id
    partition, account = key.split(":")[1], key.split(":")[4]
    tried: Mapping[str, Call] = {
        "kms:Encrypt": asking("encrypt", key, OTHER_CONTEXT, Plaintext=b"canary"),
        "kms:CreateGrant": lambda: kms.call_kms(
            "create_grant",
            key,
            KeyId=key,
            GranteePrincipal=f"arn:{partition}:iam::{account}:root",
            Operations=["DescribeKey"],
            DryRun=True,
        ),
    }
    # A KMS that ignores the flag would make the grant.
    ours = build_kms_keyring(config).context(0)
    knows_dry_runs = ends_as_dry_run(_generating(config, ours))
    more = [action for action, call in tried.items() if knows_dry_runs and ends_as_dry_run(call)]
    if more:
        return warning(
            "over-grant key",
            f"{' and '.join(more)}, which the engine never calls",
            f"Take it from the policies of the role and of the key. {POLICY}",
        )
    return ok("over-grant key", NONE)


def _table(config: Config) -> Finding:
    """Tell of the right that commands for operators need, and the site does not."""
    if seems_permitted(
        lambda: clients.dynamodb_client(config.region_name).update_item(
            TableName=config.table_name,
            Key={"id": {"S": f"canary-{secrets.token_hex(16)}"}},
            UpdateExpression="REMOVE canary",
            ConditionExpression=NEVER,
        )
    ):
        detail = "dynamodb:UpdateItem: right for an operator, not for the site"
    else:
        detail = NONE
    return ok("over-grant table", detail)


def _generating(config: Config, context: Mapping[str, str]) -> Call:
    return asking("generate_data_key", config.key_id, context, KeySpec="AES_256")
