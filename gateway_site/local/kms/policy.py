"""Key policies, in the subset that this KMS evaluates: policy text in, allowed or not out.

Evaluated are `Effect`, `Principal` (`"*"`, an account id, an account's `root` ARN, a user ARN)
and `Action` with wildcards. `Resource` always means the key itself. An element that would need
more (`Condition`, `NotAction`, `NotPrincipal`) is refused when the policy is set, so that no
statement is silently ignored. IAM policies do not exist here: a principal that the key policy
lets its account decide about (the account's `root`) is allowed.

To deny a principal an action, put a policy such as
`denying("123456789012", "AKID", "kms:Decrypt")`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from .errors import KMSError

# The quota "Key policy document size", AWS KMS Developer Guide, "Resource quotas".
MAX_LENGTH = 32 * 1024
NOT_EVALUATED = ("Condition", "NotAction", "NotPrincipal")


@dataclass(frozen=True)
class Statement:
    """One statement: patterns of principals and of actions that it allows or denies."""

    deny: bool
    principals: tuple[str, ...]
    actions: tuple[str, ...]

    def applies(self, account: str, principal: str, action: str) -> bool:
        """Tell whether the statement speaks of this principal doing this."""
        named = {"*", account, f"arn:aws:iam::{account}:root", principal}
        return not named.isdisjoint(self.principals) and any(
            fnmatchcase(action.lower(), pattern.lower()) for pattern in self.actions
        )


def user_arn(account: str, access_key_id: str) -> str:
    """Return the ARN of the principal that an access key id stands for here."""
    return f"arn:aws:iam::{account}:user/{access_key_id}"


def default(account: str) -> str:
    """Return the policy that AWS attaches to a key created without one."""
    return json.dumps(_document(_account_statement(account)), indent=2)


def denying(account: str, access_key_id: str, *actions: str) -> str:
    """Return the default policy with `actions` (such as `kms:Decrypt`) denied to a principal."""
    statement: dict[str, object] = {
        "Effect": "Deny",
        "Principal": {"AWS": user_arn(account, access_key_id)},
        "Action": list(actions),
        "Resource": "*",
    }
    return json.dumps(_document(_account_statement(account), statement))


def allows(text: str, account: str, principal: str, action: str) -> bool:
    """Tell whether some statement allows the action to the principal, and none denies it."""
    found = [s for s in parse(text) if s.applies(account, principal, action)]
    return bool(found) and not any(statement.deny for statement in found)


@functools.lru_cache(maxsize=256)
def parse(text: str) -> tuple[Statement, ...]:
    """Return the statements; raise `MalformedPolicyDocumentException` for any other text."""
    if len(text.encode()) > MAX_LENGTH:
        raise KMSError("LimitExceededException", f"A key policy is at most {MAX_LENGTH} bytes.")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise _malformed("is not JSON") from None
    statements = document.get("Statement") if isinstance(document, dict) else None
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise _malformed("has no Statement")
    return tuple(_statement(statement) for statement in statements)


def _statement(statement: object) -> Statement:
    if not isinstance(statement, dict) or statement.get("Effect") not in ("Allow", "Deny"):
        raise _malformed("has a statement whose Effect is neither Allow nor Deny")
    for element in NOT_EVALUATED:
        if element in statement:
            raise _malformed(f"uses {element}, which this local KMS does not evaluate")
    principal = statement.get("Principal")
    if isinstance(principal, dict):
        if set(principal) - {"AWS"}:
            raise _malformed("names principals other than AWS ones")
        principal = principal.get("AWS")
    return Statement(
        deny=statement["Effect"] == "Deny",
        principals=_texts(principal, "Principal", bool),
        actions=_texts(
            statement.get("Action"), "Action", lambda text: text == "*" or text.startswith("kms:")
        ),
    )


def _texts(value: object, name: str, valid: Callable[[str], bool]) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        raise _malformed(f"has a statement without {name}")
    if not all(isinstance(text, str) and valid(text) for text in texts):
        raise _malformed(f"has a statement whose {name} is not valid")
    return tuple(texts)


def _document(*statements: dict[str, object]) -> dict[str, object]:
    return {"Version": "2012-10-17", "Id": "key-default-1", "Statement": list(statements)}


def _account_statement(account: str) -> dict[str, object]:
    return {
        "Sid": "Enable IAM User Permissions",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }


def _malformed(fault: str) -> KMSError:
    return KMSError("MalformedPolicyDocumentException", f"The key policy {fault}.")
