"""Clients that register themselves (RFC 7591): all that is known about one is in its id. Nothing is
stored.

An id is `dcr.` and the base64url of canonical JSON, unsigned: anybody can get any id signed, so a
signature would prove nothing, and ids would die with its key. Instead an id is checked whenever it
is used, as if it came for the first time.

What a client requests and does not get is left out of the response (section 2): every client is
public, has two grant types, and keeps those of its addresses that are acceptable.
"""

import json
import re
from collections.abc import Collection
from typing import Any

from oauth.clients.rules import names, redirect_uris
from oauth.clients.rules.client import (
    AUTHORIZATION_CODE,
    CLIENT_ID_PREFIX,
    REFRESH_TOKEN,
    Client,
    Source,
)
from oauth.clients.rules.errors import (
    INVALID_CLIENT_METADATA,
    INVALID_REDIRECT_URI,
    RequestRejected,
    UnknownClient,
)
from oauth.formats import decode_base64url, encode_base64url

CLIENT_ID_MAX = 800
URIS_MAX = 5
CLIENT_ID_FORMAT = re.compile(re.escape(CLIENT_ID_PREFIX) + r"[A-Za-z0-9_-]+")

GRANT_TYPES = (AUTHORIZATION_CODE, REFRESH_TOKEN)
RESPONSE_TYPES = ("code",)


def make_client_id(name: str, uris: Collection[str]) -> str:
    """Return the id of a client with this name and these addresses. Raises RequestRejected."""
    found = _encode(name, [redirect_uris.without_port(each) for each in uris])
    if len(found) > CLIENT_ID_MAX:
        raise RequestRejected(
            INVALID_CLIENT_METADATA, "The client's name and addresses are too long."
        )
    return found


def decode_client_id(client_id: str, listed: Collection[str]) -> Client:
    """Return the client that an id describes. Raises UnknownClient for an invalid id."""
    name, uris = _decode(client_id)
    distinct = 1 <= len(set(uris)) == len(uris) <= URIS_MAX
    plain = all(
        redirect_uris.is_acceptable(each, listed) and redirect_uris.without_port(each) == each
        for each in uris
    )
    if not (distinct and plain and names.clean_name(name) == name and names.is_acceptable(name)):
        raise UnknownClient
    return Client(client_id, name, tuple(uris), Source.ITSELF)


def _encode(name: str, uris: list[str]) -> str:
    members = {"client_name": name, "redirect_uris": uris}
    text = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return CLIENT_ID_PREFIX + encode_base64url(text.encode("ascii"))


def _decode(client_id: str) -> tuple[str, list[str]]:
    """Return name and addresses of an id in canonical form. Raises UnknownClient."""
    if len(client_id) > CLIENT_ID_MAX or not CLIENT_ID_FORMAT.fullmatch(client_id):
        raise UnknownClient
    body = client_id.removeprefix(CLIENT_ID_PREFIX)
    try:
        members = json.loads(decode_base64url(body))
    except (RecursionError, ValueError):
        raise UnknownClient from None
    if not isinstance(members, dict) or members.keys() != {"client_name", "redirect_uris"}:
        raise UnknownClient
    name, uris = members["client_name"], members["redirect_uris"]
    if not isinstance(name, str) or not _is_list_of_text(uris) or _encode(name, uris) != client_id:
        raise UnknownClient
    return name, uris


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def register_client(metadata: object, listed: Collection[str]) -> dict[str, Any]:
    """Return the response to a registration. Raises RequestRejected."""
    if not isinstance(metadata, dict):
        raise RequestRejected(INVALID_CLIENT_METADATA, "The request is no JSON object.")
    requested_uris = metadata.get("redirect_uris")
    if not isinstance(requested_uris, list):
        raise RequestRejected(INVALID_REDIRECT_URI, "redirect_uris must be a list of addresses.")
    name = names.clean_name(metadata.get("client_name"))
    uris = _acceptable_uris(requested_uris, listed)
    if not names.is_acceptable(name):
        raise RequestRejected(INVALID_CLIENT_METADATA, f"client_name {names.UNACCEPTABLE}")
    return {
        "client_id": make_client_id(name, list(uris)),
        "client_name": name,
        "redirect_uris": list(uris.values()),
        "grant_types": list(GRANT_TYPES),
        "response_types": list(RESPONSE_TYPES),
        "token_endpoint_auth_method": "none",
    }


def _acceptable_uris(uris: list[object], listed: Collection[str]) -> dict[str, str]:
    """Return the acceptable addresses unchanged, keyed by the form in which they are compared."""
    acceptable = {
        redirect_uris.without_port(each): each
        for each in uris
        if isinstance(each, str) and redirect_uris.is_acceptable(each, listed)
    }
    if not acceptable:
        raise RequestRejected(
            INVALID_REDIRECT_URI,
            "None of the addresses is https at a name, http on 127.0.0.1, [::1] or localhost, or "
            "one that the gateway's operator lists, or their queries have code, state, iss or "
            "error.",
        )
    if len(acceptable) > URIS_MAX:
        raise RequestRejected(INVALID_REDIRECT_URI, f"A client has {URIS_MAX} addresses at most.")
    return acceptable
