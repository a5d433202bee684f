"""A provider that vouches for clients by ID-JAG, with `joserfc`; its id tokens last two minutes."""

import secrets
from dataclasses import dataclass, field
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from tests.oauth.support.fake_provider import FakeProvider, Response, json_response

ABSENT: Any = object()  # as a claim: omit it
ID_JAG = "urn:ietf:params:oauth:token-type:id-jag"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN_AGE, ASSERTION_AGE = 120, 300  # seconds


def new_key(key_id: str = "one") -> ECKey:
    return ECKey.generate_key("P-256", {"kid": key_id, "use": "sig", "alg": "ES256"})


@dataclass
class IdJagProvider(FakeProvider):
    """``client_names`` are its clients' ids at other authorization servers, if they differ.

    Without ``renews_id_token`` a refresh returns none.
    """

    key: ECKey = field(default_factory=new_key)
    client_names: dict[str, str] = field(default_factory=dict)
    renews_id_token: bool = True
    key_fetches: int = 0
    exchanges: list[dict[str, str]] = field(default_factory=list)

    def metadata(self) -> dict[str, Any]:
        required = {  # by OpenID Connect Discovery section 3; Claude Code looks
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }
        issued = {"identity_chaining_requested_token_types_supported": [ID_JAG]}
        return super().metadata() | required | issued | self.more_of_metadata

    def respond_at(self, path: str, parameters: dict[str, str], authorization: str) -> Response:
        if path != "/jwks":
            return super().respond_at(path, parameters, authorization)
        self.key_fetches += 1
        return json_response({"keys": [self.key.as_dict(private=False)]})

    def token(self, form: dict[str, str], authorization: str, *, github: bool = False) -> Response:
        if form.get("grant_type") != EXCHANGE:
            self.request.is_refresh = form.get("grant_type") == "refresh_token"
            return super().token(form, authorization, github=github)
        if not self._authenticated(form, authorization):
            return json_response({"error": "invalid_client"}, 401)
        return self.exchange(form)

    def exchange(self, form: dict[str, str]) -> Response:
        """Exchange an id token for an assertion (RFC 8693 section 2; ID-JAG section 4.3)."""
        self.exchanges.append(form)
        try:
            subject = jwt.decode(form["subject_token"], self.key).claims
        except (JoseError, KeyError, ValueError):
            return json_response({"error": "invalid_request"}, 400)
        is_current = subject["exp"] > self.clock() and subject["aud"] == self.client_id
        if not is_current or form.get("requested_token_type") != ID_JAG:
            return json_response({"error": "invalid_grant"}, 400)
        claims = {name: form.get(name, ABSENT) for name in ("resource", "scope")}
        name = self.client_names.get(self.client_id, self.client_id)
        assertion = self.assertion(aud=form["audience"], client_id=name, **claims)
        response = {"issued_token_type": ID_JAG, "access_token": assertion, "token_type": "N_A"}
        return json_response(response | {"expires_in": ASSERTION_AGE})

    def assertion(
        self, header: dict[str, Any] | None = None, key: ECKey | None = None, **claims: Any
    ) -> str:
        """Sign an assertion; arguments replace the claims of a valid one."""
        signer, now = key or self.key, int(self.clock())
        content = {"iss": self.issuer, "sub": self.person["sub"], "jti": secrets.token_hex(12)}
        content |= {"iat": now, "exp": now + ASSERTION_AGE} | claims
        fields = {"alg": "ES256", "typ": "oauth-id-jag+jwt", "kid": signer.kid} | (header or {})
        token = jwt.encode(_without_absent(fields), _without_absent(content), signer)
        self.secrets.append(token)
        return token

    def _id_token(self, nonce: str | None = None) -> str:
        now = int(self.clock())
        claims = {"iss": self.issuer, "aud": self.client_id, "iat": now, "exp": now + ID_TOKEN_AGE}
        claims |= {"sub": self.person["sub"], "nonce": ABSENT if nonce is None else nonce}
        header = {"alg": "ES256", "kid": self.key.kid}
        token = jwt.encode(header, _without_absent(claims | self.more_of_id_token), self.key)
        self.secrets.append(token)
        return token

    def token_response(self, **options: Any) -> dict[str, Any]:
        response = super().token_response(**options)
        if getattr(self.request, "is_refresh", False) and not self.renews_id_token:
            del response["id_token"]
        return response


def _without_absent(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not ABSENT}
