"""The HMAC key of the audit log, if there is one, and the rights on it."""

from collections.abc import Iterator
from functools import partial

from sessions_kms.aws import clients, kms
from sessions_kms.conf import Config
from sessions_kms.doctor.finding import Finding, failing, ok
from sessions_kms.doctor.rights import Call, is_permitted
from sessions_kms.doctor.trouble import POLICY, in_time, report_errors
from sessions_kms.operations.provisioning import describe_or_none

NAME = "audit key"
AUDIT_KEY_ID = "AUDIT_KEY_ID (the gateway: AUDIT_KEY_ARN)"
GENERATE = "kms:GenerateMac"
CREATE = "aws kms create-key --key-spec HMAC_256 --key-usage GENERATE_VERIFY_MAC"


def audit_findings(config: Config) -> Iterator[Finding]:
    """Check the HMAC key; without one there is nothing to find."""
    if config.audit_key_id is not None:
        yield from _key_findings(config.audit_key_id)
        yield from _rights_findings(config.audit_key_id)


@report_errors(NAME, needs="kms:DescribeKey")
def _key_findings(arn: str) -> Iterator[Finding]:
    client = clients.control_client("kms", kms.region_of(arn))
    key = describe_or_none(lambda: in_time(partial(client.describe_key, KeyId=arn))["KeyMetadata"])
    if key is None:
        yield failing(NAME, f"{arn} does not exist", f"Set {AUDIT_KEY_ID}: `{CREATE}` makes one.")
    elif (key.get("KeySpec"), key.get("KeyUsage")) != ("HMAC_256", "GENERATE_VERIFY_MAC"):
        detail = f"{key.get('KeySpec')} for {key.get('KeyUsage')}"
        yield failing(NAME, detail, f"An HMAC_256 key is required: `{CREATE}` makes one.")
    elif key["KeyState"] != "Enabled":
        remedy = "Enable the key, or cancel its deletion: the audit log gets no checkpoints."
        yield failing(NAME, key["KeyState"], remedy)
    else:
        yield ok(NAME, "Enabled")


@report_errors(f"right {GENERATE}")
def _rights_findings(arn: str) -> Iterator[Finding]:
    if is_permitted(_dry_run("generate_mac", arn)):
        yield ok(f"right {GENERATE}", "allowed")
    else:
        remedy = f"Grant {GENERATE} on it. {POLICY}"
        yield failing(f"right {GENERATE}", f"denied on {arn}", remedy)


def _dry_run(operation: str, arn: str) -> Call:
    return lambda: kms.call_kms(
        operation,
        arn,
        KeyId=arn,
        Message=b"check_session_store",
        MacAlgorithm=kms.MAC_ALGORITHM,
        DryRun=True,
    )
