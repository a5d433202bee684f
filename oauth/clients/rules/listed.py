"""Clients that an operator lists: registered beforehand, or documents that are pinned.

The content of a file enters, clients by their ids leave. Members are those of RFC 7591 section 2;
a client whose id is an https address stands for its document, which is then not fetched.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from oauth.clients.rules import document, names, redirect_uris
from oauth.clients.rules.client import Client, Source
from oauth.clients.rules.client_ids import PREFIX

MEMBERS = frozenset({"client_id", "client_name", "client_uri", "redirect_uris"})
ID = re.compile(r"[\x21-\x7e]{1,512}")  # VSCHAR, without blanks: RFC 6749 appendix A.1
CLIENTS_MAX = 1000


def clients_of(content: object, listed: Collection[str]) -> dict[str, Client]:
    """Return the clients of a file's JSON. Raises ValueError, with a sentence that says why."""
    if not isinstance(content, list) or len(content) > CLIENTS_MAX:
        raise ValueError(f"must be a JSON list of at most {CLIENTS_MAX} clients.")
    found: dict[str, Client] = {}
    for number, each in enumerate(content, 1):
        client = _client(each, f"client {number}", listed)
        if client.id in found:
            raise ValueError(f"client {number} has the client_id of another.")
        found[client.id] = client
    return found


def _client(members: object, which: str, listed: Collection[str]) -> Client:
    if not isinstance(members, dict) or not {"client_id", "redirect_uris"} <= members.keys():
        raise ValueError(f"{which} must be an object with client_id and redirect_uris.")
    if unknown := sorted(members.keys() - MEMBERS):
        raise ValueError(f"{which} has {unknown[0]}: known are {', '.join(sorted(MEMBERS))}.")
    client_id = _id(members["client_id"], which)
    uris = members["redirect_uris"]
    if not isinstance(uris, list) or not uris:
        raise ValueError(f"{which} must have a list of redirect_uris.")
    if not all(redirect_uris.is_acceptable(each, listed) for each in uris):
        raise ValueError(
            f"{which} has redirect_uris that are neither https at a name, nor http on loopback, "
            "nor in CLIENTS_REDIRECT_URIS, or that have code, state, iss or error in their query."
        )
    host = _host(client_id, members, which)
    name = names.shown(members.get("client_name", host or client_id))
    if "client_name" in members and not names.is_acceptable(name):
        raise ValueError(f"{which}: client_name {names.UNACCEPTABLE}")
    return Client(client_id, name, tuple(uris), Source.OPERATOR, host)


def _id(client_id: object, which: str) -> str:
    if not isinstance(client_id, str) or not ID.fullmatch(client_id):
        raise ValueError(f"{which} must have a client_id of 1 to 512 plain letters.")
    if client_id.startswith(PREFIX):
        raise ValueError(f"{which}: ids that begin with {PREFIX} are given to who registers.")
    if client_id.startswith(document.SCHEME) and not document.is_address(client_id):
        raise ValueError(f"{which} must have the address of a document, with a path.")
    return client_id


def _host(client_id: str, members: dict[str, Any], which: str) -> str | None:
    """Return the host that stands for a client: its document's, or that of its own site."""
    if document.is_address(client_id):
        return document.host_of(client_id)
    uri = members.get("client_uri")
    if uri is None:
        return None
    match = redirect_uris.HTTPS.fullmatch(uri) if isinstance(uri, str) else None
    if match is None:
        raise ValueError(f"{which} must have an https address as client_uri.")
    return match["host"]
