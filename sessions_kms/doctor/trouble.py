"""From an error to a finding: what AWS said, and what to do about it.

Only messages that AWS, boto, Django or this package wrote on purpose are repeated: any
other one may hold what an answer held.
"""

from collections.abc import Callable, Iterator
from typing import TypeVar

from sessions_kms.aws import errors
from sessions_kms.aws.errors import DENIED, error_name
from sessions_kms.concurrency import deadline
from sessions_kms.doctor import named
from sessions_kms.doctor.finding import Finding, failing, warning

CREATE = "Run `manage.py create_session_store`."
# In this order: a second table, in a wrong Region, would hide the mistake.
ELSEWHERE = (
    f"Correct {named.TABLE} and the Region."
    f" If there never was a table: {CREATE[0].lower()}{CREATE[1:]}"
)
POLICY = (
    'docs/aws.md, under "Three roles", has the policy;'
    " `manage.py session_store_template --format iam-policy` prints it."
)

NO_KEY = f"Set {named.KEY} to the ARN of a key that exists."

_CREDENTIALS = "Correct the AWS credentials: `aws sts get-caller-identity` says whose are used."
_CLOCK = "Set the clock of this machine by NTP: AWS refuses requests signed at another time."
_KEY_STATE = "Enable the key, or cancel its deletion: no session can be read without it."
_NETWORK = "Check the Region, the AWS_ENDPOINT_URL variables, DNS and the network to AWS."
_REGION = "Set REGION_NAME in SESSIONS_KMS, or the variable AWS_REGION."
_THROTTLED = "Wait, or raise the capacity of the table (or the KMS quota) in AWS."
_ELSE = "See the message of AWS or Django."

REMEDIES = {
    "AccessDeniedException": f"Grant the action that AWS names: {POLICY}",
    "CircuitOpen": _NETWORK,
    "ConnectTimeoutError": _NETWORK,
    "DisabledException": _KEY_STATE,
    "EndpointConnectionError": _NETWORK,
    "ExpiredTokenException": _CREDENTIALS,
    "InvalidSignatureException": _CREDENTIALS,
    "KMSInvalidStateException": _KEY_STATE,
    "KMSUnavailable": "See the findings 'kms key' and 'data key': KMS did not answer, or refused.",
    "NoCredentialsError": _CREDENTIALS,
    "NoRegionError": _REGION,
    "NotFoundException": NO_KEY,
    "OutOfTime": _NETWORK,
    "PartialCredentialsError": _CREDENTIALS,
    "ProvisionedThroughputExceededException": _THROTTLED,
    "ReadTimeoutError": _NETWORK,
    "RequestTimeTooSkewed": _CLOCK,
    "ResourceNotFoundException": ELSEWHERE,
    "TableUnavailable": "See the finding 'table': DynamoDB did not answer, or refused.",
    "ThrottlingException": _THROTTLED,
    "UnknownOperationException": "Use DynamoDB itself, or a compatible engine that has it.",
    "UnrecognizedClientException": _CREDENTIALS,
}
CALL = 5.0  # seconds for one call with its retries
T = TypeVar("T")
_TELLING = ("botocore.exceptions", "django.", "sessions_kms.")


def in_time(call: Callable[[], T]) -> T:
    """Return what a call of a boto client gives. Raises OutOfTime after `CALL` seconds."""
    with deadline.call(CALL):
        return call()


def guarded(
    name: str, check: Callable[[], Iterator[Finding]], *, needs: str | None = None
) -> Iterator[Finding]:
    """Run a check; an error is a finding under this name.

    ``needs`` is the action that only looking needs: denied, nothing can be said.
    """
    try:
        yield from check()
    except Exception as exc:  # noqa: BLE001 - a check that breaks is a finding
        yield trouble(name, exc, needs=needs)


def trouble(name: str, exc: Exception, *, needs: str | None = None) -> Finding:
    """Return the finding that an error is."""
    # Our own errors tell little by design; here is their cause, in AWS's words.
    cause = exc.__cause__ if isinstance(exc.__cause__, Exception) else exc
    kind = error_name(cause)
    if needs and kind in DENIED:
        return warning(
            name,
            f"cannot be checked: AWS denies {needs}",
            f"Run this under the role of the doctor, or grant {needs}:"
            " `manage.py session_store_template --format iam-policy --role doctor` prints it.",
        )
    return failing(name, _told(kind, cause), REMEDIES.get(kind, _ELSE))


def _told(kind: str, exc: Exception) -> str:
    if errors.is_client_error(exc):
        # Without a name of AWS's, the message may be the whole body.
        named = errors.error_code(exc).isalpha()
        return f"{kind}: {exc.response['Error'].get('Message', '')}" if named else kind
    return f"{kind}: {exc}" if type(exc).__module__.startswith(_TELLING) else kind
