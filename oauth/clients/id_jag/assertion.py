"""Reads and verifies a provider's assertion (ID-JAG), one check after the other. Pure.

Takes the assertion, the expected values, keys and the time. Every fault raises InvalidAssertion
with a fixed sentence for the log. Whether it was used before is checked elsewhere.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from oauth.clients.authentication import jws
from oauth.clients.rules.errors import InvalidAssertion
from oauth.network.responses import is_shallow
from oauth.provider.id_jag import MEDIA_TYPE
from oauth.provider.signing_keys import ALGORITHMS

LIFETIME_MAX: Final = 300  # seconds
CLOCK_DIFFERENCE: Final = 60  # seconds
VERIFICATIONS_MAX: Final = 2  # of one assertion: as for a logout token
ID_MAX: Final = 1024  # characters of `jti`


@dataclass(frozen=True, repr=False)
class IdentityAssertion:
    """An assertion whose type is right. Nothing else is checked until the methods were called.

    All of them raise InvalidAssertion.
    """

    text: str
    header: Mapping[str, Any]
    claims: Mapping[str, Any]

    @property
    def issuer(self) -> str:
        """The issuer that it names."""
        return self._read_text("iss")

    @property
    def id(self) -> str:
        """The `jti`."""
        return self._read_text("jti")

    @property
    def key_id(self) -> str | None:
        """The id of the key that it claims to be signed with."""
        return self.header.get("kid")

    @property
    def algorithm(self) -> str:
        """The algorithm that it claims to be signed by."""
        found = self.header.get("alg")
        if not isinstance(found, str) or found not in ALGORITHMS:
            raise InvalidAssertion("It is not signed by an accepted algorithm.")
        return found

    @property
    def ends_at(self) -> int:
        """When it is rejected at the latest, in epoch seconds."""
        return math.ceil(self._read_time("exp")) + CLOCK_DIFFERENCE

    def check_parties(self, *, audience: str, client_id: str) -> None:
        """Check that it is for this server alone, and that this client may present it."""
        _require(read_sole(self.claims.get("aud")) == audience, "It is for another audience.")
        _require(self.claims.get("client_id") == client_id, "It is another client's.")

    def check_times(self, now: float) -> None:
        """Check that it is valid now, and never valid for longer than `LIFETIME_MAX`."""
        ends_at, issued_at = self._read_time("exp"), self._read_time("iat")
        _require(now < ends_at + CLOCK_DIFFERENCE, "It has expired.")
        _require(issued_at <= now + CLOCK_DIFFERENCE, "It was issued in the future.")
        _require(ends_at - issued_at <= LIFETIME_MAX, "It is valid for too long.")
        if "nbf" in self.claims:
            _require(self._read_time("nbf") <= now + CLOCK_DIFFERENCE, "It is not valid yet.")

    def check_rest(self) -> None:
        """Require a `jti`, and reject what narrows the grant in a way that is not applied here."""
        _require(len(self.id) <= ID_MAX, "Its jti is too long.")
        _require("authorization_details" not in self.claims, "It has authorization_details.")

    def check_signature(self, keys: Sequence[Any]) -> None:
        """Check that it is signed with one of these keys of the issuer."""
        signed = any(
            jws.is_signed_by(self.text, key, self.algorithm) for key in keys[:VERIFICATIONS_MAX]
        )
        _require(signed, "It is not signed by a key of the issuer.")

    def check_confirmation(self, thumbprint: str | None) -> None:
        """Check that the request proved the key to which it is bound, if it is.

        RFC 9449 section 6. ``thumbprint`` is that of the key of the request's proof; None without
        one, or without DPoP.
        """
        if "cnf" in self.claims:
            is_same = thumbprint is not None and self.claims["cnf"] == {"jkt": thumbprint}
            _require(is_same, "It is bound to a key that the request did not prove.")

    def _read_text(self, name: str) -> str:
        found = self.claims.get(name)
        if not isinstance(found, str) or not found:
            raise InvalidAssertion(f"It has no usable {name}.")
        return found

    def _read_time(self, name: str) -> float:
        found = self.claims.get(name)
        if not jws.is_number(found):
            raise InvalidAssertion(f"It has no usable {name}.")
        return found


def read_assertion(text: str) -> IdentityAssertion:
    """Return an assertion of this type that was not verified. Raises InvalidAssertion."""
    __traceback_hide__ = True
    try:
        header, claims = jws.read_unverified(text)
    except jws.UnreadableToken:
        header, claims = {}, {}
    _require(bool(header) and is_shallow(claims), "It cannot be read.")
    _require(jws.read_type(header) == MEDIA_TYPE, "It is of another type.")
    _require("crit" not in header, "It needs an unknown extension.")
    _require(isinstance(header.get("kid", ""), str), "Its kid is no text.")
    return IdentityAssertion(text, header, claims)


def read_sole(value: object) -> str | None:
    """Return a text, or that in a list of one; None for anything else."""
    named = value if isinstance(value, list) else [value]
    return named[0] if len(named) == 1 and isinstance(named[0], str) else None


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise InvalidAssertion(reason)
