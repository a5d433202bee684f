"""Where an upstream's answer may lead: within the gateway, or elsewhere where that is safe.

A redirect is returned, never followed: what follows it is the client, without the token.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from gateway_site.forwarding.call import Call
from gateway_site.rules import origin, url_rules
from gateway_site.rules.headers import ADDRESSES, Headers, value_of
from gateway_site.rules.problems import Problem

REDIRECTS = frozenset({301, 302, 303, 307, 308})  # https://fetch.spec.whatwg.org/#redirect-status


def locations(call: Call, status: int, headers: Headers) -> Headers:
    """Return `Location` and `Content-Location` in the gateway's terms.

    Raises Problem for a redirect that must not be passed on.
    """
    found: Headers = []
    if status not in REDIRECTS and ADDRESSES.isdisjoint([name.lower() for name, _ in headers]):
        return found  # as of nearly every answer
    if content := _within(call, value_of(headers, b"content-location")):
        found.append((b"content-location", content.encode("ascii")))
    location = _within(call, value_of(headers, b"location")) or _elsewhere(
        call, value_of(headers, b"location")
    )
    if location:
        found.append((b"location", location.encode("ascii")))
    elif status in REDIRECTS:
        raise Problem(502, "misdirected", "The upstream redirects where the gateway must not lead.")
    return found


def _within(call: Call, reference: bytes | None) -> str | None:
    if not reference:
        return None
    public, text = call.request.get_host() + call.script_name, reference.decode("latin-1")
    try:
        address = url_rules.within(call.upstream, call.target, text, public=public)
    except url_rules.PathRefused:
        return None
    return None if address is None else call.script_name + address


def _elsewhere(call: Call, reference: bytes | None) -> str | None:
    """Return an address outside of the upstream that a program may be led to.

    A navigation is led nowhere, or each upstream that redirects openly would make the
    gateway do so; a body is sent nowhere else; and another address of the gateway's own
    could make the session act there.
    """
    if not reference or call.method not in {"GET", "HEAD"} or origin.is_navigation(call.request):
        return None
    try:
        url = url_rules.absolute(call.target, reference.decode("latin-1"))
    except url_rules.PathRefused:
        return None
    parts = urlsplit(url)
    own = parts.hostname == urlsplit(f"//{call.request.get_host()}").hostname
    return url if parts.scheme == "https" and not own else None
