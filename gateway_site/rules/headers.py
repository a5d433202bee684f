"""Which headers are passed on, and which are set, in both directions.

Takes and returns header lists of ASGI. Hop-by-hop headers and those that a `Connection` header
names are removed (RFC 9110 section 7.6.1). An upstream gets the headers that `request_headers`
lists; response headers that affect the whole origin in a browser are removed.
"""

import os
import re
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from gateway_site.edge.trusted_proxies import Address
from gateway_site.rules.request_headers import RequestHeaders

Headers = list[tuple[bytes, bytes]]
T = TypeVar("T")

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
NOT_RETURNED = HOP_BY_HOP | {
    b"accept-ch",
    b"alt-svc",
    b"alternates",
    b"authentication-control",  # RFC 8053
    b"authentication-info",  # RFC 9110 section 11.6.3: about the gateway's own credentials
    b"clear-site-data",
    b"content-base",  # RFC 2110: what other addresses are relative to
    b"content-dpr",
    b"critical-ch",
    b"date",  # the server sets its own
    b"document-policy",
    b"dpop",
    b"dpop-nonce",  # RFC 9449: for who holds the key, which is the gateway
    b"expect-ct",
    b"feature-policy",
    b"link-template",  # RFC 9652: addresses that the client fills in
    b"nel",
    b"no-vary-search",
    b"optional-www-authenticate",  # RFC 8053: asks for a password without a 401
    b"origin-agent-cluster",
    b"origin-trial",
    b"permissions-policy",
    b"public-key-pins",
    b"public-key-pins-report-only",
    b"referrer-policy",
    b"report-to",
    b"reporting-endpoints",
    b"server",
    b"service-worker-allowed",
    b"set-cookie",
    b"set-cookie2",
    b"set-login",
    b"sourcemap",
    b"speculation-rules",
    b"strict-transport-security",
    b"supports-loading-mode",
    b"timing-allow-origin",
    b"uri",  # RFC 2068 section 19.6.2.5; Python's urllib follows it where there is no Location
    b"use-as-dictionary",  # RFC 9842: for other addresses of the origin
    b"x-content-type-options",
    b"x-frame-options",
    b"x-gateway-problem",  # only the gateway sends it (problems.MARK)
    b"x-permitted-cross-domain-policies",
    b"x-powered-by",
    b"x-sourcemap",
    b"x-xss-protection",
    # Orders to the web server in front of the gateway: to serve a file of its own, to cache.
    b"edge-control",
    b"surrogate-control",
    b"x-lighttpd-send-file",
    b"x-lighttpd-send-tempfile",
    b"x-sendfile",
    b"x-sendfile2",
}
# Each has one address, to which programs send their next request with the same credentials.
REFERENCES = frozenset(
    {
        # https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
        b"azure-asyncoperation",
        b"operation-location",
        # https://docs.oasis-open.org/odata/odata/v4.01/odata-v4.01-part1-protocol.html
        b"odata-entityid",
        # https://developers.google.com/photos/library/guides/resumable-uploads
        b"x-goog-upload-control-url",
        b"x-goog-upload-url",
    }
)
# `forwarding.calls.response_addresses` rewrites them.
ADDRESSES = REFERENCES | {b"content-location", b"link", b"location", b"refresh"}
NEVER_RETURNED = re.compile(
    rb"access-control-.*|content-security-policy.*|cross-origin-.*|x-accel-.*|x-reproxy-.*"
    rb"|.*-cache-control"  # RFC 9213: orders to one kind of cache, before Cache-Control's
    rb"|secure-session-.*"  # https://w3c.github.io/webappsec-dbsc/: sessions of the whole origin
    rb"|sec-.*|attribution-reporting-.*|x-amzn-remapped-.*"
)
# An upstream's page is shown, if at all, as a document of no origin that loads and runs nothing.
CONTENT_SECURITY_POLICY = b"sandbox; default-src 'none'; frame-ancestors 'none'"
SET_HERE = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
)
PRIVATE = b"private, no-store"
WITHOUT_BODY = frozenset({204, 304})  # whatever the length says: RFC 9110 section 8.6

# https://www.w3.org/TR/trace-context/#traceparent-header-field-values
TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
TRACE = frozenset({b"traceparent", b"tracestate"})
SHORT = 256  # bytes of values that are cached
# For these a browser would ask for a password in the gateway's name.
PASSWORD_SCHEMES = re.compile(rb"\b(?:basic|digest|negotiate|ntlm)\b", re.IGNORECASE)


def _cached_for_short_values(count: int) -> Callable[[Callable[[bytes], T]], Callable[[bytes], T]]:
    """Cache the results for a number of short values: upstreams repeat themselves.

    Long values are not cached: an upstream could fill the memory with them.
    """

    def remembering(found: Callable[[bytes], T]) -> Callable[[bytes], T]:
        of_short = lru_cache(maxsize=count)(found)
        return lambda value: of_short(value) if len(value) <= SHORT else found(value)

    return remembering


