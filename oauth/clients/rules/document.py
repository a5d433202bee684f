"""Client ID Metadata Documents: an id that is the address of what a client says of itself.

https://datatracker.ietf.org/doc/draft-ietf-oauth-client-id-metadata-document/. An id, or the
members of a document, enter; a client leaves, whose host the fetch has verified.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from oauth.clients.rules import names, redirect_uris
from oauth.clients.rules.client import Client, Source
from oauth.clients.rules.redirect_uris import HOST, PCHAR
from oauth.clients.rules.refusal import UnknownClient

SCHEME = "https://"
LENGTH_MAX = 512
URIS_MAX = 20
# One spelling: the usual port, no query and no fragment, and something after the first slash.
ADDRESS = re.compile(rf"https://(?P<host>{HOST})/(?P<path>(?:{PCHAR}|/)+)")
DOT_SEGMENT = re.compile(r"(?:\.|%2e){1,2}", re.IGNORECASE)
# What only a client with a secret would have.
SECRETS = frozenset({"client_secret", "client_secret_expires_at"})


def is_address(client_id: str) -> bool:
    """Tell whether an id may be the address of a document."""
    match = ADDRESS.fullmatch(client_id)
    return (
        match is not None
        and len(client_id) <= LENGTH_MAX
        and not any(DOT_SEGMENT.fullmatch(each) for each in match["path"].split("/"))
    )


def host_of(client_id: str) -> str:
    """Return the host of an address. Raises UnknownClient for what is none."""
    match = ADDRESS.fullmatch(client_id)
    if match is None or not is_address(client_id):
        raise UnknownClient(
            "The client's id must be an https address with a path, at the usual port, without "
            "query, fragment and dot segments."
        )
    return match["host"]


def client_of(client_id: str, members: Mapping[str, Any], listed: Collection[str]) -> Client:
    """Return the client that a document describes. Raises UnknownClient, which says why not."""
    host = host_of(client_id)
    if members.get("client_id") != client_id:
        raise UnknownClient("The client's document is about another client_id than its address.")
    # A client that has a key would have to prove it at each token request, which is not built.
    if members.get("token_endpoint_auth_method", "none") != "none" or SECRETS & members.keys():
        raise UnknownClient("The client's document wants another authentication than none.")
    name = names.shown(members.get("client_name"))
    if name == names.NAMELESS:
        raise UnknownClient("The client's document has no client_name.")
    if not names.is_acceptable(name):
        raise UnknownClient(f"The client_name of the client's document {names.UNACCEPTABLE}")
    return Client(client_id, name, _uris(members, listed), Source.DOCUMENT, host)


def _uris(members: Mapping[str, Any], listed: Collection[str]) -> tuple[str, ...]:
    asked = members.get("redirect_uris")
    if not isinstance(asked, list) or len(asked) > URIS_MAX:
        raise UnknownClient("The client's document has no list of redirect_uris, or a long one.")
    found = tuple(each for each in asked if redirect_uris.is_acceptable(each, listed))
    if not found:
        raise UnknownClient("The client's document has no redirect_uris that are acceptable.")
    return found
