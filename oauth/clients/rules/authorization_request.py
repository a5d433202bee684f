"""Parses authorization requests (OAuth 2.1 section 4.1.1) into a `RequestedGrant`.

There are two steps. Until the redirect URI is known to belong to the client, no error may be sent
to it (`parse_authorization_request`); after that, errors may (`find_choices`, `select_grant`). This
module does not look up clients.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from oauth.clients.rules import resources
from oauth.clients.rules.errors import (
    CONSENT_REQUIRED,
    INVALID_REQUEST,
    REQUEST_NOT_SUPPORTED,
    REQUEST_URI_NOT_SUPPORTED,
    UNSUPPORTED_RESPONSE_TYPE,
    RequestRejected,
)
from oauth.clients.rules.parsing import parse_pairs, require_parameter, require_unique

QUERY_MAX = 1900  # bytes; Django refuses a `next` over 2,048
CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # of SHA-256: RFC 7636 section 4.2


@dataclass(frozen=True)
class AuthorizationRequest:
    """An authorization request that has not been validated yet."""

    client_id: str
    redirect_uri: str
    state: str | None
    parameters: dict[str, str] = field(repr=False)


@dataclass(frozen=True)
class RequestedGrant:
    """The grant that a client requests."""

    upstream: str
    resource: str
    scope: str
    challenge: str


def parse_authorization_request(query: str) -> AuthorizationRequest:
    """Parse a query. Raises RequestRejected, which must not be sent to the redirect URI."""
    if len(query) > QUERY_MAX:
        raise RequestRejected(INVALID_REQUEST, "The request is over 1,900 bytes long.")
    parameters = require_unique(parse_pairs(query))
    return AuthorizationRequest(
        client_id=require_parameter(parameters, "client_id"),
        redirect_uri=require_parameter(parameters, "redirect_uri"),
        state=parameters.get("state"),
        parameters=parameters,
    )


def find_choices(
    auth_request: AuthorizationRequest, issuer: str, offered: Collection[str]
) -> tuple[str, ...]:
    """Return the upstreams that a valid request may be about.

    Raises RequestRejected, which may be sent to the client.
    """
    parameters = auth_request.parameters
    _reject_unsupported(parameters)
    challenge = parameters.get("code_challenge", "")
    is_sha256 = parameters.get("code_challenge_method") == "S256"
    if not is_sha256 or not CHALLENGE.fullmatch(challenge):
        raise RequestRejected(INVALID_REQUEST, "PKCE with the method S256 is required (RFC 7636).")
    return resources.find_upstreams(
        issuer, offered, parameters.get("resource"), _requested_scope(auth_request)
    )


def select_grant(
    auth_request: AuthorizationRequest,
    issuer: str,
    offered: Collection[str],
    choice: str | None = None,
) -> RequestedGrant:
    """Return the requested grant; ``choice`` is the upstream that the person chose, if several fit.

    Raises RequestRejected, which may be sent to the client.
    """
    upstream = resources.choose_upstream(find_choices(auth_request, issuer, offered), choice)
    return RequestedGrant(
        upstream=upstream,
        resource=resources.resource_of(issuer, upstream),
        scope=resources.grant_scope(upstream, _requested_scope(auth_request)),
        challenge=auth_request.parameters["code_challenge"],
    )


def _requested_scope(auth_request: AuthorizationRequest) -> list[str]:
    return auth_request.parameters.get("scope", "").split()


def _reject_unsupported(parameters: dict[str, str]) -> None:
    if "request" in parameters:
        raise RequestRejected(REQUEST_NOT_SUPPORTED, "Request objects are not supported.")
    if "request_uri" in parameters:
        raise RequestRejected(REQUEST_URI_NOT_SUPPORTED, "Request objects are not supported.")
    if parameters.get("response_type") != "code":
        raise RequestRejected(UNSUPPORTED_RESPONSE_TYPE, "The response_type must be code.")
    if parameters.get("response_mode", "query") != "query":
        raise RequestRejected(INVALID_REQUEST, "The response_mode must be query.")
    if "none" in parameters.get("prompt", "").split():
        raise RequestRejected(CONSENT_REQUIRED, "A person is asked each time.")
