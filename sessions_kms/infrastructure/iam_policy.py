"""The policy of each role as IAM takes it, for a table and a key that stand."""

from typing import Any

from sessions_kms.infrastructure.policies import Resources, document, role_statements
from sessions_kms.infrastructure.store import Store
from sessions_kms.storage.table import OWNER_INDEX


def role_policy(role: str, store: Store, *, key: str, account: str, region: str) -> dict[str, Any]:
    """Return the policy document of a role.

    ``key`` is the ARN of the KMS key; account and Region are the table's.
    """
    partition = key.split(":")[1]
    tables = [
        f"arn:{partition}:dynamodb:{each}:{account}:table/{store.table}"
        for each in dict.fromkeys([region, *store.replicas])
    ]
    arns = Resources(
        tables=tables,
        indexes=[f"{table}/index/{OWNER_INDEX}" for table in tables],
        keys=list(dict.fromkeys([key, *(_in_region(key, each) for each in store.replicas)])),
        old_keys=store.old_keys,
    )
    return document(role_statements(role, store, arns))


def _in_region(key: str, region: str) -> str:
    """Return the ARN of a multi-Region key's replica: its key id is the same everywhere."""
    before, account, resource = key.rsplit(":", 2)
    return f"{before.rpartition(':')[0]}:{region}:{account}:{resource}"
