"""What may be asked for: the address as it came on the wire enters, an upstream's URL leaves.

Only what every server reads in one way passes. The bytes of the request line are judged,
not what a server decoded them to, and they go on unchanged.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Protocol
from urllib.parse import SplitResult, quote, unquote_to_bytes, urljoin, urlsplit

ROOT = "/gateway/"
MAX_PATH = 4096  # bytes
MAX_QUERY = 16 * 1024
MAX_SEGMENTS = 100
MAX_REFERENCE = MAX_PATH + MAX_QUERY
MAX_REFERENCE_SLASHES = 2 * MAX_SEGMENTS  # a query may have some as well

NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
# RFC 3986's pchar without ";": servers disagree on whether it starts a parameter, and
# "..;" is a dot segment to some.
SEGMENT = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,=:@-]|%[0-9A-Fa-f]{2})*")
# Encoded, these mean something else to a server that decodes once more, or too early.
NEVER_ENCODED = frozenset("/\\.%;?#")
# Cc, Cf, Cs, Co, Cn, Zl, Zp: nothing that shows; Zs: a blank has one spelling.
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
QUERY = "!$&'()*+,;=:@-._~/?%"
# Segments, none of them a dot segment, and a query.
REQUEST_TARGET = re.compile(
    r"(?:/(?!\.{1,2}(?:[/?]|\Z))[A-Za-z0-9._~!$&'()*+,=:@%-]*)+(?:\?[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*)?"
)
MALFORMED_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
DEFAULT_PORTS = {"http": 80, "https": 443}
UNSAFE_IN_LOCATION = re.compile(r"[\x00-\x20\x7f\\]")
# A host that has one spelling. Browsers decode escapes in it, fold what is not ASCII, and take
# each that ends in a number for an address (https://url.spec.whatwg.org/#host-parsing).
PLAIN_HOST = re.compile(
    r"(?:[a-z0-9_-]+\.)*[a-z][a-z0-9_-]*"
    r"|(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})"
    r"|[0-9a-f:.]*:[0-9a-f:.]*"
)


class Place(Protocol):
    """Where an upstream's URLs lie, as its declaration has it (`gateway_site.rules.upstream`)."""

    @property
    def name(self) -> str: ...
    @property
    def origin(self) -> str: ...
    @property
    def prefix(self) -> str: ...
    @property
    def paths(self) -> tuple[str, ...]: ...


class PathRefused(Exception):
    """An address that is not passed on; the message says why, and repeats nothing of it."""


def split(raw_path: str) -> tuple[str, str]:
    """Return an upstream's name and the rest of the path, which is empty or starts with "/".

    Raises PathRefused.
    """
    if len(raw_path) > MAX_PATH:
        raise PathRefused("The path is too long.")
    if not raw_path.startswith(ROOT):
        raise PathRefused("The path must start with /gateway/, spelt in plain letters.")
    name, slash, rest = raw_path.removeprefix(ROOT).partition("/")
    if not NAME.fullmatch(name):
        raise PathRefused("The path must name an upstream, as in /gateway/<upstream>/<path>.")
    check(slash + rest)
    return name, slash + rest


def check(path: str) -> None:
    """Raise PathRefused unless the path, empty or from its first "/", can be read in one way."""
    if not path:
        return
    if not path.startswith("/"):
        raise PathRefused("The path must start with a slash.")
    segments = path[1:].split("/")
    if len(segments) > MAX_SEGMENTS:
        raise PathRefused("The path has too many segments.")
    for segment in segments[:-1]:
        if not segment:
            raise PathRefused("The path must not have empty segments.")
    for segment in segments:
        _check_segment(segment)


def _check_segment(segment: str) -> None:
    if not SEGMENT.fullmatch(segment):
        raise PathRefused("The path has characters that must be encoded, or are not accepted.")
    if segment and not segment.strip("."):
        raise PathRefused("The path must not have dot segments.")
    for run in re.findall(r"(?:%[0-9A-Fa-f]{2})+", segment):
        _check_encoded(run)


