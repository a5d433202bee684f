"""Where an upstream's answer may lead: within the gateway, or elsewhere where that is safe.

A redirect is returned, never followed. The caller follows it, and some programs, Python's urllib
and wget among them, send their credentials along to any host. So each address in the headers of an
answer is replaced by the gateway's own where it leads within the upstream, and dropped otherwise.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from gateway_site.forwarding import client_calls
from gateway_site.forwarding.call import Call
from gateway_site.rules import links, origin, url_rules
from gateway_site.rules.headers import (
    ADDRESSES,
    REFERENCES,
    Headers,
    drop_connection_headers,
    value_of,
)
from gateway_site.rules.problems import Problem

REDIRECTS = frozenset({301, 302, 303, 307, 308})  # https://fetch.spec.whatwg.org/#redirect-status
FOLLOWED = range(300, 400)  # curl, wget and axios follow others of these, too
# Characters of the links of one answer, each counted with the address that it is relative to: so
# many are resolved in some 10 ms at most.
RESOLVED_MAX = 32 * 1024
# Seconds, and where to go then; without what browsers forgive:
# https://html.spec.whatwg.org/multipage/semantics.html#shared-declarative-refresh-steps
REFRESH = re.compile(
    r"([0-9]{1,9})"
    r"(?:[ \t]*+[;,][ \t]*+url[ \t]*+=[ \t]*+(?:([^\"'\s]++)|\"([^\"]++)\"|'([^']++)'))?",
    re.ASCII | re.IGNORECASE,
)


def locations(call: Call, status: int, headers: Headers) -> Headers:
    """Return an answer's headers that hold addresses, in the gateway's terms.

    Raises Problem for a redirect that must not be passed on.
    """
    if status not in REDIRECTS and ADDRESSES.isdisjoint([name.lower() for name, _ in headers]):
        return []  # as of nearly every answer
    came = drop_connection_headers(headers)
    return [
        *_rewrite_location(call, status, came),
        *_rewrite_references(call, came),
        *_rewrite_links(call, came),
    ]


def _rewrite_location(call: Call, status: int, headers: Headers) -> Headers:
    """Return `Location`. Only that of a redirect may lead elsewhere. Raises Problem."""
    reference = _read(headers, b"location")
    address = _within(call, reference)
    if address is None and status in FOLLOWED:
        address = _elsewhere(call, reference)
    if address is not None:
        return [(b"location", address.encode("ascii"))]
    has_location = any(name == b"location" for name, _ in headers)
    if status in REDIRECTS or (status in FOLLOWED and has_location):
        raise Problem(502, "misdirected", "The upstream redirects where the gateway must not lead.")
    return []


def _rewrite_references(call: Call, headers: Headers) -> Headers:
    """Return the other headers that hold one address.

    Whole ones where programs are known to use them as they are.
    """
    names = sorted(REFERENCES.intersection(name for name, _ in headers))
    found = [(name, _whole(call, _within(call, _read(headers, name)))) for name in names]
    found += [
        (b"content-location", _within(call, _read(headers, b"content-location"))),
        (b"refresh", _rewrite_refresh(call, _read(headers, b"refresh"))),
    ]
    return [(name, value.encode("ascii")) for name, value in found if value is not None]


def _rewrite_refresh(call: Call, value: str | None) -> str | None:
    found = REFRESH.fullmatch(value or "")
    if found is None:
        return None
    seconds, *references = found.groups()
    reference = next(filter(None, references), None)
    if reference is None:
        return seconds
    address = _within(call, reference)
    return None if address is None else f"{seconds}; url={address}"


def _rewrite_links(call: Call, headers: Headers) -> Headers:
    """Return the `Link` headers, with whole addresses: many programs do not resolve them."""
    fields = [value.decode("latin-1") for name, value in headers if name == b"link"]
    left = RESOLVED_MAX

    def replace(reference: str) -> str | None:
        nonlocal left
        left -= len(call.target) + len(reference)
        return _whole(call, _within(call, reference)) if left >= 0 else None

    found = links.replace_addresses(fields, replace)
    return [(b"link", text.encode("latin-1")) for text in found]


def _whole(call: Call, address: str | None) -> str | None:
    """Return an address of the gateway's with its scheme and host."""
    base = f"{call.request.scheme}://{call.request.get_host()}"
    return None if address is None else base + address


def _read(headers: Headers, name: bytes) -> str | None:
    value = value_of(headers, name)
    return None if value is None else value.decode("latin-1")


def _within(call: Call, reference: str | None) -> str | None:
    """Return the gateway's address for one within the upstream; None for any other."""
    if not reference:
        return None
    public = call.request.get_host() + call.script_name
    try:
        address = url_rules.within(call.upstream, call.target, reference, public=public)
    except url_rules.PathRefused:
        return None
    return None if address is None else call.script_name + address


def _elsewhere(call: Call, reference: str | None) -> str | None:
    """Return an address outside of the upstream that the caller may be led to.

    A navigation is led nowhere, or each upstream that redirects openly would make the
    gateway do so; a body is sent nowhere else; another address of the gateway's own could
    make the session act there; and a program could show its token or cookie there, which
    a browser shows to the gateway alone.
    """
    is_client = client_calls.of(call.request) is not None
    is_navigation = not is_client and origin.is_navigation(call.request)
    if not reference or call.method not in {"GET", "HEAD"} or is_navigation:
        return None
    try:
        url = url_rules.absolute(call.target, reference)
    except url_rules.PathRefused:
        return None
    parts = urlsplit(url)
    own = parts.hostname == urlsplit(f"//{call.request.get_host()}").hostname
    if parts.scheme != "https" or own:
        return None
    keeps_cookie = not is_client and origin.is_browser(call.request)
    return url if keeps_cookie or _is_listed(call, parts) else None


def _is_listed(call: Call, parts: SplitResult) -> bool:
    """Return whether the operator allows redirects to an https address: its host is listed."""
    return parts.hostname in call.upstream.redirect_hosts and parts.port in {None, 443}
