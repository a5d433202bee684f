"""Whether AWS lets these credentials do something, told by a call that changes nothing."""

from collections.abc import Callable, Mapping

from sessions_kms.aws import kms
from sessions_kms.aws.errors import DENIED, error_name
from sessions_kms.doctor.trouble import in_time

DRY_RUN = "DryRunOperationException"
# What AWS says only to who has the right.
# https://docs.aws.amazon.com/kms/latest/developerguide/testing-permissions.html
PERMITTED = frozenset(
    {
        "ConditionalCheckFailedException",
        DRY_RUN,
        "IncorrectKeyException",
        "InvalidCiphertextException",
    }
)
# Nobody can use such a key: another finding says so, and this is not about rights.
UNUSABLE = frozenset({"DisabledException", "KMSInvalidStateException"})

Call = Callable[[], object]


def is_permitted(call: Call) -> bool:
    """Make the call; raise what says neither yes nor no."""
    try:
        in_time(call)
    except Exception as exc:
        kind = _kind(exc)
        if kind in PERMITTED | UNUSABLE:
            return True
        if kind in DENIED:
            return False
        raise
    return True


def seems_permitted(call: Call) -> bool:
    """Make the call; whatever does not say yes is no."""
    try:
        in_time(call)
    except Exception as exc:  # noqa: BLE001 - a KMS that lacks the operation, say
        return _kind(exc) in PERMITTED
    return True


def ends_as_dry_run(call: Call) -> bool:
    """Tell whether KMS answered that it would do this; anything else it says is no."""
    try:
        in_time(call)
    except Exception as exc:  # noqa: BLE001 - the same
        return _kind(exc) == DRY_RUN
    return False


def asking(operation: str, key_id: str, context: Mapping[str, str], **params: object) -> Call:
    """Return a dry run of a KMS operation on a key."""
    return lambda: kms.call_kms(
        operation, key_id, KeyId=key_id, EncryptionContext=dict(context), DryRun=True, **params
    )


def _kind(exc: Exception) -> str:
    cause = exc.__cause__
    return error_name(cause if isinstance(cause, Exception) else exc)
