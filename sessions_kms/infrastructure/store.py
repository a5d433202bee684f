"""What a session store is called and where it lies: all that the templates are made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sessions_kms.data_keys.keyring import PURPOSE

ROLE_NAME_MAX = 64  # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html


@dataclass(frozen=True, kw_only=True)
class Store:
    """One store. ``replicas`` are Regions beside the home Region.

    ``old_keys`` are the ARNs of KMS keys that it is moving away from.
    """

    table: str
    namespace: str
    alias: str
    encryption_context: Mapping[str, str] = field(default_factory=dict)
    old_keys: tuple[str, ...] = ()
    multi_region: bool = False
    replicas: tuple[str, ...] = ()

    @property
    def context(self) -> dict[str, str]:
        """Return the encryption context of every data key, but for its period."""
        return {"purpose": PURPOSE, "namespace": self.namespace, **self.encryption_context}

    def role_name(self, role: str) -> str:
        """Return the name of one of the roles: the same in every Region and template."""
        return f"{self.table[: ROLE_NAME_MAX - len(role) - 1]}-{role}"
