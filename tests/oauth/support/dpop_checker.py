"""A server's checks of DPoP proofs, written from RFC 9449 section 4.3, without our code."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import jwt

AGE_MAX = 30  # seconds
INVALID, DEMAND = "invalid_dpop_proof", "use_dpop_nonce"


class Refused(Exception):
    """The proof is rejected; ``error`` is the error code in RFC 9449."""

    def __init__(self, error: str, why: str) -> None:
        super().__init__(f"{error}: {why}")
        self.error = error


@dataclass
class ProofChecker:
    """Accepts each proof once. With a ``nonce``, it accepts only proofs that contain it."""

    nonce: str | None = None
    age_max: float = AGE_MAX
    seen: set[str] = field(default_factory=set)
    taken: list[dict[str, Any]] = field(default_factory=list)  # claims

    def check(
        self,
        proofs: Sequence[str],
        method: str,
        url: str,
        access_token: str | None,
        *,
        now: float,
    ) -> str:
        """Return the thumbprint (RFC 7638) of the key that made the proof. Raises Refused."""
        if len(proofs) != 1:
            raise Refused(INVALID, f"{len(proofs)} proofs")
        header, claims, jwk = self._verify(proofs[0])
        self._require(header.get("typ") == "dpop+jwt", "typ")
        self._require(set(claims) >= {"jti", "htm", "htu", "iat"}, "a claim is missing")
        self._require(claims["htm"] == method, "htm")
        parts = urlsplit(url)
        self._require(claims["htu"] == f"{parts.scheme}://{parts.netloc}{parts.path}", "htu")
        self._require(abs(claims["iat"] - now) <= self.age_max, "iat")
        self._require(claims["jti"] not in self.seen, "jti was used before")
        self.seen.add(claims["jti"])
        hashed = None if access_token is None else _encode(hashlib.sha256(access_token.encode()))
        self._require(claims.get("ath") == hashed, "ath")
        if self.nonce is not None and claims.get("nonce") != self.nonce:
            raise Refused(DEMAND, "nonce")
        self.taken.append(claims)
        members = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
        text = json.dumps(members, sort_keys=True, separators=(",", ":"))
        return _encode(hashlib.sha256(text.encode()))

    def _verify(self, proof: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        try:
            header = jwt.get_unverified_header(proof)
            jwk = header["jwk"]
            self._require("d" not in jwk, "the private key is in it")
            key = jwt.PyJWK(jwk, "ES256").key
            claims = jwt.decode(proof, key, ["ES256"], options={"verify_iat": False})
        except (jwt.PyJWTError, LookupError, TypeError) as exc:
            raise Refused(INVALID, repr(exc)) from None
        return header, claims, jwk

    @staticmethod
    def _require(holds: bool, otherwise: str) -> None:
        if not holds:
            raise Refused(INVALID, otherwise)


def _encode(digest: Any) -> str:
    return base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
