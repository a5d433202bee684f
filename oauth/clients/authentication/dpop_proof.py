"""Verifies proofs that the sender of a request has a private key (DPoP, RFC 9449 section 4.3).

Takes a request's proof, its method and URL, the access token if the request has one, and the time;
returns the thumbprint of the key. Claims are checked before the signature, so that a caller can
compare the thumbprint first: only the holder of a token can make this process verify.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from oauth.clients.authentication import jws
from oauth.clients.authentication.jws import ALGORITHMS, UnreadableToken
from oauth.clients.rules.errors import InvalidProof
from oauth.formats import hash_text
from oauth.provider.public_jwk import make_thumbprint
from oauth.provider.signing_keys import SigningKey, parse_keys

SCHEME: Final = "DPoP"
TYPE: Final = "dpop+jwt"
PROOF_ALGORITHMS: Final = tuple(ALGORITHMS)  # a signature of the slowest costs half a millisecond
PROOF_MAX: Final = 8 * 1024  # characters; two of a key of 8,192 bits are about 3,000
AGE_MAX: Final = 300  # seconds before and after now
ID_MAX: Final = 1024  # characters of `jti`
# Members of private keys: RFC 7518 section 6, RFC 8037.
PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]")  # RFC 3986 section 2.3
ENCODED: Final = re.compile(r"%[0-9A-Fa-f]{2}")
DEFAULT_PORTS: Final = {"https": ":443", "http": ":80"}


@dataclass(frozen=True, repr=False, kw_only=True)
class RequestProof:
    """What a request has in its header `DPoP`, "" without one, and its method and public URL.

    At the token endpoint, ``is_enabled`` says whether a proof binds tokens that are not bound yet,
    ``is_required`` whether the client always has to send one.
    """

    text: str
    method: str
    url: str
    is_enabled: bool = True
    is_required: bool = False


@dataclass(frozen=True, repr=False)
class Proof:
    """A proof whose claims are right; `verify` says whether its key has signed it.

    ``id`` is its `jti`, ``thumbprint`` that of its key (RFC 7638).
    """

    id: str
    thumbprint: str
    text: str
    algorithm: str
    key: SigningKey

    def verify(self) -> None:
        """Raise InvalidProof unless the key has signed it."""
        __traceback_hide__ = True
        if not jws.is_signed_by(self.text, self.key.key, self.algorithm):
            raise InvalidProof("The proof is not signed by the key that it names.")


def read_proof(sent: RequestProof, *, now: float, access_token: str | None = None) -> Proof:
    """Return the proof of a request, with an access token if it is one for a resource.

    Raises InvalidProof. The signature is not verified.
    """
    __traceback_hide__ = True
    if len(sent.text) > PROOF_MAX:
        raise InvalidProof(f"The proof has over {PROOF_MAX:,} characters.")
    try:
        header, claims = jws.read_unverified(sent.text)
    except UnreadableToken:
        header, claims = {}, {}
    # Two headers reach this as one with a comma, which is in no JWT.
    _require(bool(header), "There must be one header DPoP, with one readable proof.")
    key, thumbprint = _read_key(header)
    _check_request(claims, sent)
    _check_time(claims, now)
    if access_token is not None:
        _require(
            claims.get("ath") == hash_text(access_token), "The proof's ath is not of this token."
        )
    proof_id = claims.get("jti")
    if not isinstance(proof_id, str) or not 0 < len(proof_id) <= ID_MAX:
        raise InvalidProof("The proof has no usable jti.")
    return Proof(proof_id, thumbprint, sent.text, str(header["alg"]), key)


def _read_key(header: Mapping[str, Any]) -> tuple[SigningKey, str]:
    """Return the key in a proof's header, and its thumbprint."""
    _require(jws.read_type(header) == TYPE, f"The proof's typ is not {TYPE}.")
    _require("crit" not in header, "The proof needs an unknown extension.")
    algorithm, jwk = header.get("alg"), header.get("jwk")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise InvalidProof("The proof is not signed by an accepted algorithm.")
    if not isinstance(jwk, dict) or PRIVATE_MEMBERS & jwk.keys():
        raise InvalidProof("The proof's jwk is not a public key.")
    keys = parse_keys([jwk])
    if not keys or not jws.fits(keys[0], algorithm):
        raise InvalidProof("The proof's jwk is not a key for its algorithm, of an accepted size.")
    return keys[0], make_thumbprint(jwk)


def _check_request(claims: Mapping[str, Any], sent: RequestProof) -> None:
    """Compare method and URL, of which query and fragment do not count."""
    __traceback_hide__ = True
    _require(claims.get("htm") == sent.method, "The proof's htm is not the request's method.")
    url = claims.get("htu")
    is_same = isinstance(url, str) and normalize_url(url) == normalize_url(sent.url)
    _require(is_same, "The proof's htu is not the request's URL, as the metadata name it.")


def _check_time(claims: Mapping[str, Any], now: float) -> None:
    issued = claims.get("iat")
    if not jws.is_number(issued):
        raise InvalidProof("The proof has no usable iat.")
    _require(abs(now - issued) <= AGE_MAX, f"The proof's iat is over {AGE_MAX} seconds from now.")


def normalize_url(url: str) -> str | None:
    """Return a URL without query in its normal form (RFC 3986 section 6.2.2); None for no URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    host = parts.netloc.lower().removesuffix(DEFAULT_PORTS.get(parts.scheme, "\0"))
    return f"{parts.scheme}://{host}{ENCODED.sub(_normalize_octet, parts.path) or '/'}"


def _normalize_octet(match: re.Match[str]) -> str:
    character = chr(int(match[0][1:], 16))
    return character if UNRESERVED.fullmatch(character) else match[0].upper()


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise InvalidProof(reason)
