"""An authorization request (OAuth 2.1 section 4.1.1): a query enters, what is asked for leaves.

In two steps. Until client and redirect URI are known to belong together nothing may be told to
whoever stands behind the URI (`read`); then all else may be (`wish`). Knows no client.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from oauth.clients.rules import resources
from oauth.clients.rules.parameters import once, pairs_of, required
from oauth.clients.rules.refusal import (
    CONSENT_REQUIRED,
    INVALID_REQUEST,
    REQUEST_NOT_SUPPORTED,
    REQUEST_URI_NOT_SUPPORTED,
    UNSUPPORTED_RESPONSE_TYPE,
    Refused,
)

QUERY_MAX = 1900  # bytes; Django refuses a `next` over 2,048
CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # of SHA-256: RFC 7636 section 4.2


@dataclass(frozen=True)
class Asked:
    """A request, of which nothing is believed yet."""

    client_id: str
    redirect_uri: str
    state: str | None
    parameters: dict[str, str] = field(repr=False)


@dataclass(frozen=True)
class Wish:
    """What a client asks a person for."""

    upstream: str
    resource: str
    scope: str
    challenge: str


def read(query: str) -> Asked:
    """Return what a query asks. Raises Refused, which is not for the redirect URI to know."""
    if len(query) > QUERY_MAX:
        raise Refused(INVALID_REQUEST, f"The request is over {QUERY_MAX:,} bytes long.")
    parameters = once(pairs_of(query))
    return Asked(
        client_id=required(parameters, "client_id"),
        redirect_uri=required(parameters, "redirect_uri"),
        state=parameters.get("state"),
        parameters=parameters,
    )


def choices(asked: Asked, issuer: str, offered: Collection[str]) -> tuple[str, ...]:
    """Return the upstreams that a valid request may be about.

    Raises Refused, which the client may know.
    """
    parameters = asked.parameters
    _refuse_what_is_not_built(parameters)
    challenge = parameters.get("code_challenge", "")
    is_sha256 = parameters.get("code_challenge_method") == "S256"
    if not is_sha256 or not CHALLENGE.fullmatch(challenge):
        raise Refused(INVALID_REQUEST, "PKCE with the method S256 is required (RFC 7636).")
    return resources.possible(issuer, offered, parameters.get("resource"), _scope(asked))


def wish(asked: Asked, issuer: str, offered: Collection[str], choice: str | None = None) -> Wish:
    """Return what is wished for; ``choice`` is the person's, where there are several upstreams.

    Raises Refused, which the client may know.
    """
    upstream = resources.chosen(choices(asked, issuer, offered), choice)
    return Wish(
        upstream=upstream,
        resource=resources.resource_of(issuer, upstream),
        scope=resources.granted(upstream, _scope(asked)),
        challenge=asked.parameters["code_challenge"],
    )


def _scope(asked: Asked) -> list[str]:
    return asked.parameters.get("scope", "").split()


def _refuse_what_is_not_built(parameters: dict[str, str]) -> None:
    if "request" in parameters:
        raise Refused(REQUEST_NOT_SUPPORTED, "Request objects are not supported.")
    if "request_uri" in parameters:
        raise Refused(REQUEST_URI_NOT_SUPPORTED, "Request objects are not supported.")
    if parameters.get("response_type") != "code":
        raise Refused(UNSUPPORTED_RESPONSE_TYPE, "The response_type must be code.")
    if parameters.get("response_mode", "query") != "query":
        raise Refused(INVALID_REQUEST, "The response_mode must be query.")
    if "none" in parameters.get("prompt", "").split():
        raise Refused(CONSENT_REQUIRED, "A person is asked each time.")
