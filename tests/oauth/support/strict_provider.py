"""A very strict provider, which can require pushed requests and tokens that are bound to a key.

It rejects everything that RFC 9126 and RFC 9449 reject, and also binds refresh tokens to the key.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.oauth.support.dpop_checker import ProofChecker, Refused
from tests.oauth.support.fake_provider import Answer, FakeProvider

KIND = "application/json"


@dataclass
class StrictProvider(FakeProvider):
    """``pushes`` are the pushed requests, ``keys`` the thumbprints of the keys of the tokens."""

    takes_pushed_only: bool = False
    wants_proofs: bool = False
    answers_bearer: bool = False
    pushes: list[dict[str, str]] = field(default_factory=list)
    references: dict[str, dict[str, str]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    checker: ProofChecker = field(default_factory=ProofChecker)

    def metadata(self) -> dict[str, Any]:
        pushing = {
            "pushed_authorization_request_endpoint": f"{self.issuer}/par",
            "require_pushed_authorization_requests": self.takes_pushed_only,
        }
        proving = {"dpop_signing_alg_values_supported": ["ES256"]} if self.wants_proofs else {}
        return super().metadata() | pushing | proving | self.more_of_metadata

    def authorize(self, query: dict[str, str]) -> Answer:
        """Accept a pushed request once, from its client, or one that need not be pushed."""
        if "request_uri" in query:
            pushed = self.references.pop(query["request_uri"], None)
            if pushed is None or set(query) != {"client_id", "request_uri"}:
                return 400, "text/plain", b"no such request"
            return super().authorize(pushed)
        if self.takes_pushed_only:
            return 400, "text/plain", b"push it"
        return super().authorize(query)

    def answer(self, path: str, parameters: dict[str, str], authorization: str) -> Answer:
        if path == "/par":
            return self._push(parameters, authorization)
        return super().answer(path, parameters, authorization)

    def token(self, form: dict[str, str], authorization: str, *, github: bool = False) -> Answer:
        if not self.wants_proofs:
            return super().token(form, authorization, github=github)
        return self._proven(400, None, lambda jkt: self._bound_token(form, authorization, jkt))

    def userinfo(self, authorization: str) -> Answer:
        if not self.wants_proofs or self.answers_bearer:
            return super().userinfo(authorization)
        scheme, _, token = authorization.partition(" ")
        if scheme != "DPoP" or token not in self.keys:
            return 401, "text/plain", b""

        def respond(jkt: str) -> Answer:
            if jkt != self.keys[token]:
                return 401, "text/plain", b""
            return super(StrictProvider, self).userinfo(f"Bearer {token}")

        return self._proven(401, token, respond)

    def _push(self, form: dict[str, str], authorization: str) -> Answer:
        if not self._authenticated(form, authorization):
            return 401, KIND, b'{"error": "invalid_client"}'
        request = {name: value for name, value in form.items() if not name.startswith("client_")}
        if "request_uri" in form:
            return 400, KIND, b'{"error": "invalid_request"}'
        self.pushes.append(form)
        reference = f"urn:ietf:params:oauth:request_uri:{self._secret()}"
        self.references[reference] = request | {"client_id": self.client_id}
        body = json.dumps({"request_uri": reference, "expires_in": 60}).encode()
        return 201, KIND, body

    def _bound_token(self, form: dict[str, str], authorization: str, jkt: str) -> Answer:
        sent = form.get("refresh_token", "")
        if self.keys.get(sent, jkt) != jkt:
            return 400, KIND, b'{"error": "invalid_grant"}'
        status, kind, body = super().token(form, authorization)
        if status != 200:
            return status, kind, body
        tokens = json.loads(body)
        tokens["token_type"] = "bearer" if self.answers_bearer else "DPoP"
        for name in {"access_token", "refresh_token"} & set(tokens):
            self.keys[tokens[name]] = jkt
        return status, kind, json.dumps(tokens).encode()

    def _proven(
        self, refusal: int, access_token: str | None, response: Callable[[str], Answer]
    ) -> Answer:
        request = self.request
        if self.checker.nonce is not None:
            request.more["DPoP-Nonce"] = self.checker.nonce
        try:
            jkt = self.checker.check(
                request.proofs, request.method, request.url, access_token, now=self.clock()
            )
        except Refused as exc:
            if refusal == 401:
                request.more["WWW-Authenticate"] = f'DPoP error="{exc.error}"'
            return refusal, KIND, json.dumps({"error": exc.error}).encode()
        return response(jkt)
