"""A person who is signed in and connects MCP servers, and the settings that declare these."""

import html
import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pytest_django import Settings

from gateway_site.rules.upstream import read_mcp_servers, read_upstreams
from oauth.provider.token_set import TokenSet
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.mcp_server import McpResource
from tests.oauth.support.requests import stored_tokens
from tests.oauth.support.shown import shown_fields

ONWARD = re.compile(r'<a class="button" rel="noreferrer" href="([^"]+)"')


def declare(settings: Settings, variables: dict[str, str] | None = None, **servers: str) -> None:
    """Declare MCP servers by their names and addresses, and give them more variables."""
    declared = {f"UPSTREAM_{name.upper()}_MCP": url for name, url in servers.items()}
    declared |= variables or {}
    settings.UPSTREAMS = read_upstreams(declared)
    settings.OAUTH_MCP_SERVERS = read_mcp_servers(declared)


class Connecting:
    """What a signed-in visitor does to connect the MCP server ``name``."""

    def __init__(self, visitor: Visitor, resource: McpResource, name: str = "notes") -> None:
        self.visitor = visitor
        self.resource = resource
        self.path = f"/accounts/connect/{name}/"
        self.name = name

    def post(self, **form: str) -> Any:
        """Confirm the page that says what connecting means."""
        return self.visitor.client.post(self.path, shown_fields(self.visitor.user_id) | form)

    def begin(self, **form: str) -> str:
        """Confirm it; return the address of the authorization request."""
        page = self.post(**form)
        found = ONWARD.search(page.content.decode())
        assert page.status_code == 200, page.content
        assert found is not None, page.content.decode()
        return html.unescape(found[1])

    def back(self, location: str) -> Any:
        """Follow the redirect from the authorization server."""
        return self.visitor.client.get(location)

    def connect(self, **form: str) -> Any:
        """Connect it; return the response of the callback."""
        return self.back(self.resource.authorization.consent(self.begin(**form)))

    @property
    def held(self) -> TokenSet:
        """The token set of the stored session."""
        return stored_tokens(self.visitor, self.name)


def query_of(url: str) -> dict[str, str]:
    """Return the parameters of an address."""
    return dict(parse_qsl(urlsplit(url).query))
