"""A strict local KMS, for development and tests only: never imported in production.

It implements KMS's JSON protocol for any AWS SDK, encrypts with AES-256-GCM, binds the encryption
context exactly, enforces key states and key policies on every call, and stores its keys in one
SQLite file. It has the operations and parameters that this project uses, and rejects all others.
Signatures are not verified.

To provoke an error, do what causes it in AWS: DisableKey, or PutKeyPolicy with
`policy.build_denial(account, access_key_id, "kms:Decrypt")`.
"""

from . import administration, encryption, macs, policy
from .keys import StartError
from .server import LocalKMS, running_kms

# These modules are imported because they register their operations.
OPERATION_MODULES = (administration, encryption, macs)

__all__ = ["LocalKMS", "StartError", "policy", "running_kms"]
