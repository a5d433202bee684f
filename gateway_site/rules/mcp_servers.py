"""Upstreams that people connect: `UPSTREAM_<NAME>_MCP` and its companions.

They become the setting `OAUTH_MCP_SERVERS` (`oauth.mcp.servers`).
"""

import re
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from gateway_site.environment.admission_variables import UpstreamGroupVariables
from gateway_site.environment.parsers import (
    ALLOW_HTTP,
    ALLOW_PRIVATE,
    CA_FILE,
    REVOCATION,
    declare_text,
    parse_words,
    read_origin,
)
from gateway_site.environment.variable import InvalidValue, Variable, list_parser

SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 section 3.3


@list_parser
def parse_scopes(text: str) -> tuple[str, ...]:
    """Return scopes."""
    found = parse_words(text)
    if not all(map(SCOPE.fullmatch, found)):
        raise InvalidValue("must be scopes separated by blanks or commas.")
    return found


class McpServerVariables(UpstreamGroupVariables):
    """The variables that only a connected MCP server has, and those that it shares."""

    client_id = declare_text(
        "the gateway's client id at the MCP server", shown_default="registered"
    )
    client_secret = declare_text(
        "secret of that client, for `_ISSUER` only", shown_default="", secret=True
    )
    scopes = Variable[tuple[str, ...] | None](
        parse_scopes, None, "scopes requested of it", shown_default="discovered"
    )
    issuer = declare_text(
        "issuer of its authorization server, [needed](connect.md#add-a-server) at another origin",
        shown_default="discovered",
    )
    id_jag = Variable(
        str.lower,
        "",
        "provider that [vouches for users](connect.md#enterprise-managed-authorization)"
        " at `_ISSUER`",
        shown_default="users connect it",
    )
    revocation = REVOCATION
    allow_private = ALLOW_PRIVATE
    allow_http = ALLOW_HTTP
    ca_file = CA_FILE

    def check_mcp(self) -> None:
        """Raise ImproperlyConfigured for a variable that does not fit the others."""
        declared = McpServerVariables
        if not self.mcp:
            self.reject(
                [
                    declared.client_id,
                    declared.client_secret,
                    declared.scopes,
                    declared.issuer,
                    declared.id_jag,
                    declared.revocation,
                    declared.allow_private,
                ],
                f"has no effect: {self.get_name(declared.mcp)} is not set.",
            )
            return
        self.reject([declared.provider], f"cannot be set beside {self.get_name(declared.mcp)}.")
        if self.client_secret and not self.client_id:
            raise self.error(
                declared.client_secret, f"needs {self.get_name(declared.client_id)} as well."
            )
        if self.client_secret and not self.issuer:
            raise self.error(
                declared.client_secret,
                f"needs {self.get_name(declared.issuer)} as well: otherwise the MCP server would "
                "choose who gets the secret.",
            )
        if self.id_jag and not self.issuer:
            raise self.error(
                declared.id_jag,
                f"needs {self.get_name(declared.issuer)} as well: otherwise the MCP server would "
                "choose where the provider vouches for users.",
            )
        if self.issuer:
            read_origin(self, declared.issuer, self.issuer)
        if self.allow_private is False and self.allow_http:
            raise self.error(
                declared.allow_http,
                f"leads to private networks: remove {self.get_name(declared.allow_private)}.",
            )
        self.describe_server(self.mcp)  # parses the rest

    def describe_server(self, url: str) -> dict[str, Any]:
        """Return the members of `oauth.mcp.servers.McpServer` that are set."""
        found = {
            "url": url,
            "client_id": self.client_id or None,
            "client_secret": self.client_secret or None,
            "scopes": self.scopes,
            "issuer": self.issuer or None,
            "id_jag": self.id_jag or None,
            "allow_private": bool(self.allow_private or self.allow_http),
            "allow_http": self.allow_http,
            "ca_file": self.ca_file,
            "revocation": self.revocation or None,
        }
        return {name: value for name, value in found.items() if value not in (None, False)}


def check_id_jag(
    servers: Mapping[str, Mapping[str, Any]],
    issuers: Mapping[str, str | None],
    *,
    documents: bool,
) -> None:
    """Raise ImproperlyConfigured if no provider can vouch for users at a server that needs it.

    ``issuers`` are those of the providers, ``documents`` says whether the gateway publishes
    documents.
    """
    for name, server in servers.items():
        if (provider := server.get("id_jag")) is None:
            continue
        prefix = f"UPSTREAM_{name.upper()}_"
        if issuers.get(provider) is None:
            raise ImproperlyConfigured(
                f"{prefix}ID_JAG must name one of the providers with OpenID Connect, which issue "
                "id tokens."
            )
        if not (server.get("client_id") or documents):
            raise ImproperlyConfigured(
                f"{prefix}ID_JAG needs {prefix}CLIENT_ID, or CONNECT_DOCUMENTS=1: the provider "
                "must know the gateway's client id at the server."
            )
