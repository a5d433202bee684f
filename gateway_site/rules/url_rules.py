"""Which URLs may be called. Takes the raw path and query; returns an upstream's URL.

Only URLs that every server parses in the same way are accepted. The undecoded bytes of the request
line are checked, and passed on unchanged.
"""

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
INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
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
    r"|(?=[0-9a-f.]*:)[0-9a-f:.]*"
)
HOST_MAX = 255  # characters: RFC 1035 section 2.3.4


class UpstreamAddress(Protocol):
    """The location of an upstream's URLs (`gateway_site.rules.upstream`)."""

    @property
    def name(self) -> str: ...
    @property
    def origin(self) -> str: ...
    @property
    def prefix(self) -> str: ...
    @property
    def paths(self) -> tuple[str, ...]: ...


class UnsafeAddress(Exception):
    """An address that is not passed on; the message says why, and repeats nothing of it."""


def split_path(raw_path: str) -> tuple[str, str]:
    """Return an upstream's name and the rest of the path, which is empty or starts with "/".

    Raises UnsafeAddress.
    """
    if len(raw_path) > MAX_PATH:
        raise UnsafeAddress("The path is too long.")
    if not raw_path.startswith(ROOT):
        raise UnsafeAddress("The path must start with /gateway/, spelt in plain letters.")
    name, slash, rest = raw_path.removeprefix(ROOT).partition("/")
    if not NAME.fullmatch(name):
        raise UnsafeAddress("The path must name an upstream, as in /gateway/<upstream>/<path>.")
    check_path(slash + rest)
    return name, slash + rest


def check_path(path: str) -> None:
    """Raise UnsafeAddress unless the path, empty or from its first "/", is unambiguous."""
    if not path:
        return
    if not path.startswith("/"):
        raise UnsafeAddress("The path must start with a slash.")
    segments = path[1:].split("/")
    if len(segments) > MAX_SEGMENTS:
        raise UnsafeAddress("The path has too many segments.")
    for segment in segments[:-1]:
        if not segment:
            raise UnsafeAddress("The path must not have empty segments.")
    for segment in segments:
        _check_segment(segment)


def _check_segment(segment: str) -> None:
    if not SEGMENT.fullmatch(segment):
        raise UnsafeAddress("The path has characters that must be encoded, or are not accepted.")
    if segment and not segment.strip("."):
        raise UnsafeAddress("The path must not have dot segments.")
    for run in re.findall(r"(?:%[0-9A-Fa-f]{2})+", segment):
        _check_encoded(run)


def _check_encoded(run: str) -> None:
    """Check what consecutive escapes stand for; look-alikes count as what they fold to."""
    try:
        text = unquote_to_bytes(run).decode("utf-8")
    except UnicodeDecodeError:
        raise UnsafeAddress("The path has escapes that are not UTF-8.") from None
    folded = unicodedata.normalize("NFKC", text)
    if NEVER_ENCODED & set(text + folded):
        raise UnsafeAddress("The path has an encoded separator, dot or percent sign.")
    if any(unicodedata.category(character) in INVISIBLE_CATEGORIES for character in text + folded):
        raise UnsafeAddress("The path has an encoded control character.")


def is_allowed(upstream: UpstreamAddress, rest: str) -> bool:
    """Return True if a path is below one of the upstream's prefixes, at a segment boundary."""
    return not upstream.paths or any(
        rest == prefix or rest.startswith(prefix + "/") for prefix in upstream.paths
    )


def target_url(upstream: UpstreamAddress, rest: str, query: bytes) -> str:
    """Return the URL to call. Raises UnsafeAddress if the query cannot be passed on."""
    if len(query) > MAX_QUERY:
        raise UnsafeAddress("The query is too long.")
    if b"#" in query or MALFORMED_ESCAPE.search(query.decode("latin-1")):
        raise UnsafeAddress("The query is not well encoded.")
    path = upstream.prefix + rest or "/"
    return upstream.origin + path + ("?" + quote(query, safe=QUERY) if query else "")


def request_target(upstream: UpstreamAddress, url: str) -> str:
    """Return the target in the request line to an upstream. Raises UnsafeAddress.

    A second check: it does not use what `target_url` was made from.
    """
    base = upstream.origin + upstream.prefix
    is_within = url == base or url.startswith((base + "/", base + "?"))
    found = url.removeprefix(upstream.origin)
    if not is_within or not REQUEST_TARGET.fullmatch(found):
        raise UnsafeAddress("The address cannot be passed on.")
    return found


def gateway_address(
    upstream: UpstreamAddress, base: str, reference: str, *, public: str = ""
) -> str | None:
    """Return the gateway's address for a reference that an upstream gave, relative to `base`.

    `public` is the gateway's own host, with its port and script name: an upstream that evaluates
    `X-Forwarded-Host` and `X-Forwarded-Prefix` uses addresses below it. None if the reference leads
    out of the upstream. Raises UnsafeAddress for one that clients read differently.
    """
    parts = urlsplit(resolve_reference(base, reference))
    rest = _remove_base(upstream.origin + upstream.prefix, parts)
    if rest is None and public:
        rest = _remove_base(f"//{public}{ROOT}{upstream.name}", parts)
    if rest is None:
        return None
    if len(rest) > MAX_PATH:
        raise UnsafeAddress("The path is too long.")
    check_path(rest)
    query = f"?{parts.query}" if parts.query else ""
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    return ROOT + upstream.name + rest + query + fragment


def _remove_base(base: str, found: SplitResult) -> str | None:
    """Return the rest of an address's path below a base; None for one elsewhere.

    Either scheme is accepted: behind a proxy that reports https, a server writes https with the
    host and port of the `Host` header, though it is called without TLS.
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


def resolve_reference(base: str, reference: str) -> str:
    """Resolve a reference (RFC 3986 section 5). Raises UnsafeAddress for an ambiguous one.

    Browsers treat a backslash as a slash and strip blanks, so neither is allowed.
    """
    if len(reference) > MAX_REFERENCE or reference.count("/") > MAX_REFERENCE_SLASHES:
        raise UnsafeAddress("The reference is too long.")
    if UNSAFE_IN_LOCATION.search(reference):
        raise UnsafeAddress("The reference is ambiguous.")
    try:
        given = urlsplit(reference)
        found = urljoin(base, quote(reference, safe="#[]" + QUERY, encoding="latin-1"))
        parts = urlsplit(found)
        _ = parts.port
    except ValueError:
        raise UnsafeAddress("The reference is malformed.") from None
    host = parts.hostname or ""
    is_plain = "@" not in parts.netloc and len(host) <= HOST_MAX and PLAIN_HOST.fullmatch(host)
    if (given.scheme and not given.netloc) or not is_plain:
        raise UnsafeAddress("The reference is ambiguous.")
    return found
