"""The HMAC key of the audit log, if there is one, and the rights on it."""

from collections.abc import Iterator

from sessions_kms.aws import clients, kms
from sessions_kms.conf import Config
from sessions_kms.doctor.finding import Finding, failing, ok
from sessions_kms.doctor.kms import describe_key, missing
from sessions_kms.doctor.rights import right_finding
from sessions_kms.doctor.trouble import report_errors

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
    key = describe_key(clients.control_client("kms", kms.region_of(arn)), arn)
    if key is None:
        yield failing(NAME, missing(arn), f"Set {AUDIT_KEY_ID}: `{CREATE}` makes one.")
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
    message = {"Message": b"check_session_store", "MacAlgorithm": kms.MAC_ALGORITHM}
    yield right_finding(
        GENERATE,
        lambda: kms.call_kms("generate_mac", arn, KeyId=arn, DryRun=True, **message),
        arn,
    )
