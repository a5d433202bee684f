"""From an error to a finding: the message of AWS, and what to do about it.

Only messages that AWS, boto, Django or this package wrote on purpose are shown: any other may
contain data of a response.
"""

import re
from collections.abc import Callable, Iterator
from functools import wraps
from typing import ParamSpec, TypeVar

from sessions_kms.aws import errors
from sessions_kms.aws.errors import DENIED, error_name
from sessions_kms.concurrency import deadline
from sessions_kms.doctor.finding import Finding, failing, warning
from sessions_kms.hints import command, page

# Settings by their name, and the gateway's variable.
KEY_ID = "KEY_ID (the gateway: KMS_KEY_ARN)"
DECRYPT_KEY_IDS = "DECRYPT_KEY_IDS (the gateway: DECRYPT_KEY_ARNS)"
TABLE_NAME = "TABLE_NAME (the gateway: SESSIONS_TABLE)"
NAMESPACE = "NAMESPACE (the gateway: SESSIONS_NAMESPACE)"
NOT_BEFORE = "NOT_BEFORE (the gateway: SESSIONS_NOT_BEFORE)"

CREATE = f"Run `{command('create_session_store')}`."
# In this order: a second table, in a wrong Region, would hide the mistake.
ELSEWHERE = (
    f"Correct {TABLE_NAME} and the Region."
    f" If there never was a table: {CREATE[0].lower()}{CREATE[1:]}"
)
POLICY = (
    f"{page('aws')} has the policy;"
    f" `{command('session_store_template --format iam-policy')}` prints it."
)

NO_KEY = f"Set {KEY_ID} to the ARN of a key that exists."

_CREDENTIALS = "Correct the AWS credentials: `aws sts get-caller-identity` shows which are used."
_CLOCK = "Set this machine's clock with NTP: AWS rejects requests signed at a wrong time."
_KEY_STATE = "Enable the key or cancel its deletion: no session can be read without it."
_NETWORK = "Check the Region, the AWS_ENDPOINT_URL variables, DNS and the network to AWS."
_REGION = "Set REGION_NAME in SESSIONS_KMS, or the variable AWS_REGION."
_PROFILE = "Correct AWS_PROFILE and the AWS configuration files."
_PROXY = "Correct HTTPS_PROXY, or list the host in NO_PROXY."
_TLS = "Correct AWS_CA_BUNDLE: it must name the authority of that server's certificate."
_THROTTLED = "Wait, or raise the table's capacity (or the KMS quota) in AWS."
OF_ALL_AWS = frozenset({_CREDENTIALS, _PROFILE, _REGION, "sessions_kms.E021"})
_OTHERWISE = "See the message from AWS or Django."

REMEDIES = {
    "AccessDeniedException": f"Grant the action that AWS names: {POLICY}",
    "CircuitOpen": _NETWORK,
    "ConfigParseError": _PROFILE,
    "ConnectTimeoutError": _NETWORK,
    "DisabledException": _KEY_STATE,
    "EndpointConnectionError": _NETWORK,
    "ExpiredTokenException": _CREDENTIALS,
    "InvalidSignatureException": _CREDENTIALS,
    "InvalidRegionError": "Correct REGION_NAME in SESSIONS_KMS, or the variable AWS_REGION.",
    "KMSInvalidStateException": _KEY_STATE,
    "KMSUnavailable": "See the findings 'kms key' and 'data key': KMS is unreachable or refused.",
    "NoCredentialsError": _CREDENTIALS,
    "NoRegionError": _REGION,
    "NotFoundException": NO_KEY,
    "OutOfTime": _NETWORK,
    "PartialCredentialsError": _CREDENTIALS,
    "ProfileNotFound": _PROFILE,
    "ProvisionedThroughputExceededException": _THROTTLED,
    "ProxyConnectionError": _PROXY,
    "ReadTimeoutError": _NETWORK,
    "RequestTimeTooSkewed": _CLOCK,
    "ResourceNotFoundException": ELSEWHERE,
    "SSLError": _TLS,
    "TableUnavailable": "See the finding 'table': DynamoDB is unreachable or refused.",
    "ThrottlingException": _THROTTLED,
    "UnknownOperationException": "Use DynamoDB itself, or a compatible engine that supports it.",
    "UnrecognizedClientException": _CREDENTIALS,
}
_USERINFO = re.compile(r"(?<=://)[^\s\"']+@")  # up to the last @: a password may have any sign
CALL = 5.0  # seconds for one call with its retries
P = ParamSpec("P")
T = TypeVar("T")
_SILENT = "AWS did not respond in time"
_SAFE_MODULES = ("botocore.exceptions", "django.", "sessions_kms.")


def in_time(call: Callable[[], T]) -> T:
    """Return the result of a call of a boto client. Raises OutOfTime after `CALL` seconds."""
    with deadline.call(CALL):
        return call()


def report_errors(
    name: str, *, needs: str | None = None
) -> Callable[[Callable[P, Iterator[Finding]]], Callable[P, Iterator[Finding]]]:
    """Decorate a check, so that an error in it is a finding of this name.

    ``needs`` is the action that the check itself needs: if AWS denies it, nothing can be said.
    """

    def decorate(check: Callable[P, Iterator[Finding]]) -> Callable[P, Iterator[Finding]]:
        @wraps(check)
        def checked(*args: P.args, **kwargs: P.kwargs) -> Iterator[Finding]:
            try:
                yield from check(*args, **kwargs)
            except Exception as exc:  # noqa: BLE001 - a check that breaks is a finding
                yield trouble(name, exc, needs=needs)

        return checked

    return decorate


def find_remedy(exc: Exception) -> str:
    """Return what to do about an error of a call to AWS, or ""."""
    if isinstance(exc, ValueError) and str(exc).startswith("Invalid endpoint"):  # botocore's
        return _NETWORK
    return REMEDIES.get(error_name(exc), "")


def hide_credentials(text: str) -> str:
    """Return a message without the user names and passwords of addresses."""
    return _USERINFO.sub("***@", text)


def trouble(name: str, exc: Exception, *, needs: str | None = None) -> Finding:
    """Return the finding of an error."""
    # Our own errors say little by design; their cause has the message of AWS.
    cause = exc.__cause__ if isinstance(exc.__cause__, Exception) else exc
    kind = error_name(cause)
    if needs and kind in DENIED:
        return warning(
            name,
            f"cannot be checked: AWS denies {needs}",
            f"Run this under the doctor's role, or grant {needs}: its policy is printed by"
            f" `{command('session_store_template --format iam-policy --role doctor')}`.",
        )
    detail = hide_credentials(_describe(kind, cause))
    return failing(name, detail, find_remedy(cause) or _OTHERWISE)


def _describe(kind: str, exc: Exception) -> str:
    if errors.is_client_error(exc):
        # Without an error code of AWS, the message may be the whole body.
        has_code = errors.error_code(exc).isalpha()
        return f"{kind}: {exc.response['Error'].get('Message', '')}" if has_code else kind
    if isinstance(exc, deadline.OutOfTime):
        return _SILENT
    return f"{kind}: {exc}" if type(exc).__module__.startswith(_SAFE_MODULES) else kind
