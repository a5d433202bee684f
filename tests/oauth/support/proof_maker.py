"""A client's DPoP proofs, written from RFC 9449 section 4.2, without our code."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass
class ProofKey:
    """A key that makes proofs; ``now`` returns epoch seconds."""

    now: Any
    private: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    algorithm: str = "ES256"

    @classmethod
    def loaded(cls, number: str) -> ProofKey:
        """Return the key of P-256 with this private number."""
        return cls(time.time, ec.derive_private_key(int(number), ec.SECP256R1()))

    @property
    def jwk(self) -> dict[str, Any]:
        name = "EdDSA" if self.algorithm == "Ed25519" else self.algorithm
        kind = jwt.algorithms.get_default_algorithms()[name]
        return dict(json.loads(kind.to_jwk(self.private.public_key())))

    def proof(
        self,
        method: str,
        url: str,
        access_token: str | None = None,
        header: dict[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        """Return a proof; a change to None leaves a claim or a member of the header out."""
        hashed = None if access_token is None else hash_token(access_token)
        claims = {
            "jti": secrets.token_hex(8),
            "htm": method,
            "htu": url,
            "iat": int(self.now()),
            "ath": hashed,
        } | changes
        head = {"typ": "dpop+jwt", "jwk": self.jwk, "alg": self.algorithm} | (header or {})
        return self.sign(
            {name: value for name, value in head.items() if value is not None},
            {name: value for name, value in claims.items() if value is not None},
        )

    def sign(self, header: dict[str, Any], claims: Any) -> str:
        """Return a token with exactly this header, signed by the key's own algorithm."""
        name = "EdDSA" if self.algorithm == "Ed25519" else self.algorithm
        signer = jwt.algorithms.get_default_algorithms()[name]
        signed = f"{encode(json.dumps(header).encode())}.{encode(json.dumps(claims).encode())}"
        return f"{signed}.{encode(signer.sign(signed.encode(), self.private))}"


def hash_token(access_token: str) -> str:
    return encode(hashlib.sha256(access_token.encode("ascii")).digest())


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
