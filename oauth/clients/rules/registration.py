"""A registration of a client by itself (RFC 7591): metadata enters, the answer leaves.

What a client asks for and does not get is left out of the answer, as section 2 has it: everybody
gets a public client, two grant types, and those of its addresses that are acceptable.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from oauth.clients.rules import client_ids, names, redirect_uris
from oauth.clients.rules.refusal import INVALID_CLIENT_METADATA, INVALID_REDIRECT_URI, Refused

GRANT_TYPES = ("authorization_code", "refresh_token")
RESPONSE_TYPES = ("code",)


def registered(metadata: object, listed: Collection[str]) -> dict[str, Any]:
    """Return the answer to a registration. Raises Refused."""
    if not isinstance(metadata, dict):
        raise Refused(INVALID_CLIENT_METADATA, "The request is no JSON object.")
    asked = metadata.get("redirect_uris")
    if not isinstance(asked, list):
        raise Refused(INVALID_REDIRECT_URI, "redirect_uris must be a list of addresses.")
    name, uris = names.shown(metadata.get("client_name")), _acceptable(asked, listed)
    if not names.is_acceptable(name):
        raise Refused(INVALID_CLIENT_METADATA, f"client_name {names.UNACCEPTABLE}")
    return {
        "client_id": client_ids.made(name, list(uris)),
        "client_name": name,
        "redirect_uris": list(uris.values()),
        "grant_types": list(GRANT_TYPES),
        "response_types": list(RESPONSE_TYPES),
        "token_endpoint_auth_method": "none",
    }


def _acceptable(asked: list[object], listed: Collection[str]) -> dict[str, str]:
    """Return the addresses that may be had as they came, by how they are compared."""
    found = {
        redirect_uris.portless(each): each
        for each in asked
        if isinstance(each, str) and redirect_uris.is_acceptable(each, listed)
    }
    if not found:
        raise Refused(
            INVALID_REDIRECT_URI,
            "None of the addresses is https at a name, http on 127.0.0.1, [::1] or localhost, or "
            "one that the gateway's operator lists, or their queries have code, state, iss or "
            "error.",
        )
    if len(found) > client_ids.URIS_MAX:
        raise Refused(
            INVALID_REDIRECT_URI, f"A client has {client_ids.URIS_MAX} addresses at most."
        )
    return found
