"""Key policies, in the subset of the policy language that this KMS evaluates.

The subset is `Effect`, `Principal` (`"*"`, an account, the ARN of its root or of a user) and
`Action` with wildcards; `Resource` always means the key itself. A policy with any other element,
such as a `Condition`, is rejected by PutKeyPolicy, so that no statement is silently ignored. There
are no IAM policies: if the key policy leaves a decision to the account by allowing its root, the
call is allowed.
"""

import functools
import json
from fnmatch import fnmatchcase
from typing import NamedTuple

ELEMENTS = {"Sid", "Effect", "Principal", "Action", "Resource"}


class InvalidPolicy(ValueError):
    """The text is not a policy that can be evaluated; the message continues "The key policy"."""


class Statement(NamedTuple):
    """One statement: its effect on these principals and patterns of actions."""

    effect: str
    principals: frozenset[str]
    actions: frozenset[str]


def build_user_arn(account: str, access_key_id: str) -> str:
    """Return the ARN of the principal for an access key id."""
    return f"arn:aws:iam::{account}:user/{access_key_id}"


def build_default(account: str) -> str:
    """Return the policy that AWS attaches to a key created without one."""
    return json.dumps({"Version": "2012-10-17", "Statement": [_build_account_statement(account)]})


def build_denial(account: str, access_key_id: str, *actions: str) -> str:
    """Return the default policy with `actions` (such as `kms:Decrypt`) denied to a principal."""
    denial = {
        "Effect": "Deny",
        "Principal": {"AWS": build_user_arn(account, access_key_id)},
        "Action": actions,
        "Resource": "*",
    }
    return json.dumps(
        {"Version": "2012-10-17", "Statement": [_build_account_statement(account), denial]}
    )


def allows(text: str, account: str, principal: str, action: str) -> bool:
    """Return True if a statement allows the action for the principal, and none denies it."""
    names = {"*", account, _build_root_arn(account), principal}
    effects = {
        statement.effect
        for statement in parse(text)
        if names & statement.principals
        and any(fnmatchcase(action.lower(), pattern.lower()) for pattern in statement.actions)
    }
    return effects == {"Allow"}


@functools.lru_cache(maxsize=256)
def parse(text: str) -> tuple[Statement, ...]:
    """Return the statements; raise `InvalidPolicy` for a text that cannot be evaluated."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidPolicy("is not JSON") from None
    statements = document.get("Statement") if isinstance(document, dict) else None
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise InvalidPolicy("has no Statement")
    return tuple(_parse_statement(statement) for statement in statements)


def _parse_statement(statement: object) -> Statement:
    if not isinstance(statement, dict) or statement.get("Effect") not in ("Allow", "Deny"):
        raise InvalidPolicy("has a statement whose Effect is neither Allow nor Deny")
    if unknown := sorted(set(statement) - ELEMENTS):
        raise InvalidPolicy(f"uses {unknown[0]}, which the local KMS does not evaluate")
    principal = statement.get("Principal")
    if isinstance(principal, dict) and set(principal) == {"AWS"}:
        principal = principal["AWS"]
    principals = _parse_texts(principal, "Principal")
    return Statement(
        statement["Effect"], principals, _parse_texts(statement.get("Action"), "Action")
    )


def _parse_texts(value: object, element: str) -> frozenset[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise InvalidPolicy(f"has a statement whose {element} is not valid")
    return frozenset(texts)


def _build_account_statement(account: str) -> dict[str, object]:
    principal = {"AWS": _build_root_arn(account)}
    return {"Effect": "Allow", "Principal": principal, "Action": "kms:*", "Resource": "*"}


def _build_root_arn(account: str) -> str:
    return f"arn:aws:iam::{account}:root"
