"""The grants of the upstream `notes`: what its tokens are, and what a restart keeps.

A grant has one refresh token and one access token; a refresh replaces both, and revoking either
ends the grant. The file has digests of tokens only. Codes and open requests are forgotten at a
restart.
"""

import hmac
import secrets
import time
from collections.abc import MutableMapping
from pathlib import Path
from typing import TypeVar

from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    AuthorizeError,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    RegistrationError,
    construct_redirect_uri,
)
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from pydantic import BaseModel, Field

from gateway_site.local.mcp_servers.application import compute_digest
from gateway_site.local.state import write_private_file

SCOPE = "notes"
CODE_LIFE = 60  # seconds
KEPT_MAX = 500  # clients, grants and open requests
ALLOW_PATH = "/allow"

Kept = TypeVar("Kept")


class AccountToken(OAuthToken):
    """A token response that names the account, as some servers do."""

    email: str


class Grant(BaseModel):
    """What an account allowed a client."""

    client_id: str
    account: str
    scopes: list[str]
    resource: str | None = None
    refresh_digest: str
    access_digest: str
    access_ends_at: int  # epoch seconds


class Records(BaseModel):
    """What the file has."""

    clients: dict[str, OAuthClientInformationFull] = Field(default_factory=dict)
    grants: dict[str, Grant] = Field(default_factory=dict)


class Authorization(OAuthAuthorizationServerProvider[AuthorizationCode, RefreshToken, AccessToken]):
    """What the SDK's endpoints ask. `life` is that of an access token, in seconds."""

    def __init__(self, issuer: str, resource: str, file: Path, life: int) -> None:
        self.issuer, self.resource, self.file, self.life = issuer, resource, file, life
        text = file.read_text(encoding="utf-8") if file.exists() else "{}"
        self.records = Records.model_validate_json(text)
        self.requests: dict[str, tuple[OAuthClientInformationFull, AuthorizationParams]] = {}
        self.codes: dict[str, AuthorizationCode] = {}

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        """Return a registered client."""
        return self.records.clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        """Keep a client. Raises RegistrationError if there are too many."""
        if len(self.records.clients) >= KEPT_MAX:
            raise RegistrationError("invalid_client_metadata", "Too many clients are registered.")
        self.records.clients[client_info.client_id] = client_info
        self._save()

    async def authorize(
        self, client: OAuthClientInformationFull, params: AuthorizationParams
    ) -> str:
        """Return the page that asks the person. Raises AuthorizeError for another resource."""
        if params.resource not in {None, self.resource}:
            raise AuthorizeError("invalid_target", "The resource is not this server's.")
        request = secrets.token_urlsafe(16)
        _keep(self.requests, request, (client, params))
        return f"{ALLOW_PATH}?request={request}"

    def decide(self, request: str, account: str | None) -> str | None:
        """Return the address that answers an open request; None if there is no such request.

        `account` is the one that allows it, or None for a denial.
        """
        found = self.requests.pop(request, None)
        if found is None:
            return None
        client, params = found
        response: dict[str, str | None] = {"error": "access_denied"}
        if account is not None:
            code = AuthorizationCode(
                code=secrets.token_urlsafe(32),
                scopes=params.scopes or [SCOPE],
                expires_at=time.time() + CODE_LIFE,
                client_id=client.client_id,
                code_challenge=params.code_challenge,
                redirect_uri=params.redirect_uri,
                redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
                resource=params.resource,
                subject=account,
            )
            _keep(self.codes, code.code, code)
            response = {"code": code.code}
        where = str(params.redirect_uri)
        return construct_redirect_uri(where, **response, state=params.state, iss=self.issuer)

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        """Return a code that was not used yet."""
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        """Return the first tokens of a new grant."""
        code = self.codes.pop(authorization_code.code)
        id_ = secrets.token_hex(8)
        grant = Grant(
            client_id=client.client_id,
            account=code.subject or "",
            scopes=code.scopes,
            resource=code.resource,
            refresh_digest="",
            access_digest="",
            access_ends_at=0,
        )
        _keep(self.records.grants, id_, grant)
        return self._issue(id_, grant)

    async def load_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: str
    ) -> RefreshToken | None:
        """Return the refresh token, if it is the latest of its grant."""
        grant = self._find(refresh_token)
        if grant is None or not _is_of(refresh_token, grant.refresh_digest):
            return None
        return RefreshToken(token=refresh_token, client_id=grant.client_id, scopes=grant.scopes)

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        """Return the next tokens; the earlier ones are void."""
        id_ = _grant_of(refresh_token.token)
        return self._issue(id_, self.records.grants[id_])

    async def load_access_token(self, token: str) -> AccessToken | None:
        """Return the access token, if it is the latest of its grant."""
        grant = self._find(token)
        if grant is None or not _is_of(token, grant.access_digest):
            return None
        return AccessToken(
            token=token,
            client_id=grant.client_id,
            scopes=grant.scopes,
            expires_at=grant.access_ends_at,
            resource=grant.resource,
            subject=grant.account,
        )

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        """End the grant of a token."""
        self.records.grants.pop(_grant_of(token.token), None)
        self._save()

    def _issue(self, id_: str, grant: Grant) -> OAuthToken:
        access, refresh = (f"{id_}.{secrets.token_urlsafe(32)}" for _ in range(2))
        grant.access_digest, grant.refresh_digest = compute_digest(access), compute_digest(refresh)
        grant.access_ends_at = int(time.time()) + self.life
        self._save()
        scope = " ".join(grant.scopes)
        return AccountToken(
            access_token=access,
            refresh_token=refresh,
            expires_in=self.life,
            scope=scope,
            email=grant.account,
        )

    def _find(self, token: str) -> Grant | None:
        return self.records.grants.get(_grant_of(token))

    def _save(self) -> None:
        write_private_file(self.file, self.records.model_dump_json(exclude_none=True))


def _grant_of(token: str) -> str:
    return token.partition(".")[0]


def _is_of(token: str, digest: str) -> bool:
    return hmac.compare_digest(compute_digest(token), digest)


def _keep(kept: MutableMapping[str, Kept], name: str, value: Kept) -> None:
    """Keep one more; the oldest makes room."""
    while len(kept) >= KEPT_MAX:
        del kept[next(iter(kept))]
    kept[name] = value
