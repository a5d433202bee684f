"""Proof that who presents a token holds the key that it is bound to (DPoP, RFC 9449).

A key, a request and the nonce that its server asked for enter, a proof leaves. The private
key is text, and kept beside its token in the encrypted session; nowhere else. Knows nothing of
what is asked for.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from oauth.exceptions import ProviderUnavailable
from oauth.network.responses import ProviderResponse

SCHEME = "DPoP"
PROOF_HEADER, NONCE_HEADER = "DPoP", "DPoP-Nonce"  # headers
ALGORITHM = "ES256"  # of the fastest to sign with, and known to every server
NONCE_TEXT = re.compile(r"[!#-\[\]-~]{1,512}")  # section 8.1; the length is ours
NONCE_REQUIRED = "use_dpop_nonce"
NOT_BOUND = "The provider's token is not bound to a key, which OAUTH_<NAME>_DPOP=1 asks for."
ORIGINS_MAX = 1024  # whose nonces are remembered


def new_dpop_key() -> str:
    """Return a new private key."""
    number = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
    return _encode(number.to_bytes(32, "big"))


def make_proof(
    key: str,
    method: str,
    url: str,
    *,
    now: float,
    nonce: str | None = None,
    access_token: str | None = None,
) -> str:
    """Return the proof for one request, which its server accepts once (section 4.2).

    It takes a fifth of a millisecond, whatever is asked for.
    """
    __traceback_hide__ = True
    private = ec.derive_private_key(int.from_bytes(_decode(key), "big"), ec.SECP256R1())
    claims: dict[str, object] = {
        "jti": secrets.token_urlsafe(16),
        "htm": method,
        "htu": url.partition("#")[0].partition("?")[0],
        "iat": int(now),
    }
    if nonce is not None:
        claims["nonce"] = nonce
    if access_token is not None:
        claims["ath"] = _encode(hashlib.sha256(access_token.encode("ascii")).digest())
    header = {"typ": "dpop+jwt", "jwk": _public_jwk(private)}
    return jwt.encode(claims, private, ALGORITHM, header)


def headers(
    key: str, access_token: str, method: str, url: str, *, now: float, nonce: str | None = None
) -> dict[str, str]:
    """Return the headers that present a bound token to a resource server (section 7.1)."""
    __traceback_hide__ = True
    shown = make_proof(key, method, url, now=now, nonce=nonce, access_token=access_token)
    return {"Authorization": f"{SCHEME} {access_token}", PROOF_HEADER: shown}


class Nonces:
    """The nonce that each origin named last: in this process, and none of them a secret."""

    def __init__(self) -> None:
        self._by_origin: OrderedDict[str, str] = OrderedDict()

    def of(self, url: str) -> str | None:
        """Return the nonce for a request to an address, None where its origin named none."""
        return self._by_origin.get(_origin(url))

    def remember(self, url: str, nonce: str | None) -> str | None:
        """Remember what an answer from an address named, and return it; None where it named none.

        Every answer may name a new one, a good one as well (section 8.2).
        """
        if (nonce := valid_nonce(nonce)) is None:
            return None
        self._by_origin[_origin(url)] = nonce
        if len(self._by_origin) > ORIGINS_MAX:
            with suppress(KeyError):
                self._by_origin.popitem(last=False)
        return nonce

    def clear(self) -> None:
        """Forget all."""
        self._by_origin.clear()


def valid_nonce(nonce: str | None) -> str | None:
    """Return a nonce as a server may name it (section 8.1); None for anything else."""
    return nonce if nonce is not None and NONCE_TEXT.fullmatch(nonce) else None


nonces = Nonces()


def send_with_nonce(url: str, ask: Callable[[str | None], ProviderResponse]) -> ProviderResponse:
    """Ask with the nonce that is known, and once more if the server demands another.

    ``ask`` takes the nonce, and is to make what else serves once anew.
    """
    __traceback_hide__ = True
    nonce = nonces.of(url)
    answer = ask(nonce)
    # What this answer names, not what another one named since: a nonce may serve once only.
    named = nonces.remember(url, answer.dpop_nonce)
    if named not in (None, nonce) and _demands_nonce(answer):
        answer = ask(named)
        nonces.remember(url, answer.dpop_nonce)
    return answer


def _demands_nonce(answer: ProviderResponse) -> bool:
    """Tell whether a request was refused for its nonce alone (sections 8 and 9)."""
    if answer.status == 401 and NONCE_REQUIRED in answer.challenge:
        return True
    if answer.status not in {400, 401}:
        return False
    try:
        return answer.parse().get("error") == NONCE_REQUIRED
    except ProviderUnavailable:
        return False


def is_dpop_bound(token_type: str) -> bool:
    """Tell whether a token's type, in whatever case, says that it is bound to a key."""
    return token_type.lower() == SCHEME.lower()


def _public_jwk(private: ec.EllipticCurvePrivateKey) -> Mapping[str, str]:
    numbers = private.public_key().public_numbers()
    x, y = (_encode(each.to_bytes(32, "big")) for each in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=")
