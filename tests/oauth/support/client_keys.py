"""Private keys of a client."""

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.support.keys import to_pem

KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def key_file(folder: Path, algorithm: str) -> Path:
    path = folder / "key.pem"
    path.write_bytes(to_pem(KEYS[algorithm]))
    return path
