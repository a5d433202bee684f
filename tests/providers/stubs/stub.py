"""The base of the stubs: a provider at its real host name, over TLS."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import requests

from tests.oauth.support.fake_provider import (
    CLIENT_ID,
    CLIENT_SECRET,
    FakeProvider,
    Handler,
    Response,
)
from tests.oauth.support.hostile import Internet, certificates
from tests.support.http_server import TlsServer, serve

ADDRESS = "93.184.215.14"  # of the whole world
GATEWAY = "http://testserver"


@dataclass
class Stub(FakeProvider):
    """A provider as its documentation has it. ``name`` is what the gateway calls it."""

    name: ClassVar[str]
    host: ClassVar[str]
    base: ClassVar[str] = ""  # the path of the issuer
    scopes_known: ClassVar[frozenset[str]] = frozenset({"openid", "profile", "email"})
    variables: ClassVar[dict[str, str]] = {}  # besides client id and secret
    trusted: Path = Path()  # the authority of its certificate
    refused: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that docs/providers.md has for it."""
        own = {"CLIENT_ID": CLIENT_ID, "CLIENT_SECRET": CLIENT_SECRET} | self.variables
        prefix = f"OAUTH_{self.name.upper()}_"
        own |= {"CA_FILE": str(self.trusted)}
        return {prefix + name: value for name, value in own.items() if value}

    @property
    def redirect_uri(self) -> str:
        """The one that is registered: providers compare it letter by letter."""
        return f"{GATEWAY}/accounts/oidc/{self.name}/login/callback/"

    def respond(self, path: str, parameters: dict[str, str], authorization: str) -> Response:
        if not path.startswith(self.base):
            return 404, "text/plain", b""
        return super().respond(path.removeprefix(self.base), parameters, authorization)

    def authorize(self, query: dict[str, str]) -> Response:
        """Show a page for an address that is not registered, else send the error back."""
        if query.get("redirect_uri") != self.redirect_uri:
            return 400, "text/plain", b"redirect_uri_mismatch"
        error = self.fault_of(query)
        if error is None:
            return super().authorize(query)
        self.refused.append(error)
        response = {"error": error, "state": query["state"]}
        return 302, f"{query['redirect_uri']}?{urlencode(response)}", b""

    def fault_of(self, query: dict[str, str]) -> str | None:
        """Return the error that an authorization request gets."""
        unknown = set(query.get("scope", "").split()) - self.scopes_known
        return "invalid_scope" if unknown else None

    def token(self, form: dict[str, str], authorization: str, *, github: bool = False) -> Response:
        if asked := self.codes.get(form.get("code", "")):
            self.note(asked)
        return super().token(form, authorization, github=github)

    def note(self, asked: dict[str, str]) -> None:
        """See what was asked for, before its code is exchanged."""

    def browse(self, url: str) -> requests.Response:
        """Be the browser that is led to the provider."""
        return requests.get(url, allow_redirects=False, timeout=10, verify=str(self.trusted))

    def consent(self, url: str, *, error: str | None = None) -> str:
        """Return where the browser is sent back to."""
        response = self.browse(url)
        assert response.status_code == 302, response.text
        return response.headers["Location"]


@contextmanager
def serving(kind: type[Stub], internet: Internet, folder: Path) -> Iterator[Stub]:
    """Serve a provider under its own name, in an internet of the test's own."""
    hosts = [kind.host, *getattr(kind, "more_hosts", ())]
    provider = kind()
    provider.issuer = f"https://{kind.host}{kind.base}"
    provider.trusted, context = certificates(folder, *hosts)
    handler = type("Handler", (Handler,), {"provider": provider})
    for host in hosts:
        internet.name(host, ADDRESS)
    with serve(TlsServer(handler, context)) as server:
        internet.servers[ADDRESS, 443] = server.server_port
        yield provider


def query_of(url: str) -> dict[str, Any]:
    """Return the parameters of an address."""
    return dict(parse_qsl(urlsplit(url).query))
