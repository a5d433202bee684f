"""`Authorization` at the token endpoint: a public client may name itself there, without a secret.

RFC 6749 section 2.3.1: id and secret, form-urlencoded, by HTTP Basic. Clients here have no secret;
some libraries (simple-oauth2) send the header all the same, with an empty one.
"""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_plus

from oauth.clients.rules.refusal import INVALID_CLIENT, Refused

CHALLENGE = 'Basic realm="OAuth clients"'  # RFC 7617 section 2


def client_id_of(header: str) -> str:
    """Return the client_id of a header's value. Raises Refused for any that names no client.

    An id that a client left unencoded may hold colons: the last one ends it.
    """
    __traceback_hide__ = True
    scheme, _, value = header.partition(" ")
    try:
        credentials = base64.b64decode(value.strip(" "), validate=True).decode()
        client_id = unquote_plus(credentials.removesuffix(":"), errors="strict")
    except (binascii.Error, ValueError):
        credentials = client_id = ""
    if scheme.lower() != "basic" or not credentials.endswith(":") or not client_id:
        raise Refused(
            INVALID_CLIENT,
            "Clients have no secret here: send no Authorization, or Basic with an empty secret.",
        )
    return client_id
