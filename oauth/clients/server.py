"""The authorization server as it is configured: who it is, what it offers, and to whom.

Django's setting `AUTHORIZATION_SERVER` holds one, or None where it is off. Knows no request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from django.conf import settings

from oauth.clients.rules import redirect_uris, registration
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
LOOPBACK_HOST = "localhost"  # stands for each way to write this computer


@dataclass(frozen=True, kw_only=True)
class AuthorizationServer:
    """``upstreams`` are those that are offered, each with the provider whose token it gets.

    ``metadata_documents`` and ``registration`` tell whether clients may come by one. With
    ``allowed_hosts`` only clients of these hosts may; ``.example.com`` is for what lies below.
    ``refused`` are hosts likewise, or whole ids. ``listed`` are the operator's own clients, who
    are always welcome; ``redirect_uris`` are addresses with schemes of their own.
    """

    issuer: str
    upstreams: Mapping[str, str]
    metadata_documents: bool = False
    registration: bool = False
    allowed_hosts: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    listed: Mapping[str, Client] = field(default_factory=dict)
    redirect_uris: frozenset[str] = redirect_uris.DEFAULT_URIS

    def may_fetch(self, client_id: str) -> bool:
        """Return True if what is known of a client stands in a document that has to be fetched."""
        return (
            self.metadata_documents
            and client_id not in self.listed
            and is_document_url(client_id)
            and self._allows_hosts(client_id, [document_host(client_id)])
        )

    def find_client(self, client_id: str) -> Client:
        """Return a client of which all is known by its id. Raises UnknownClient."""
        if client_id in self.listed:
            return self.listed[client_id]
        if not self.registration or not client_id.startswith(CLIENT_ID_PREFIX):
            raise UnknownClient
        return registration.decode_client_id(client_id, self.redirect_uris)

    def accepts_redirect(self, client: Client, redirect_uri: str) -> bool:
        """Return True if a client may have its answer at an address."""
        if not client.has_redirect_uri(redirect_uri, self.redirect_uris):
            return False
        if client.source is Source.ITSELF:
            return self._allows_hosts(client.id, [_redirect_host(redirect_uri)])
        return True

    def may_redirect(self, client: Client, redirect_uri: str) -> bool:
        """Return True if an error may go to a client's address without its person choosing to.

        Otherwise anybody who registers, or puts a document on a host, could use the gateway to
        send people there, by errors that they cause (RFC 9700 section 4.11.2). So the operator
        has named the client or the host, or the address is on the person's own computer.
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
        """Return True if a client that was consented to may still have tokens; nobody is asked."""
        try:
            client = self.find_client(client_id)
        except UnknownClient:
            return self.may_fetch(client_id)
        places = [_redirect_host(each) for each in client.redirect_uris]
        return client.source is Source.OPERATOR or any(
            self._allows_hosts(client_id, [each]) for each in places
        )

    def may_hold_grant(self, client_id: str, redirect_uri: str) -> bool:
        """Return True if a client may still have tokens of a grant that was answered there."""
        try:
            return self.accepts_redirect(self.find_client(client_id), redirect_uri)
        except UnknownClient:
            return self.may_fetch(client_id)

    def _allows_hosts(self, client_id: str, hosts: Iterable[str]) -> bool:
        found = list(hosts)
        # A long id by its digest, too: so `list_clients` shows it.
        ids = {client_id, about.short_client_id(client_id)}
        if ids & self.refused or any(_is_listed_host(each, self.refused) for each in found):
            return False
        return not self.allowed_hosts or all(
            _is_listed_host(each, self.allowed_hosts) for each in found
        )


def authorization_server() -> AuthorizationServer:
    """Return the one that is configured; there must be one."""
    found: AuthorizationServer = getattr(settings, SETTING)
    return found


def _redirect_host(redirect_uri: str) -> str:
    if redirect_uris.is_loopback(redirect_uri):
        return LOOPBACK_HOST
    return redirect_uris.host_of(redirect_uri)


def _is_listed_host(host: str, hosts: frozenset[str]) -> bool:
    """Return True if a host is in a list, or lies below an entry that begins with a dot."""
    parts = host.split(".")
    return host in hosts or any("." + ".".join(parts[at:]) in hosts for at in range(1, len(parts)))
