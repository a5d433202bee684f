"""Names, methods and addresses that all servers read alike; what some read as the same.

A rule decides by the spelling. A server that shortens, decodes or folds it would do something else
than the rule has allowed, so what is not plain has no rule.
"""

import re

from gateway_site.policy.subjects import METHODS_WITH_SUBJECT, URI_MAX

PLAIN_NAME = re.compile(r"[!-~]{1,128}")
# RFC 3986 section 6.2.2, as far as servers may differ: a scheme in lower case, nothing that has to
# be encoded, and no encoding of a character that needs none, or that separates segments.
PLAIN_URI = re.compile(r"[a-z][a-z0-9+.-]*:(?:[!$&-;=?-Z_a-z~@#\[\]]|%[0-9A-F]{2})*")
ENCODED = re.compile(r"%([0-9A-F]{2})")
NEVER_ENCODED = re.compile(r"[A-Za-z0-9._~/\\\x00-\x1f\x7f-]")
DOTS = re.compile(r"(?:^|[:/;])\.\.?(?:$|[/;?#])")
AUTHORITY = re.compile(r"[a-z][a-z0-9+.-]*://([^/?#]*)")
# Of an authority: not in lower case, encoded, with a user, an IPv6 address, a final dot, or a port
# that is no other.
ODD_AUTHORITY = re.compile(r"[A-Z%@\[]|\.(?=:|$)|:(?:|0\d*|21|80|443)$")
# Schemes for which https://url.spec.whatwg.org/ finds a host after any number of slashes, adds the
# path `/`, and takes a host whose last label is a number for an IPv4 address.
WEB = re.compile(r"(?:https?|wss?|ftp):")
WEB_START = re.compile(r"[a-z]+://(?P<host>[^/?#:]+)(?::[0-9]+)?/")
IPV4 = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})(?:\.(?!$)|$)){4}")
NUMBER_LAST = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$")
QUERY_START = re.compile(r"[?#]")
TWICE_ENCODED = re.compile(r"%25[0-9A-Fa-f]{2}")
# One of them makes an address plain if anything does: the rest of an encoding, a port, a host, …
RESTS = (
    "",
    "a",
    "a/",
    "/",
    "/a",
    "/a/",
    "//a/",
    "///a",
    "0",
    "B",
    "20",
    "1/",
    ":a",
    "://a/",
    ":///a",
    "a:a",
)
FILE, FILE_START = "file:", "file:///"
PLAIN_METHOD = re.compile(r"[A-Za-z0-9_/.$-]{1,128}")


def is_plain_method(method: str) -> bool:
    """Return True for a method that no server takes for another one that rules know."""
    folded = spelled_plainly(method)
    return PLAIN_METHOD.fullmatch(method) is not None and (
        method in METHODS_WITH_SUBJECT or folded not in METHODS_WITH_SUBJECT
    )


def is_plain_name(name: str) -> bool:
    """Return True for 1 to 128 visible ASCII characters."""
    return PLAIN_NAME.fullmatch(name) is not None


def is_plain_uri(uri: str) -> bool:
    """Return True for an address that no server shortens or decodes to another one."""
    if len(uri) > URI_MAX or not PLAIN_URI.fullmatch(uri):
        return False
    if DOTS.search(uri) or TWICE_ENCODED.search(uri):
        return False
    if WEB.match(uri) and not _has_plain_host(uri):
        return False
    authority = AUTHORITY.match(uri)
    if authority and ODD_AUTHORITY.search(authority[1]):
        return False
    if uri.startswith(FILE) and not uri.startswith(FILE_START):
        return False
    path = QUERY_START.split(uri[authority.end() if authority else 0 :], maxsplit=1)[0]
    decoded = (chr(int(each, 16)) for each in set(ENCODED.findall(uri)))
    return "//" not in path and not any(map(NEVER_ENCODED.fullmatch, decoded))


def _has_plain_host(uri: str) -> bool:
    found = WEB_START.match(uri)
    if found is None:
        return False
    return not NUMBER_LAST.search(found["host"]) or IPV4.fullmatch(found["host"]) is not None


def may_be_plain(start: str) -> bool:
    """Return True if an address can be plain that begins so."""
    return any(is_plain_uri(start + rest) for rest in RESTS)


def spelled_plainly(method: str) -> str:
    """Return what a method, or the start of one, has in common with all of its spellings."""
    return method.lower().strip("/.")


def readings_of(uri: str) -> frozenset[str]:
    """Return addresses of what a server may give for one: also without what some ignore."""
    whole = uri.split("#", maxsplit=1)[0]
    path = whole.split("?", maxsplit=1)[0]
    bare = path.rstrip("/")
    return frozenset({uri, whole, path, bare, bare + "/"})
