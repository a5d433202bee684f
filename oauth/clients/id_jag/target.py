"""What an assertion gives access to: one upstream, by its claims and the request. Pure.

The claims are those of EMA (`io.modelcontextprotocol/enterprise-managed-authorization`), section
7.6.2: a claim that fits nothing here is `invalid_grant`. A parameter is `invalid_target`.
"""

from collections.abc import Collection, Mapping
from typing import Any

from oauth.clients.id_jag.assertion import read_sole
from oauth.clients.rules.errors import (
    InvalidAssertion,
    InvalidTarget,
    RequestRejected,
    ResourceMissing,
    ResourceNotOpen,
)
from oauth.clients.rules.resources import find_upstream


def choose_upstream(
    claims: Mapping[str, Any], requested: str | None, *, issuer: str, upstreams: Collection[str]
) -> str:
    """Return the upstream that a grant is for, of those that are open to the assertion.

    ``requested`` is the upstream of the request's `resource`, if it has one. Raises
    InvalidAssertion for the claim `resource`, and InvalidTarget for the request's.
    """
    if requested is not None and requested not in upstreams:
        raise ResourceNotOpen
    if "resource" not in claims:
        return _choose_sole(requested, upstreams)
    named = read_sole(claims["resource"])
    try:
        claimed = None if named is None else find_upstream(issuer, upstreams, named)
    except RequestRejected:
        claimed = None
    if claimed is None:
        raise InvalidAssertion("Its resource is no upstream that is open to it.")
    if requested not in {None, claimed}:
        raise InvalidTarget
    return claimed


def _choose_sole(requested: str | None, upstreams: Collection[str]) -> str:
    if requested is not None:
        return requested
    if len(upstreams) != 1:
        raise ResourceMissing
    (sole,) = upstreams
    return sole


def check_scope(
    claims: Mapping[str, Any], requested: str, *, upstream: str, offered: Collection[str]
) -> None:
    """Raise InvalidAssertion unless claim and request both leave the upstream's scope.

    The name of an upstream is its only scope. The claim is what the provider allows, so one that
    names only what is unknown here allows nothing. Of a request, unknown scopes are ignored, as
    everywhere (RFC 6749 section 3.3). Empty ones count as absent.
    """
    claimed = claims.get("scope", "")
    if not isinstance(claimed, str):
        raise InvalidAssertion("Its scope is no text.")
    if claimed.split() and upstream not in claimed.split():
        raise InvalidAssertion("Its scope is none of the upstream.")
    known = set(requested.split()) & set(offered)
    if known and upstream not in known:
        raise InvalidAssertion("The request's scope is none of the upstream.")
