"""What a message is about: a tool, prompts or resources. Names that servers may read differently.

Some methods name it in an object within `params`, where it is read strictly as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from gateway_site.mcp.messages import Message

TOOLS, PROMPTS, RESOURCES = "tools", "prompts", "resources"
KINDS_OF_METHODS = {
    "tools/call": TOOLS,
    "prompts/get": PROMPTS,
    "resources/read": RESOURCES,
    "resources/subscribe": RESOURCES,
    "resources/unsubscribe": RESOURCES,
}
COMPLETE, LISTEN = "completion/complete", "subscriptions/listen"
KINDS_OF_REFERENCES = {"ref/prompt": (PROMPTS, "name"), "ref/resource": (RESOURCES, "uri")}
REFERENCE_MEMBERS = frozenset({"type", "title"})
# https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/subscriptions
SUBSCRIPTIONS = "resourceSubscriptions"
SUBSCRIPTIONS_MAX = 256  # in one call; each takes tens of microseconds
LISTEN_MEMBERS = frozenset(
    {"toolsListChanged", "promptsListChanged", "resourcesListChanged", SUBSCRIPTIONS}
)
METHODS_ABOUT = {
    TOOLS: ("tools/call",),
    PROMPTS: ("prompts/get", COMPLETE),
    RESOURCES: (
        *("resources/read", "resources/subscribe", "resources/unsubscribe"),
        *(COMPLETE, LISTEN),
    ),
}
METHODS_WITH_SUBJECT = frozenset(method for each in METHODS_ABOUT.values() for method in each)

PLAIN_NAME = re.compile(r"[!-~]{1,128}")
URI_MAX = 8192  # characters; servers may cut what is longer
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


@dataclass(frozen=True, slots=True)
class Subject:
    """A tool or prompt by its name, or a resource by its address."""

    kind: str
    name: str


def subjects_of(message: Message) -> tuple[Subject, ...] | None:
    """Return what a request or a notification is about; None if that is unclear."""
    method = message.method or ""
    if kind := KINDS_OF_METHODS.get(method):
        return None if message.name is None else (Subject(kind, message.name),)
    if method == COMPLETE:
        return _read_reference(message.params.get("ref"))
    if method == LISTEN:
        return _read_subscriptions(message.params.get("notifications", {}))
    return ()


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


def _read_reference(reference: Any) -> tuple[Subject, ...] | None:
    """Return the prompt or resource whose arguments are completed."""
    if not isinstance(reference, dict) or not isinstance(reference.get("type"), str):
        return None
    kind, member = KINDS_OF_REFERENCES.get(reference["type"], (None, ""))
    name = reference.get(member)
    is_clear = reference.keys() - REFERENCE_MEMBERS == {member}
    return (Subject(kind, name),) if kind and isinstance(name, str) and is_clear else None


def _read_subscriptions(wanted: Any) -> tuple[Subject, ...] | None:
    """Return the resources whose changes a client wants to hear of."""
    if not isinstance(wanted, dict) or wanted.keys() - LISTEN_MEMBERS:
        return None
    uris = wanted.get(SUBSCRIPTIONS, [])
    if not isinstance(uris, list) or len(uris) > SUBSCRIPTIONS_MAX:
        return None
    if not all(isinstance(each, str) for each in uris):
        return None
    return tuple(Subject(RESOURCES, each) for each in uris)
