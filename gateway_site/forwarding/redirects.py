"""Where an upstream's answer may lead: within the gateway, or elsewhere where that is safe.

A redirect is returned, never followed. What follows it is the caller, and some programs take their
credentials along to any host (Python's urllib and wget do). So each address in an answer's headers
is replaced by the gateway's own where it leads within the upstream, and dropped otherwise.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from gateway_site.forwarding import client_calls
from gateway_site.forwarding.call import Call
from gateway_site.rules import links, origin, url_rules
from gateway_site.rules.headers import ADDRESSES, REFERENCES, Headers, end_to_end, value_of
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
    came = end_to_end(headers)
    return [*_location(call, status, came), *_references(call, came), *_links(call, came)]


def _location(call: Call, status: int, headers: Headers) -> Headers:
    """Return `Location`. Only that of a redirect may lead elsewhere. Raises Problem."""
    reference = _text(headers, b"location")
    address = _within(call, reference)
    if address is None and status in FOLLOWED:
        address = _elsewhere(call, reference)
    if address is not None:
        return [(b"location", address.encode("ascii"))]
    has_location = any(name == b"location" for name, _ in headers)
    if status in REDIRECTS or (status in FOLLOWED and has_location):
        raise Problem(502, "misdirected", "The upstream redirects where the gateway must not lead.")
    return []


def _references(call: Call, headers: Headers) -> Headers:
    """Return the other headers that hold one address, and `Refresh`."""
    names = sorted(REFERENCES.intersection(name for name, _ in headers))
    found = [(name, _within(call, _text(headers, name))) for name in names]
    found.append((b"refresh", _refresh(call, _text(headers, b"refresh"))))
    return [(name, value.encode("ascii")) for name, value in found if value is not None]


def _refresh(call: Call, value: str | None) -> str | None:
    found = REFRESH.fullmatch(value or "")
    if found is None:
        return None
    seconds, *references = found.groups()
    reference = next(filter(None, references), None)
    if reference is None:
        return seconds
    address = _within(call, reference)
    return None if address is None else f"{seconds}; url={address}"


def _links(call: Call, headers: Headers) -> Headers:
    """Return the `Link` headers, with whole addresses: many programs do not resolve them."""
    fields = [value.decode("latin-1") for name, value in headers if name == b"link"]
    base = f"{call.request.scheme}://{call.request.get_host()}"

    left = RESOLVED_MAX

    def replace(reference: str) -> str | None:
        nonlocal left
        left -= len(call.target) + len(reference)
        address = _within(call, reference) if left >= 0 else None
        return None if address is None else base + address

    found = links.replace_addresses(fields, replace)
    return [(b"link", text.encode("latin-1")) for text in found]


def _text(headers: Headers, name: bytes) -> str | None:
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
