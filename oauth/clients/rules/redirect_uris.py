"""Where an answer may be sent: which addresses a client may have, and when one is the other.

https at a name, or http on this computer; nothing else but what the operator lists, whole. They are
compared letter by letter (RFC 9700 section 2.1), without the port on this computer, which a program
there is given when it starts (RFC 8252 section 7.3). One spelling each: lower case, and no
characters that are read differently by different browsers. None has a parameter that an answer
adds to it: a client that reads the first of two would take somebody else's code, and at an error
would not see it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from urllib.parse import unquote_plus, urlsplit

# What Cursor registers, sometimes as its only one.
CURSOR_URI = "cursor://anysphere.cursor-mcp/oauth/callback"
DEFAULT_URIS = frozenset({CURSOR_URI})
LENGTH_MAX = 512
PORT_MAX = 65535
# What an answer adds to an address: RFC 6749 section 4.1.2, RFC 9207.
RESPONSE_PARAMETERS = frozenset({"code", "state", "iss", "error", "error_description"})

LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The last label is no number, which browsers would take for an address.
HOST = rf"(?:{LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?"
LOOPBACK_NAMES = ("127.0.0.1", "[::1]", "localhost")
PORT = r"(?::(?P<port>[1-9][0-9]{0,4}))?"
PCHAR = r"[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2}"
REST = rf"(?P<rest>(?:/(?:{PCHAR}|/)*)?(?:\?(?:{PCHAR}|[/?])*)?)"
HTTPS = re.compile(rf"https://(?P<host>{HOST}){PORT}{REST}")
LOOPBACK = re.compile(rf"http://(?P<host>{'|'.join(map(re.escape, LOOPBACK_NAMES))}){PORT}{REST}")
# Of the operator's list: a scheme that is no browser's own.
PRIVATE = re.compile(rf"(?P<scheme>[a-z][a-z0-9+.-]*):(?:{PCHAR}|[/?])+")
NEVER_PRIVATE = frozenset(
    {
        "about", "blob", "data", "file", "filesystem", "ftp", "http", "https", "javascript",
        "mailto", "vbscript", "view-source", "ws", "wss",
    }
)  # fmt: skip


def is_acceptable(uri: object, listed: Collection[str] = DEFAULT_URIS) -> bool:
    """Return True if a client may have an address; ``listed`` ones it may have as they are."""
    if not isinstance(uri, str) or len(uri) > LENGTH_MAX or has_response_parameter(uri):
        return False
    match = HTTPS.fullmatch(uri) or LOOPBACK.fullmatch(uri)
    if match is None:
        return uri in listed
    return match["port"] is None or int(match["port"]) <= PORT_MAX


def is_private_scheme(uri: str) -> bool:
    """Return True if an operator may list an address: one of a program's own scheme."""
    match = PRIVATE.fullmatch(uri)
    if len(uri) > LENGTH_MAX or match is None or match["scheme"] in NEVER_PRIVATE:
        return False
    return not has_response_parameter(uri)


def has_response_parameter(uri: str) -> bool:
    """Return True if an address has a parameter of an answer; some servers split at `;` too."""
    pairs = re.split("[&;]", uri.partition("?")[2])
    return not RESPONSE_PARAMETERS.isdisjoint(
        unquote_plus(pair.partition("=")[0]) for pair in pairs
    )


def is_loopback(uri: str) -> bool:
    """Return True if an address leads to a program on the person's own computer by http."""
    return LOOPBACK.fullmatch(uri) is not None


def host_of(uri: str) -> str:
    """Return the host that an acceptable address leads to; of a listed one what stands for it."""
    return urlsplit(uri).hostname or urlsplit(uri).scheme


def authority_of(uri: str) -> str:
    """Return host and port of an acceptable address, as it names them; of a listed one its scheme
    where there is no host."""
    return urlsplit(uri).netloc or urlsplit(uri).scheme


def without_port(uri: str) -> str:
    """Return an address as it is compared: one on this computer without its port."""
    match = LOOPBACK.fullmatch(uri)
    return uri if match is None else f"http://{match['host']}{match['rest']}"


def matches_any(
    uri: str, registered: Iterable[str], listed: Collection[str] = DEFAULT_URIS
) -> bool:
    """Return True if an address is one of a client's."""
    return is_acceptable(uri, listed) and without_port(uri) in {
        without_port(each) for each in registered
    }
