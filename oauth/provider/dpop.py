"""Proofs that the sender of a token has the key to which the token is bound (DPoP, RFC 9449).

Takes a key, a request and the server's nonce, and returns a proof. The private key is text. It is
stored in the encrypted session together with its token, and nowhere else.
"""

import re
import secrets
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from oauth.exceptions import ProviderUnavailable
from oauth.formats import decode_base64url, encode_base64url, hash_text
from oauth.network.responses import ProviderResponse

SCHEME = "DPoP"
PROOF_HEADER, NONCE_HEADER = "DPoP", "DPoP-Nonce"  # headers
ALGORITHM = "ES256"  # fast to sign with, and supported by every server
NONCE_TEXT = re.compile(r"[!#-\[\]-~]{1,512}")  # section 8.1; the length is ours
NONCE_REQUIRED = "use_dpop_nonce"
NOT_BOUND = "The provider's token is not bound to a key, which OAUTH_<NAME>_DPOP=1 asks for."
ORIGINS_MAX = 1024  # origins whose nonces are cached


def new_dpop_key() -> str:
    """Return a new private key."""
    number = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
    return encode_base64url(number.to_bytes(32, "big"))


def make_proof(
    key: str,
    method: str,
    url: str,
    *,
    now: float,
    nonce: str | None = None,
    access_token: str | None = None,
) -> str:
    """Return the proof for one request; a server accepts it once (section 4.2).

    Making a proof takes about 0.2 milliseconds.
    """
    __traceback_hide__ = True
    private = ec.derive_private_key(int.from_bytes(decode_base64url(key), "big"), ec.SECP256R1())
    claims: dict[str, object] = {
        "jti": secrets.token_urlsafe(16),
        "htm": method,
        "htu": url.partition("#")[0].partition("?")[0],
        "iat": int(now),
    }
    if nonce is not None:
        claims["nonce"] = nonce
    if access_token is not None:
        claims["ath"] = hash_text(access_token)
    header = {"typ": "dpop+jwt", "jwk": ECAlgorithm.to_jwk(private.public_key(), as_dict=True)}
    return jwt.encode(claims, private, ALGORITHM, header)


def headers(
    key: str, access_token: str, method: str, url: str, *, now: float, nonce: str | None = None
) -> dict[str, str]:
    """Return the headers that present a bound token to a resource server (section 7.1)."""
    __traceback_hide__ = True
    proof = make_proof(key, method, url, now=now, nonce=nonce, access_token=access_token)
    return {"Authorization": f"{SCHEME} {access_token}", PROOF_HEADER: proof}


class Nonces:
    """The last nonce of each origin, cached in this process; nonces are not secret."""

    def __init__(self) -> None:
        self._by_origin: OrderedDict[str, str] = OrderedDict()

    def of(self, url: str) -> str | None:
        """Return the nonce for a request to a URL; None if its origin has sent none."""
        return self._by_origin.get(_origin(url))

    def remember(self, url: str, nonce: str | None) -> str | None:
        """Cache the nonce of a response and return it; None if the response has no valid nonce.

        Every response may have a new nonce, successful ones included (section 8.2).
        """
        if (nonce := valid_nonce(nonce)) is None:
            return None
        self._by_origin[_origin(url)] = nonce
        if len(self._by_origin) > ORIGINS_MAX:
            with suppress(KeyError):
                self._by_origin.popitem(last=False)
        return nonce


def valid_nonce(nonce: str | None) -> str | None:
    """Return the nonce if it is valid (section 8.1), otherwise None."""
    return nonce if nonce is not None and NONCE_TEXT.fullmatch(nonce) else None


nonces = Nonces()


def send_with_nonce(url: str, ask: Callable[[str | None], ProviderResponse]) -> ProviderResponse:
    """Send a request with the cached nonce, and again if the server demands another nonce.

    ``ask`` takes the nonce and sends the request; it must create a new proof and assertion each
    time.
    """
    __traceback_hide__ = True
    nonce = nonces.of(url)
    response = ask(nonce)
    # Use this response's nonce, not a later one from another response: it may be valid only once.
    new_nonce = nonces.remember(url, response.dpop_nonce)
    if new_nonce not in (None, nonce) and _demands_nonce(response):
        response = ask(new_nonce)
        nonces.remember(url, response.dpop_nonce)
    return response


def _demands_nonce(response: ProviderResponse) -> bool:
    """Return True if a request was rejected only because of its nonce (sections 8 and 9)."""
    if response.status == 401 and NONCE_REQUIRED in response.challenge:
        return True
    if response.status not in {400, 401}:
        return False
    try:
        return response.parse().get("error") == NONCE_REQUIRED
    except ProviderUnavailable:
        return False


def is_dpop_bound(token_type: str) -> bool:
    """Return True if a token type is `DPoP`, in upper or lower case."""
    return token_type.lower() == SCHEME.lower()


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
