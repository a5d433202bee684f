"""Strict parsers for what clients send: parameters and Basic credentials. Pure.

A query or form has each parameter once, and an empty one counts as missing (RFC 6749 sections 3.1
and 3.2).

A public client may name itself in `Authorization` at the token endpoint, without a secret (RFC 6749
section 2.3.1: id and secret, form-urlencoded, by HTTP Basic). Clients here have no secret; some
libraries (simple-oauth2) still send the header, with an empty one.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from urllib.parse import parse_qsl, unquote_plus

from oauth.clients.rules.errors import INVALID_CLIENT, INVALID_REQUEST, RequestRejected

FIELDS_MAX = 40

BASIC_CHALLENGE = 'Basic realm="OAuth clients"'  # RFC 7617 section 2


def parse_pairs(text: str) -> list[tuple[str, str]]:
    """Return names and values in their order. Raises RequestRejected if the encoding is invalid."""
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except ValueError:
        raise RequestRejected(INVALID_REQUEST, "The parameters cannot be read.") from None


def require_unique(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Return the parameters by name. Raises RequestRejected if one is repeated."""
    if any(number > 1 for number in Counter(name for name, _ in pairs).values()):
        raise RequestRejected(INVALID_REQUEST, "A parameter is given more than once.")
    return {name: value for name, value in pairs if value}


def require_parameter(parameters: dict[str, str], name: str) -> str:
    """Return a parameter. Raises RequestRejected if it is missing."""
    if name not in parameters:
        description = f"The parameter {name} is missing."
        raise RequestRejected(INVALID_REQUEST, description)
    return parameters[name]


def parse_basic_client_id(header: str) -> str:
    """Return the client_id of an `Authorization` header. Raises RequestRejected if it has none.

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
        raise RequestRejected(
            INVALID_CLIENT,
            "Clients have no secret here: send no Authorization, or Basic with an empty secret.",
        )
    return client_id
