"""Tokens that are bound to a key: which proof a request needs, and each proof accepted once.

RFC 9449 sections 5 and 7. The binding is checked after the token was found, and before anything
else depends on it: a stolen token without its key changes nothing and ends nothing.

Each process remembers the last proofs that it accepted, so that it accepts none of them again.
Nothing is shared with other processes: a proof is for one token, method and URL, and for minutes.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Final

from oauth.clients.authentication.dpop_proof import Proof, RequestProof, read_proof
from oauth.clients.rules.errors import InvalidGrant, InvalidProof, WrongTokenType
from oauth.clients.sealed_grant import SealedGrant

PROOFS_MAX: Final = 100_000
DIGEST_BYTES: Final = 16


class UsedProofs:
    """The last proofs that were accepted, at most `PROOFS_MAX`. Threads may share it.

    Proofs are forgotten by their number and not by time, so no clock that is set back lets a
    remembered one pass.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._tokens: OrderedDict[bytes, bytes] = OrderedDict()

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._tokens)

    def use(self, proof: Proof, token: str = "") -> None:
        """Accept a proof, or raise InvalidProof if it was accepted before.

        With a ``token`` it may come again with the same one: a client that repeats its token
        request gets the same response, which only its key can use.
        """
        __traceback_hide__ = True
        with_token = _digest(token) if token else b""
        name = _digest(f"{proof.thumbprint}\0{proof.id}")
        with self._lock:
            before = self._tokens.get(name)
            if before is not None and (not token or before != with_token):
                raise InvalidProof("The proof was used before: each request needs its own.")
            self._tokens[name] = with_token
            if len(self._tokens) > PROOFS_MAX:
                self._tokens.popitem(last=False)


class TokenBinding:
    """Decides to which key the tokens for one token request are bound."""

    def __init__(self, sent: RequestProof | None, used: UsedProofs, clock: Callable[[], float]):
        self._sent = sent
        self._used = used
        self._clock = clock
        self._proof: Proof | None = None

    @property
    def thumbprint(self) -> str | None:
        """That of the key of the request's proof; None if the tokens are bound to no key."""
        return None if self._proof is None else self._proof.thumbprint

    def check(self, grant: SealedGrant, token: str, *, is_authenticated: bool) -> None:
        """Check the request's proof for a code or refresh token and its content.

        A client that authenticates may change its key. Raises InvalidProof, and InvalidGrant for
        another key. A second call with the same token verifies nothing again.
        """
        __traceback_hide__ = True
        sent = self._sent
        if sent is None or not sent.text:
            if grant.is_bound or grant.needs_proof or (sent is not None and sent.is_required):
                raise InvalidProof("The header DPoP is missing: these tokens are bound to a key.")
            return
        if not (sent.is_enabled or sent.is_required or grant.is_bound or grant.needs_proof):
            return
        proof = self._proof or self._read(sent)
        if grant.jkt not in {None, proof.thumbprint} and not is_authenticated:
            raise InvalidGrant
        if self._proof is None:
            self._used.use(proof, token)
            self._proof = proof

    def _read(self, sent: RequestProof) -> Proof:
        __traceback_hide__ = True
        proof = read_proof(sent, now=self._clock())
        proof.verify()
        return proof

    def require_same(self, jkt: str | None) -> None:
        """Raise InvalidProof or InvalidGrant unless the tokens of a response are bound alike."""
        if jkt is not None and self._proof is None:
            raise InvalidProof("The header DPoP is missing: these tokens are bound to a key.")
        if jkt != self.thumbprint:
            raise InvalidGrant


def check_call(
    jkt: str | None, sent: RequestProof | None, access_token: str, used: UsedProofs, now: float
) -> None:
    """Check how an access token came: with ``sent`` as `DPoP`, otherwise as `Bearer`.

    ``jkt`` is the thumbprint of the key to which it is bound. Raises WrongTokenType, InvalidProof.
    """
    __traceback_hide__ = True
    if jkt is None and sent is None:
        return
    if sent is None:
        raise WrongTokenType("The access token is bound to a key: send it as DPoP, with a proof.")
    if jkt is None:
        raise WrongTokenType("The access token is not bound to a key: send it as Bearer.")
    proof = read_proof(sent, now=now, access_token=access_token)
    if proof.thumbprint != jkt:
        raise WrongTokenType("The access token is bound to another key than the proof's.")
    proof.verify()
    used.use(proof)


def _digest(text: str) -> bytes:
    __traceback_hide__ = True
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:DIGEST_BYTES]
