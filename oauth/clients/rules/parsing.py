"""Strict parsers for what clients send: parameters and Basic credentials. Pure.

A query or form has each parameter once, and an empty one counts as missing (RFC 6749 sections 3.1
and 3.2).

A client may name itself in `Authorization` at the token endpoint (RFC 6749 section 2.3.1: id and
secret, form-urlencoded, by HTTP Basic). Some libraries do not encode them (the SDK for TypeScript,
Authlib). Public clients have no secret; some libraries (simple-oauth2) still send the header, with
an empty one.
"""

import base64
import binascii
from collections import Counter
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, unquote_plus

from oauth.clients.rules.errors import INVALID_CLIENT, INVALID_REQUEST, RequestRejected

FIELDS_MAX = 40

UNUSABLE_HEADER = "Authorization must be Basic; the secret of a client that has none is empty."
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


class BasicCredentials(NamedTuple):
    """A client's id as it was sent and without form encoding, and its secret, which may be empty.

    The secret is without that encoding: oauth4webapi encodes even "-" and "_". A secret that was
    not encoded stays as it is, since those of `client_secret` have no "%".
    """

    sent_id: str
    client_id: str
    secret: str


def parse_basic_credentials(header: str) -> BasicCredentials:
    """Return the credentials of an `Authorization` header. Raises RequestRejected if it has none.

    An id that a client left unencoded may hold colons: the last one ends it.
    """
    __traceback_hide__ = True
    scheme, _, value = header.partition(" ")
    try:
        credentials = base64.b64decode(value.strip(" "), validate=True).decode()
        sent_id, colon, secret = credentials.rpartition(":")
        client_id = unquote_plus(sent_id, errors="strict")
        secret = unquote(secret, errors="strict")
    except (binascii.Error, ValueError):
        sent_id = client_id = colon = secret = ""
    if scheme.lower() != "basic" or not colon or not client_id:
        raise RequestRejected(INVALID_CLIENT, UNUSABLE_HEADER)
    return BasicCredentials(sent_id, client_id, secret)
