"""A strict local KMS, for development and tests only: never imported in production.

It speaks KMS's JSON protocol to any AWS SDK, really encrypts (AES-256-GCM), binds the encryption
context exactly, enforces key states and key policies at every call, and keeps its keys in one
SQLite file. It knows symmetric keys only. Signatures are not verified; no grants, no imported
key material, no custom key stores.

To provoke a fault, do what would cause it in AWS: DisableKey, ScheduleKeyDeletion,
RotateKeyOnDemand, ReplicateKey; PutKeyPolicy with `policy.denying(account, access_key_id,
"kms:Decrypt")`; a client whose access key id is 12 digits is that other account.
"""

from . import administration, aliases, cryptographic, policy, rotation
from .errors import CannotStart
from .server import LocalKMS, running_kms

# These modules are imported because they register their operations.
OPERATION_MODULES = (administration, aliases, cryptographic, rotation)

__all__ = ["CannotStart", "LocalKMS", "policy", "running_kms"]
