"""Upstreams that get a token of the gateway's own: `UPSTREAM_<NAME>_TOKEN` and its companions."""

import re
from dataclasses import dataclass

from gateway_site.environment.parsers import one_of, parse_words
from gateway_site.environment.variable import InvalidValue, Variable, list_parser
from gateway_site.rules.mcp_servers import McpServerVariables
from oauth.access_rule import EMAIL, NAME

PROVIDER, IDENTITY = "provider", "identity"  # whose token an upstream gets
AUDIENCE = re.compile(r"[!-~]+")
GROUPS = "groups"
CLAIMS = (EMAIL, NAME, GROUPS)
STORED_CLAIMS = frozenset({EMAIL, NAME})  # by a sign-in, if an upstream gets them


@dataclass(frozen=True)
class IdentityToken:
    """What the gateway's tokens for one upstream say: the audience, and which optional claims."""

    audience: str
    claims: frozenset[str] = frozenset()


def parse_audience(text: str) -> str:
    """Return an audience."""
    if not AUDIENCE.fullmatch(text):
        raise InvalidValue("must be one word of visible ASCII characters, such as an address.")
    return text


@list_parser
def parse_claims(text: str) -> frozenset[str]:
    """Return names of claims."""
    found = frozenset(parse_words(text))
    if not found <= set(CLAIMS):
        raise InvalidValue(f"must be some of these: {', '.join(CLAIMS)}.")
    return found


class UpstreamTokenVariables(McpServerVariables):
    """Which token an upstream gets, and what the gateway's own says."""

    token = Variable(
        one_of((PROVIDER, IDENTITY)),
        PROVIDER,
        "`identity` sends it [a token of the gateway](guides/identity-tokens.md) instead",
    )
    audience = Variable(parse_audience, "", "`aud` of those tokens", shown_default="`_URL`")
    claims = Variable[frozenset[str]](
        parse_claims, frozenset(), "more claims of those tokens: `email`, `name`, `groups`"
    )

    def read_identity(self, url: str) -> IdentityToken | None:
        """Return what the gateway's tokens say; None if the upstream gets the provider's.

        ``url`` is the upstream's as configured. Raises ImproperlyConfigured.
        """
        declared = UpstreamTokenVariables
        if self.token != IDENTITY:
            self.reject(
                [declared.audience, declared.claims],
                f"has no effect: {self.get_name(declared.token)} is not {IDENTITY}.",
            )
            return None
        if self.mcp:
            problem = f"cannot be {IDENTITY} beside {self.get_name(declared.mcp)}."
            raise self.error(declared.token, problem)
        return IdentityToken(self.audience or url, self.claims)
