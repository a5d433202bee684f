"""Ids of clients that registered themselves: all that there is to know of one stands in its id.

`dcr.` and the base64url of canonical JSON, unsigned: anybody gets any id signed, so a signature
would prove nothing, and ids would die with its key. So an id is judged anew whenever it is used,
as if it came for the first time. Nothing is stored.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Collection

from oauth.clients.rules import names, redirect_uris
from oauth.clients.rules.client import Client, Source
from oauth.clients.rules.refusal import INVALID_CLIENT_METADATA, Refused, UnknownClient

PREFIX = "dcr."
LENGTH_MAX = 800
URIS_MAX = 5
FORM = re.compile(re.escape(PREFIX) + r"[A-Za-z0-9_-]+")


def made(name: str, uris: Collection[str]) -> str:
    """Return the id of a client with this name and these addresses. Raises Refused."""
    found = _encoded(name, [redirect_uris.portless(each) for each in uris])
    if len(found) > LENGTH_MAX:
        raise Refused(INVALID_CLIENT_METADATA, "The client's name and addresses are too long.")
    return found


def client_of(client_id: str, listed: Collection[str]) -> Client:
    """Return the client that an id describes. Raises UnknownClient for one never given out."""
    name, uris = _decoded(client_id)
    distinct = 1 <= len(set(uris)) == len(uris) <= URIS_MAX
    plain = all(
        redirect_uris.is_acceptable(each, listed) and redirect_uris.portless(each) == each
        for each in uris
    )
    if not (distinct and plain and names.shown(name) == name and names.is_acceptable(name)):
        raise UnknownClient
    return Client(client_id, name, tuple(uris), Source.ITSELF)


def _encoded(name: str, uris: list[str]) -> str:
    members = {"client_name": name, "redirect_uris": uris}
    text = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return PREFIX + base64.urlsafe_b64encode(text.encode("ascii")).decode("ascii").rstrip("=")


def _decoded(client_id: str) -> tuple[str, list[str]]:
    """Return name and addresses of an id that is in its one form. Raises UnknownClient."""
    if len(client_id) > LENGTH_MAX or not FORM.fullmatch(client_id):
        raise UnknownClient
    body = client_id.removeprefix(PREFIX)
    try:
        members = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (RecursionError, ValueError, binascii.Error):
        raise UnknownClient from None
    if not isinstance(members, dict) or members.keys() != {"client_name", "redirect_uris"}:
        raise UnknownClient
    name, uris = members["client_name"], members["redirect_uris"]
    if not isinstance(name, str) or not _is_list_of_text(uris) or _encoded(name, uris) != client_id:
        raise UnknownClient
    return name, uris


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
