"""The configuration of the authorization server: its issuer, upstreams and allowed clients.

It is Django's setting `AUTHORIZATION_SERVER`, which is None if there are no OAuth clients.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest

from oauth.clients.rules import redirect_uris, registration
from oauth.clients.rules.authentication import CLIENT_SECRET, NONE, PRIVATE_KEY_JWT
from oauth.clients.rules.client import (
    CLIENT_ID_PREFIX,
    HTTPS_SCHEME,
    Client,
    Source,
    document_host,
    is_document_url,
)
from oauth.clients.rules.errors import UnknownClient
from sessions_kms import about

SETTING = "AUTHORIZATION_SERVER"
KEYS_PATH = ".well-known/jwks.json"
LOOPBACK_HOST = "localhost"  # in lists, it includes the loopback addresses
# For a request's person, a client and an upstream: names of tools, also such as "search_*"; None
# without a restriction.
FindTools = Callable[[HttpRequest, Client, str], tuple[str, ...] | None]


@dataclass(frozen=True, kw_only=True)
class AuthorizationServer:
    """``upstreams`` are the offered ones, each with the provider whose token it gets.

    ``metadata_documents`` and ``registration`` say by which means clients may become known. If
    ``allowed_hosts`` is set, only clients of these hosts are allowed; ``.example.com`` means the
    subdomains. ``refused`` contains hosts of the same form, or ids. ``listed`` are the operator's
    clients, which are always allowed; ``redirect_uris`` are URIs with private schemes.
    ``has_keys`` says whether the issuer publishes keys at `KEYS_PATH`, ``private_key_jwt`` whether
    clients may authenticate with a key, ``dpop`` whether they may bind their tokens to one.
    ``identity_upstreams`` are those of the upstreams that get a token of the gateway's own instead
    of the provider's.
    ``find_tools`` returns the tools to which a client is restricted, for the consent page.
    """

    issuer: str
    upstreams: Mapping[str, str]
    metadata_documents: bool = False
    registration: bool = False
    allowed_hosts: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    listed: Mapping[str, Client] = field(default_factory=dict)
    redirect_uris: frozenset[str] = redirect_uris.DEFAULT_URIS
    has_keys: bool = False
    private_key_jwt: bool = False
    dpop: bool = False
    identity_upstreams: frozenset[str] = frozenset()

    @property
    def document_methods(self) -> tuple[str, ...]:
        """The methods by which clients that are known by a document may authenticate."""
        return (NONE, PRIVATE_KEY_JWT) if self.private_key_jwt else (NONE,)

    @cached_property
    def auth_methods(self) -> tuple[str, ...]:
        """The methods by which clients may authenticate, in the order of the metadata."""
        has_secret = any(each.authentication.secret_digests for each in self.listed.values())
        return self.document_methods + (CLIENT_SECRET if has_secret else ())

    find_tools: FindTools | None = None

    @cached_property
    def listed_by_label(self) -> Mapping[str, str]:
        """The ids of the operator's clients, by their form in labels of sessions."""
        return {about.short_client_id(each): each for each in self.listed}

    def may_fetch(self, client_id: str) -> bool:
        """Return True if a client is described by a document that may be fetched.

        One of the gateway's own host describes the gateway to other servers
        (`oauth.mcp.client_documents`), and nobody signs in here with it.
        """
        return (
            self.metadata_documents
            and client_id not in self.listed
            and is_document_url(client_id)
            and document_host(client_id) != urlsplit(self.issuer).hostname
            and self._allows_hosts(client_id, [document_host(client_id)])
        )

    def find_client(self, client_id: str) -> Client:
        """Return a client that is known without a document. Raises UnknownClient."""
        if client_id in self.listed:
            return self.listed[client_id]
        if not self.registration or not client_id.startswith(CLIENT_ID_PREFIX):
            raise UnknownClient
        return registration.decode_client_id(client_id, self.redirect_uris)

    def accepts_redirect(self, client: Client, redirect_uri: str) -> bool:
        """Return True if the client may use the redirect URI."""
        if not client.has_redirect_uri(redirect_uri, self.redirect_uris):
            return False
        if client.source is Source.ITSELF:
            return self._allows_hosts(client.id, [_redirect_host(redirect_uri)])
        return True

    def may_redirect(self, client: Client, redirect_uri: str) -> bool:
        """Return True if errors may be redirected to the client without a click.

        Otherwise anyone who registers a client or publishes a document could use the gateway as an
        open redirector, by causing errors (RFC 9700 section 4.11.2). Therefore the operator must
        have listed the client or the host, or the URI must be on the person's own computer.
        """
        if client.source is Source.OPERATOR or redirect_uris.is_loopback(redirect_uri):
            return True
        is_web = redirect_uri.startswith(HTTPS_SCHEME)
        return (
            is_web
            and bool(self.allowed_hosts)
            and self._allows_hosts(client.id, [_redirect_host(redirect_uri)])
        )

    def is_known(self, client_id: str) -> bool:
        """Return True if a client may still have tokens, without fetching its document."""
        try:
            client = self.find_client(client_id)
        except UnknownClient:
            return self.may_fetch(client_id)
        places = [_redirect_host(each) for each in client.redirect_uris]
        return client.source is Source.OPERATOR or any(
            self._allows_hosts(client_id, [each]) for each in places
        )

    def may_hold_grant(self, client_id: str, redirect_uri: str) -> bool:
        """Return True if a client may still have tokens of a grant with this redirect URI."""
        try:
            return self.accepts_redirect(self.find_client(client_id), redirect_uri)
        except UnknownClient:
            return self.may_fetch(client_id)

    def may_use_assertions(self, client_id: str) -> bool:
        """Return True if a client may get tokens for an assertion, if it authenticates.

        A client of the operator's list may have to, and one with a document always has to.
        """
        listed = self.listed.get(client_id)
        if listed is not None:
            return listed.may_use_assertions
        return self.private_key_jwt and self.may_fetch(client_id)

    def _allows_hosts(self, client_id: str, hosts: Iterable[str]) -> bool:
        found = list(hosts)
        # A long id is also compared in the shortened form that `list_clients` shows.
        ids = {client_id, about.short_client_id(client_id)}
        if ids & self.refused or any(_is_listed_host(each, self.refused) for each in found):
            return False
        return not self.allowed_hosts or all(
            _is_listed_host(each, self.allowed_hosts) for each in found
        )


def authorization_server() -> AuthorizationServer:
    """Return the configured one; there must be one."""
    found: AuthorizationServer = getattr(settings, SETTING)
    return found


def _redirect_host(redirect_uri: str) -> str:
    if redirect_uris.is_loopback(redirect_uri):
        return LOOPBACK_HOST
    return redirect_uris.host_of(redirect_uri)


def _is_listed_host(host: str, hosts: frozenset[str]) -> bool:
    """Return True if a host is in a list, or a subdomain of an entry that begins with a dot."""
    parts = host.split(".")
    return host in hosts or any("." + ".".join(parts[at:]) in hosts for at in range(1, len(parts)))