def named_by_connection(headers: Headers) -> set[bytes]:
    """Return the names in `Connection` headers; those of the headers are in lower case."""
    listed = [value for name, value in headers if name == b"connection"]
    return {item.strip().lower() for item in b",".join(listed).split(b",")} if listed else set()


def drop_connection_headers(headers: Headers) -> Headers:
    """Return the headers in lower case, without those that `Connection` names."""
    came = [(name.lower(), value) for name, value in headers]
    named = named_by_connection(came)
    return [pair for pair in came if pair[0] not in named] if named else came


def request_headers(
    headers: Headers,
    passing: RequestHeaders,
    *,
    host: str,
    scheme: str,
    prefix: str,
    client: Address | None = None,
) -> Headers:
    """Return what goes to an upstream, without `Authorization`, `Host` and framing.

    `host` and `scheme` are the gateway's own, verified ones, and `prefix` is the upstream's path in
    it. `client` is the client's address, if the upstream may know it.
    """
    came = drop_connection_headers(headers)
    vias = [value for name, value in came if name == b"via"]
    return [
        *_with_trace_context([pair for pair in came if passing.pass_on(pair[0].decode("latin-1"))]),
        # RFC 9110 section 7.6.3: each proxy adds itself to those before.
        (b"via", b", ".join([*vias, b"1.1 gateway"])),
        # RFC 7239; the client's address is private (section 8.3), unless configured otherwise.
        (
            b"forwarded",
            f'for={_forwarded_node(client)};host="{host}";proto={scheme}'.encode("ascii"),
        ),
        *([] if client is None else [(b"x-forwarded-for", str(client).encode("ascii"))]),
        (b"x-forwarded-host", host.encode("ascii")),
        (b"x-forwarded-proto", scheme.encode("ascii")),
        (b"x-forwarded-prefix", prefix.encode("ascii")),
    ]


def _forwarded_node(client: Address | None) -> str:
    """Return an address in the syntax of RFC 7239 section 6."""
    if client is None:
        return "unknown"
    return f'"[{client}]"' if client.version == 6 else str(client)


def _with_trace_context(headers: Headers) -> Headers:
    """Keep a valid trace context; otherwise start one."""
    others = [pair for pair in headers if pair[0] not in TRACE]
    if len(others) != len(headers):
        parents = [value for name, value in headers if name == b"traceparent"]
        if len(parents) == 1 and TRACEPARENT.fullmatch(parents[0]):
            return headers
    chance = os.urandom(24).hex()
    parent = f"00-{chance[:32]}-{chance[32:]}-00".encode("ascii")
    return [*others, (b"traceparent", parent)]


def response_headers(headers: Headers, status: int = 200) -> Headers:
    """Return the headers of an upstream's response that may be returned, safe for a browser.

    Without `ADDRESSES`, which have to be rewritten.
    """
    came = drop_connection_headers(headers)
    # A length is wrong then, even if `Connection` names the coding: RFC 9112 section 6.3.
    is_coded = b"transfer-encoding" in [name.lower() for name, _ in headers]
    has_no_length = is_coded or status in WITHOUT_BODY
    kept: Headers = []
    directives, varying = b"", b""
    for pair in came:
        name, value = pair
        if not _may_return(name) or (has_no_length and name == b"content-length"):
            continue
        if name == b"cache-control":
            directives += b"," + value
        elif name == b"vary":
            varying += b"," + value
        elif name != b"www-authenticate" or not PASSWORD_SCHEMES.search(value):
            kept.append(pair)
    return [
        *kept,
        (b"cache-control", _private_cache_control(directives)),
        (b"vary", _vary_cookie(varying)),
        *SET_HERE,
    ]


@_cached_for_short_values(1024)
def _may_return(name: bytes) -> bool:
    return name not in NOT_RETURNED | ADDRESSES and NEVER_RETURNED.fullmatch(name) is None


def single_value(headers: Headers, name: bytes) -> bytes | None:
    """Return the only value of a header; None without one, or with several."""
    values = [value for key, value in headers if key.lower() == name]
    return values[0] if len(values) == 1 else None


def joined_values(headers: Headers, name: bytes) -> str:
    """Return the values of a header as one list (RFC 9110 section 5.3), empty without it."""
    return b", ".join([value for key, value in headers if key.lower() == name]).decode("latin-1")


def _split_list(listed: bytes) -> list[bytes]:
    """Return the items of a list, split at each comma, as the most careless parser would."""
    return [found for item in listed.split(b",") if (found := item.strip())]


@_cached_for_short_values(64)
def _private_cache_control(directives: bytes) -> bytes:
    """Keep a response that was made with a person's token out of shared caches."""
    shared = (b"public", b"s-maxage", b"private")
    kept = [item for item in _split_list(directives) if not item.lower().startswith(shared)]
    return b", ".join([b"private", *kept]) if kept else PRIVATE


@_cached_for_short_values(64)
def _vary_cookie(listed: bytes) -> bytes:
    """Add `Cookie`, so that a cached response is only used with the same cookie."""
    names = _split_list(listed)
    if b"*" in names or b"cookie" in [name.lower() for name in names]:
        return b", ".join(names)
    return b", ".join([*names, b"Cookie"])