def _check_encoded(run: str) -> None:
    """Judge what consecutive escapes stand for; look-alikes count as what they fold to."""
    try:
        text = unquote_to_bytes(run).decode("utf-8")
    except UnicodeDecodeError:
        raise PathRefused("The path has escapes that are not UTF-8.") from None
    folded = unicodedata.normalize("NFKC", text)
    if NEVER_ENCODED & set(text + folded):
        raise PathRefused("The path has an encoded separator, dot or percent sign.")
    if any(unicodedata.category(character) in UNSEEN for character in text + folded):
        raise PathRefused("The path has an encoded control character.")


def is_allowed(upstream: Place, rest: str) -> bool:
    """Tell whether a path lies under one of the upstream's prefixes, on a segment's border."""
    return not upstream.paths or any(
        rest == prefix or rest.startswith(prefix + "/") for prefix in upstream.paths
    )


def target(upstream: Place, rest: str, query: bytes) -> str:
    """Return the URL to call. Raises PathRefused when the query cannot be passed on."""
    if len(query) > MAX_QUERY:
        raise PathRefused("The query is too long.")
    if b"#" in query or MALFORMED_ESCAPE.search(query.decode("latin-1")):
        raise PathRefused("The query is not well encoded.")
    path = upstream.prefix + rest or "/"
    return upstream.origin + path + ("?" + quote(query, safe=QUERY) if query else "")


def request_target(upstream: Place, url: str) -> str:
    """Return what a request line asks an upstream's server for. Raises PathRefused.

    The second lock: it does not use what `target` was made from.
    """
    base = upstream.origin + upstream.prefix
    is_within = url == base or url.startswith((base + "/", base + "?"))
    found = url.removeprefix(upstream.origin)
    if not is_within or not REQUEST_TARGET.fullmatch(found):
        raise PathRefused("The address cannot be passed on.")
    return found


def within(upstream: Place, base: str, reference: str, *, public: str = "") -> str | None:
    """Return the gateway's address for a reference that an upstream gave, relative to `base`.

    `public` is the gateway's own host, with its port and script name: an upstream that believes
    `X-Forwarded-Host` and `X-Forwarded-Prefix` writes its addresses below it. None where the
    reference leads out of the upstream. Raises PathRefused for one that is read differently by
    different clients.
    """
    parts = urlsplit(absolute(base, reference))
    rest = _remove_base(upstream.origin + upstream.prefix, parts)
    if rest is None and public:
        rest = _remove_base(f"//{public}{ROOT}{upstream.name}", parts)
    if rest is None:
        return None
    if len(rest) > MAX_PATH:
        raise PathRefused("The path is too long.")
    check(rest)
    query = f"?{parts.query}" if parts.query else ""
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    return ROOT + upstream.name + rest + query + fragment


def _remove_base(base: str, found: SplitResult) -> str | None:
    """Return the rest of an address's path below a base; None for one elsewhere.

    It may have either scheme: behind a proxy that tells of https, a server writes https before
    the host and port of the `Host` header, though it is asked without TLS.
    """
    own = urlsplit(base)
    if found.scheme not in DEFAULT_PORTS or found.hostname != own.hostname:
        return None
    ports = set(DEFAULT_PORTS.values()) if own.port is None else {own.port}
    port = DEFAULT_PORTS[found.scheme] if found.port is None else found.port
    path = found.path or "/"
    if port not in ports:
        return None
    if path != own.path and not path.startswith(own.path + "/"):
        return None
    return path.removeprefix(own.path)


def absolute(base: str, reference: str) -> str:
    """Resolve a reference (RFC 3986 section 5). Raises PathRefused for an ambiguous one.

    Browsers take a backslash for a slash and strip blanks, so neither may be there.
    """
    if len(reference) > MAX_REFERENCE or reference.count("/") > MAX_REFERENCE_SLASHES:
        raise PathRefused("The reference is too long.")
    if UNSAFE_IN_LOCATION.search(reference):
        raise PathRefused("The reference is ambiguous.")
    try:
        given = urlsplit(reference)
        found = urljoin(base, quote(reference, safe="#[]" + QUERY, encoding="latin-1"))
        parts = urlsplit(found)
        _ = parts.port
    except ValueError:
        raise PathRefused("The reference is malformed.") from None
    plain = PLAIN_HOST.fullmatch(parts.hostname or "") and "@" not in parts.netloc
    if (given.scheme and not given.netloc) or not plain:
        raise PathRefused("The reference is ambiguous.")
    return found
