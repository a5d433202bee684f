"""Which headers of a request are passed on to an upstream: a fixed list, and additions to it.

The headers that a server may mistake for a proxy's statement about the caller are innumerable, so
anything that is not listed is dropped. Names enter in lower case. `UPSTREAM_<NAME>_REQUEST_HEADERS`
adds to the list for one upstream.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

# What it is about and who says so; its names, or prefixes with "*".
PASSING = (
    ("negotiation, RFC 9110 section 12.5", "accept accept-charset accept-encoding accept-language"),
    ("content, RFC 9110 section 8", "content-*"),
    ("conditions, RFC 9110 section 13.1", "if-match if-none-match if-modified-since"),
    ("", "if-unmodified-since if-range"),
    ("ranges, RFC 9110 section 14.2", "range"),
    ("caching, RFC 9111 section 5", "cache-control pragma"),
    ("the program, RFC 9110 section 10.1.5", "user-agent x-requested-with"),
    ("preferences, RFC 7240, 9218 and 9530", "prefer priority want-*"),
    ("repetition, draft-ietf-httpapi-idempotency-key-header", "idempotency-key"),
    (
        "tracing, https://www.w3.org/TR/trace-context/ and /baggage/",
        "traceparent tracestate baggage",
    ),
    ("", "x-request-id x-correlation-id"),
    ("MCP, https://modelcontextprotocol.io/specification", "mcp-*"),
    ("event streams, https://html.spec.whatwg.org/#server-sent-events", "last-event-id"),
    ("gRPC, grpc-web and Connect", "grpc-timeout grpc-encoding grpc-accept-encoding"),
    ("", "x-grpc-web x-user-agent connect-*"),
    ("uploads, https://tus.io and draft-ietf-httpbis-resumable-upload", "tus-* upload-*"),
    ("OData, https://docs.oasis-open.org/odata/odata/v4.01/", "odata-*"),
    ("GitHub", "x-github-api-version"),
)

# CGI and WSGI take "_" and "-" for the same, some servers "." as well: under another spelling a
# name would be what it must not be. Under MCP's prefix a tool's parameters give the names; however
# they are spelt, they stay under it.
PLAIN_NAME = re.compile(r"[a-z0-9-]+")
MCP = "mcp-"
MCP_NAME = re.compile(r"mcp-[!#$%&'*+.^_`|~0-9a-z-]+")  # a token: RFC 9110 section 5.6.2

# Never passed on, even if added. Headers that the gateway sets itself, or of this hop only:
MADE_HERE = r"connection|http2-settings|keep-alive|te|trailer|transfer-encoding|upgrade"
FRAMING = r"content-length|expect|host|early-data"
# Credentials: the gateway's own cookies and CSRF token, and what servers take for Authorization.
# Proofs of a key (RFC 9449) are the gateway's to make.
CREDENTIALS = r".*authorization.*|.*cookie.*|x-csrf-?token|x-xsrf-?token|dpop(?:-nonce)?"
# About the gateway's origin, or the calling page.
ORIGIN = r"origin|referer|service-worker.*|sec-.*"
# What proxies say about a connection and the original request. CGI would pass on `Proxy` as
# HTTP_PROXY (https://httpoxy.org).
FORWARDING = (
    r"forwarded|via|proxy(?:-.*)?|x-forwarded.*|x-original-.*|x-rewrite-.*|x-host|x-real-.*"
    r"|(?:x-)?remote-(?:addr|host|ip|port)|(?:.+-)?client-?ip|cf-connecting-.*"
    r"|(?:x-|ssl-|x-ssl-|x-tls-)?client-?(?:cert|dn|verify|s-dn|i-dn).*|ssl-client-.*|x-ssl-.*"
    r"|x-appengine-.*|x-arr-.*|x-azure-.*|x-envoy-.*|x-istio-.*"
)
OVERRIDES = r"(?:x-)?(?:http-)?method(?:-override)?|x-(?:.+-)?override"
NEVER = re.compile("|".join((MADE_HERE, FRAMING, CREDENTIALS, ORIGIN, FORWARDING, OVERRIDES)))
# Only by their full name, and with a warning: headers that identify the caller, or prove it.
# grpc-gateway turns Grpc-Metadata-* into metadata, which includes the call's Authorization.
GRPC_METADATA = "grpc-metadata-"
IDENTITY = re.compile(
    r"user|e-?mail|auth|group|role|principal|identity|token"
    r"|api-?key|assertion|certificate|claim|credential|impersonate|jwt|oidc|password|saml|secret"
    r"|^(?:x-)?remote-|^cf-|^x-amzn-|^x-goog-iap-|^x-ms-client-"  # and whatever else these say
    r"|^grpc-metadata-"
)
WIDEST_PREFIX = "x-*"  # matches headers of any origin


class BadEntry(ValueError):
    """An entry that cannot be added; the message says why and what to do."""


@dataclass(frozen=True)
class RequestHeaders:
    """The names and prefixes that pass to one upstream.

    `doubtful` are added entries that identify the caller, or are so wide that they may.
    """

    names: frozenset[str]
    prefixes: tuple[str, ...]
    doubtful: tuple[str, ...] = ()

    def pass_on(self, name: str) -> bool:
        """Return True if a header of this name, in lower case, is passed on."""
        if name in self.names:
            return True
        if name.startswith(MCP):
            return bool(MCP_NAME.fullmatch(name)) and (
                name.startswith("mcp-param-") or not IDENTITY.search(name)
            )
        return (
            name.startswith(self.prefixes)
            and name not in self.prefixes
            and PLAIN_NAME.fullmatch(name) is not None
            and not NEVER.fullmatch(name)
            and not IDENTITY.search(name)
        )

    def with_more(self, entries: Iterable[str]) -> "RequestHeaders":
        """Return these with more names, or prefixes that end in `-*`. Raises BadEntry."""
        more = [entry.lower() for entry in entries]
        for entry in more:
            _check(entry)
        names, prefixes = _split(more)
        return RequestHeaders(
            self.names | set(names),
            (*self.prefixes, *prefixes),
            tuple(entry for entry in more if entry not in self.names and _is_doubtful(entry)),
        )


def _check(entry: str) -> None:
    name = entry.removesuffix("*")
    if not PLAIN_NAME.fullmatch(name) or (name != entry and not name[:-1].strip("-")):
        raise BadEntry(
            "must be names of headers, in letters, digits and hyphens, or their beginnings before "
            "a *, such as Notion-Version,x-amz-*."
        )
    if name != entry and not name.endswith("-"):
        raise BadEntry(f"has {entry}: the part before the * must end in a hyphen.")
    whole = name if name == entry else f"{name}x"
    if NEVER.fullmatch(whole.removeprefix(GRPC_METADATA)):
        raise BadEntry(
            f"has {entry}: credentials, and headers by which proxies speak or methods are "
            "overridden, are never passed on."
        )
    if name != entry and IDENTITY.search(whole):
        raise BadEntry(
            f"has {entry}: headers that identify the caller must be listed by their full names."
        )


def _is_doubtful(entry: str) -> bool:
    return entry == WIDEST_PREFIX or IDENTITY.search(entry) is not None


def _split(entries: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the names and, without their "*", the prefixes."""
    listed = list(entries)
    names = [entry for entry in listed if not entry.endswith("*")]
    return names, [entry.removesuffix("*") for entry in listed if entry.endswith("*")]


def _default_headers() -> RequestHeaders:
    names, prefixes = _split(entry for _, entries in PASSING for entry in entries.split())
    return RequestHeaders(frozenset(names), tuple(prefix for prefix in prefixes if prefix != MCP))


DEFAULT_HEADERS = _default_headers()
