"""OAuth clients that sign in here: `AUTHORIZATION_ISSUER` and `CLIENTS_…`.

They become the settings `AUTHORIZATION_SERVER` (None if no client may sign in) and `OAUTH_CLIENTS`.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from gateway_site.environment.parsers import (
    declare_flag,
    number,
    parse_flag,
    parse_origin,
    words_that,
)
from gateway_site.environment.variable import InvalidValue, Variable, Variables, read_file
from oauth import formats
from oauth.clients.rules import client, registration
from oauth.clients.rules.client import Client
from oauth.clients.rules.redirect_uris import CURSOR_URI, DEFAULT_URIS, is_private_scheme
from oauth.clients.rules.redirect_uris import HOST as HOST_NAME
from oauth.clients.server import AuthorizationServer

HOST = re.compile(rf"\.?(?:{HOST_NAME}|localhost|[a-z0-9-]+)")
DIGEST = re.compile("sha256:[0-9a-f]{64}")  # of a long client id, as `list_clients` shows it
FILE_MAX = 256 * 1024  # bytes
DAY = 24 * 3600  # seconds
GATEWAY = "gateway"  # the client id of browsers, in tokens for upstreams


def _is_client_id(text: str) -> bool:
    return client.is_document_url(text) or any(
        form.fullmatch(text) for form in (registration.CLIENT_ID_FORMAT, DIGEST)
    )


parse_client_hosts = words_that(
    HOST.fullmatch,
    "must be hosts in lower case, such as claude.ai, .example.com for its subdomains, or "
    "localhost for programs on people's own computers.",
)
# An entry that cannot match any client is an error.
parse_refused_clients = words_that(
    lambda each: HOST.fullmatch(each) or _is_client_id(each),
    "must be hosts as in CLIENTS_ALLOWED_HOSTS, or whole client ids as list_clients shows them: "
    "dcr.…, sha256:…, or the https address of a document.",
)
parse_redirect_uris = words_that(
    is_private_scheme,
    "must be whole addresses with a program's own scheme, such as "
    f"{CURSOR_URI}, without code, state, iss or error in the query. Addresses with https or http "
    "need not be listed.",
)


def parse_json_file(text: str) -> Any:
    """Return the content of a JSON file."""
    try:
        return formats.parse_json(read_file(Path(text), FILE_MAX))
    except formats.InvalidJSON:
        raise InvalidValue("names a file that is not valid JSON.") from None
    except ValueError as error:
        raise InvalidValue(f": {error}") from None


class ClientVariables(Variables):
    """Which OAuth clients may sign in here, and how long their tokens live."""

    names_begin = "CLIENTS_"

    issuer = Variable(
        parse_origin,
        "",
        "https origin at which OAuth clients sign in",
        shown_default="`PUBLIC_URL`",
        name="AUTHORIZATION_ISSUER",
    )
    access_token_age = Variable(
        number(60, DAY, "seconds"),
        None,
        "an access token's lifetime in seconds, 60 to 86400; at most half of"
        " `SESSIONS_IDLE_TIMEOUT`",
        shown_default="`3600`",
    )
    allowed_hosts = Variable[frozenset[str]](
        parse_client_hosts,
        frozenset(),
        "hosts whose clients may sign in; `.example.com` means subdomains, `localhost` local"
        " programs",
        shown_default="all",
    )
    dpop = declare_flag("clients may bind their tokens to [a key](mcp.md#tokens-bound-to-a-key)")
    end_with_sid = Variable(
        parse_flag,
        None,
        "a back-channel logout by `sid` also ends that sign-in's grants",
        shown_default="`0`",
    )
    file = Variable[Any](
        parse_json_file,
        [],
        "JSON file of registered clients and pinned documents",
        shown_default="",
    )
    grant_age = Variable(
        number(600, 90 * DAY, "seconds"),
        None,
        "a grant's lifetime in seconds, 600 to 7776000",
        shown_default="`SESSIONS_ABSOLUTE_TIMEOUT`",
    )
    metadata_documents = declare_flag("fetch Client ID Metadata Documents")
    private_key_jwt = declare_flag(
        "clients may authenticate with [a key](mcp.md#clients-with-a-key)"
    )
    redirect_uris = Variable(
        parse_redirect_uris,
        DEFAULT_URIS,
        "more [redirect URIs](oauth-clients.md#client-metadata) with private schemes",
        shown_default="Cursor's",
    )
    refresh_grace = Variable(
        number(0, 300, "seconds"),
        None,
        "seconds in which a client may repeat a refresh, 0 to 300",
        shown_default="`120`",
    )
    refused = Variable[frozenset[str]](
        parse_refused_clients,
        frozenset(),
        "hosts of rejected clients, or their ids from `list_clients`",
    )
    registration = declare_flag("clients may register themselves (RFC 7591)")

    def build_lifetimes(self) -> dict[str, Any]:
        """Return the setting `OAUTH_CLIENTS`, with only the values that are set."""
        found = {
            "access_token_age": self.access_token_age,
            "refresh_grace": self.refresh_grace,
            "end_with_sid": self.end_with_sid,
        }
        return {name: value for name, value in found.items() if value is not None}

    def build_server(
        self,
        upstreams: Mapping[str, str],
        *,
        url: str,
        scheme: str,
        has_keys: bool = False,
        identity_upstreams: Iterable[str] = (),
    ) -> AuthorizationServer | None:
        """Return the setting `AUTHORIZATION_SERVER`; None if no client may sign in.

        `upstreams` are the upstreams that clients may call, with their providers; `url` is the
        gateway's own URL, and `has_keys` whether it publishes keys. `identity_upstreams` get a
        token of the gateway's own. Raises ImproperlyConfigured.
        """
        issuer = self._choose_issuer(upstreams, url=url, scheme=scheme)
        if issuer is None:
            address = "" if url else "PUBLIC_URL, and "
            self.reject(
                ClientVariables.declarations(),
                f"has no effect, because no client may sign in. Set {address}"
                "UPSTREAM_<NAME>_CLIENTS=1 for each upstream that clients may call.",
            )
            return None
        known = self._read_listed()
        if both := sorted(known.keys() & self.refused):
            raise self.error(
                ClientVariables.refused,
                f"names {both[0]}, which CLIENTS_FILE allows: remove it from one of them.",
            )
        return AuthorizationServer(
            issuer=issuer,
            upstreams=dict(upstreams),
            metadata_documents=self.metadata_documents,
            registration=self.registration,
            allowed_hosts=self.allowed_hosts,
            refused=self.refused,
            listed=known,
            redirect_uris=self.redirect_uris,
            has_keys=has_keys,
            private_key_jwt=self.private_key_jwt,
            dpop=self.dpop,
            identity_upstreams=frozenset(identity_upstreams) & upstreams.keys(),
        )

    def _choose_issuer(self, upstreams: Mapping[str, str], *, url: str, scheme: str) -> str | None:
        """Return the one URL of the gateway for clients; it never depends on a request."""
        named = self.issuer
        if named and not named.startswith(f"{scheme}://"):
            raise self.error(ClientVariables.issuer, f"must begin with {scheme}://.")
        if named and url and named != url:
            raise self.error(ClientVariables.issuer, "must equal PUBLIC_URL if both are set.")
        if not named and not upstreams:
            return None
        if not (named or url):
            raise ImproperlyConfigured(
                f"UPSTREAM_{next(iter(upstreams)).upper()}_CLIENTS needs PUBLIC_URL: clients must "
                "know the gateway by one address."
            )
        return named or url

    def _read_listed(self) -> dict[str, Client]:
        try:
            found = client.read_client_list(self.file, self.redirect_uris)
        except ValueError as error:
            problem = f"cannot be used: its content {error}"
            raise self.error(ClientVariables.file, problem) from None
        if GATEWAY in found:
            problem = f"cannot be used: the client id {GATEWAY} is that of browsers."
            raise self.error(ClientVariables.file, problem)
        bound = [each.id for each in found.values() if each.needs_proof]
        if bound and not self.dpop:
            problem = f"has {client.BOUND_TOKENS} of {bound[0]}, which needs CLIENTS_DPOP=1."
            raise self.error(ClientVariables.file, problem)
        with_key = [each.id for each in found.values() if each.authentication.has_key]
        if with_key and not self.private_key_jwt:
            problem = f"has keys of {with_key[0]}, which needs CLIENTS_PRIVATE_KEY_JWT=1."
            raise self.error(ClientVariables.file, problem)
        return found
