"""Redirect URIs: which ones a client may have, and when two are equal.

Allowed are https with a host name, http on loopback, and the exact URIs that the operator lists.
They are compared exactly (RFC 9700 section 2.1), except for the port on loopback, which programs
get when they start (RFC 8252 section 7.3). They must be in normal form: in lower case, and without
characters that browsers parse differently. They must not have the parameters of a response: a
client that reads the first of two could accept a foreign code, or miss an error.
"""

import re
from collections.abc import Collection, Iterable
from urllib.parse import unquote_plus, urlsplit

# What Cursor registers, sometimes as its only one.
CURSOR_URI = "cursor://anysphere.cursor-mcp/oauth/callback"
DEFAULT_URIS = frozenset({CURSOR_URI})
LENGTH_MAX = 512
PORT_MAX = 65535
# The parameters that a response adds: RFC 6749 section 4.1.2, RFC 9207.
RESPONSE_PARAMETERS = frozenset({"code", "state", "iss", "error", "error_description"})

LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The last label is not a number, which browsers would parse as an IP address.
HOST = rf"(?:{LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?"
LOOPBACK_NAMES = ("127.0.0.1", "[::1]", "localhost")
PORT = r"(?::(?P<port>[1-9][0-9]{0,4}))?"
PCHAR = r"[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2}"
REST = rf"(?P<rest>(?:/(?:{PCHAR}|/)*)?(?:\?(?:{PCHAR}|[/?])*)?)"
HTTPS = re.compile(rf"https://(?P<host>{HOST}){PORT}{REST}")
LOOPBACK = re.compile(rf"http://(?P<host>{'|'.join(map(re.escape, LOOPBACK_NAMES))}){PORT}{REST}")
# For the operator's list: a scheme that browsers do not handle themselves.
PRIVATE = re.compile(rf"(?P<scheme>[a-z][a-z0-9+.-]*):(?:{PCHAR}|[/?])+")
NEVER_PRIVATE = frozenset(
    {
        "about", "blob", "data", "file", "filesystem", "ftp", "http", "https", "javascript",
        "mailto", "vbscript", "view-source", "ws", "wss",
    }
)  # fmt: skip


def is_acceptable(uri: object, listed: Collection[str] = DEFAULT_URIS) -> bool:
    """Return True if a client may have a redirect URI; ``listed`` ones are always allowed."""
    if not isinstance(uri, str) or len(uri) > LENGTH_MAX or has_response_parameter(uri):
        return False
    match = HTTPS.fullmatch(uri) or LOOPBACK.fullmatch(uri)
    if match is None:
        return uri in listed
    return match["port"] is None or int(match["port"]) <= PORT_MAX


def is_private_scheme(uri: str) -> bool:
    """Return True if an operator may list a URI: one with a program's own scheme."""
    match = PRIVATE.fullmatch(uri)
    if len(uri) > LENGTH_MAX or match is None or match["scheme"] in NEVER_PRIVATE:
        return False
    return not has_response_parameter(uri)


def has_response_parameter(uri: str) -> bool:
    """Return True if a URI has a parameter of a response; some servers also split at `;`."""
    pairs = re.split("[&;]", uri.partition("?")[2])
    return not RESPONSE_PARAMETERS.isdisjoint(
        unquote_plus(pair.partition("=")[0]) for pair in pairs
    )


def is_loopback(uri: str) -> bool:
    """Return True for http to a program on the person's own computer."""
    return LOOPBACK.fullmatch(uri) is not None


def host_of(uri: str) -> str:
    """Return the host of an acceptable URI; for a listed one without host, its scheme."""
    return urlsplit(uri).hostname or urlsplit(uri).scheme


def authority_of(uri: str) -> str:
    """Return host and port of an acceptable URI; for a listed one without host, its scheme."""
    return urlsplit(uri).netloc or urlsplit(uri).scheme


def without_port(uri: str) -> str:
    """Return a URI in the form in which it is compared: without its port on loopback."""
    match = LOOPBACK.fullmatch(uri)
    return uri if match is None else f"http://{match['host']}{match['rest']}"


def matches_any(
    uri: str, registered: Iterable[str], listed: Collection[str] = DEFAULT_URIS
) -> bool:
    """Return True if a URI is one of a client's."""
    return is_acceptable(uri, listed) and without_port(uri) in {
        without_port(each) for each in registered
    }
