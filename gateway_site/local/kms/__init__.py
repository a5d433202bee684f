"""A strict local KMS, for development and tests only: never imported in production.

It implements KMS's JSON protocol for any AWS SDK, encrypts with AES-256-GCM, binds the encryption
context exactly, enforces key states on every call, and stores its keys in one SQLite file. It has
the operations and parameters that this project uses, and rejects all others. Signatures are not
verified, and key policies are stored, but not enforced: every caller may do everything.
"""

from . import administration, encryption, macs
from .keys import StartError

# These modules are imported because they register their operations.
OPERATION_MODULES = (administration, encryption, macs)

__all__ = ["StartError"]
