"""The names of the OAuth client that makes a call, for rules and rates.

A client is known by its id in the operator's file, or by the host of its document. One that
registered itself is `unverified`, whatever it calls itself.
"""

import re
from collections.abc import Collection, Mapping

from oauth.clients.rules.client import HOST_LABEL, LABEL_MAX, document_host, is_document_url
from oauth.clients.rules.redirect_uris import HOST
from oauth.clients.server import AuthorizationServer
from sessions_kms import about

UNVERIFIED = "unverified"
DIGEST_START = "sha256:"  # of a long id, as `about.short_client_id` has it
DOCUMENT_HOST = re.compile(HOST)


def name_client(labels: Mapping[str, str], server: AuthorizationServer) -> str:
    """Return the client's id in the operator's file, the host of its document, or `unverified`.

    `labels` are those of the grant's session, in which long ids and hosts are shortened.
    """
    client_id = labels.get(about.CLIENT_ID, "")
    if (listed := server.listed_by_label.get(client_id)) is not None:
        return listed
    return _host_of(client_id, labels) or UNVERIFIED


def list_client_names(labels: Mapping[str, str], server: AuthorizationServer) -> frozenset[str]:
    """Return all names of a client: of a document that the operator lists, also its host."""
    return all_names(name_client(labels, server))


def all_names(name: str) -> frozenset[str]:
    """Return a client's name, and if it is the address of a document, also its host."""
    return frozenset({name, document_host(name)} if is_document_url(name) else {name})


def find_client_problem(name: str, listed: Collection[str]) -> str | None:
    """Return why a rule must not name a client so; None if it may.

    `listed` are the ids of the operator's clients.
    """
    is_host = DOCUMENT_HOST.fullmatch(name) is not None
    if name in listed and (is_host or name == UNVERIFIED):
        return "is an id in CLIENTS_FILE, and has another meaning as well: give it another id"
    if name in listed or name == UNVERIFIED:
        return None
    if not is_host:
        return "is neither an id in CLIENTS_FILE, nor the host of a document, nor 'unverified'"
    if len(name) > LABEL_MAX:  # grants do not have more of it
        return f"is a host of more than {LABEL_MAX} characters"
    return None


def _host_of(client_id: str, labels: Mapping[str, str]) -> str | None:
    """Return the host of a client's document."""
    if is_document_url(client_id):
        return document_host(client_id)
    # Of a long id there is only a digest. The label is missing for clients without a document.
    return labels.get(HOST_LABEL) if client_id.startswith(DIGEST_START) else None
