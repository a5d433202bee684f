"""Addresses in an upstream's response headers: within the gateway, or elsewhere where that is safe.

A redirect is returned, never followed. The caller follows it, and some programs, Python's urllib
and wget among them, send their credentials to any host. So an address that leads within the
upstream is replaced by the gateway's own, and any other is dropped.

In `Link` (RFC 8288) programs find the next page of a list, and call it with their credentials. Many
of them split the header at each comma, semicolon and bracket, inside quotes too. So a target is
replaced or its link is dropped, and nothing is returned in which such a program could find another
address. A field that does not follow the RFC's grammar is dropped as a whole.
"""

import re
from collections.abc import Callable, Iterator
from urllib.parse import SplitResult, urlsplit

from gateway_site.forwarding.calls.upstream_call import UpstreamCall
from gateway_site.rules import origin, url_rules
from gateway_site.rules.headers import (
    ADDRESSES,
    REFERENCES,
    Headers,
    drop_connection_headers,
    single_value,
)
from gateway_site.rules.problems import Problem

REDIRECTS = frozenset({301, 302, 303, 307, 308})  # https://fetch.spec.whatwg.org/#redirect-status
FOLLOWED = range(300, 400)  # curl, wget and axios follow others of these, too
# Characters of the links of one response, each counted with its base address: these are resolved in
# about 10 ms at most.
RESOLVED_MAX = 32 * 1024
# Seconds, and where to go then; without what browsers forgive:
# https://html.spec.whatwg.org/multipage/semantics.html#shared-declarative-refresh-steps
REFRESH = re.compile(
    r"([0-9]{1,9})"
    r"(?:[ \t]*+[;,][ \t]*+url[ \t]*+=[ \t]*+(?:([^\"'\s]++)|\"([^\"]++)\"|'([^']++)'))?",
    re.ASCII | re.IGNORECASE,
)


def rewrite_addresses(call: UpstreamCall, status: int, headers: Headers) -> Headers:
    """Return the response headers that hold addresses, rewritten for the gateway.

    Raises Problem for a redirect that must not be passed on.
    """
    if status not in REDIRECTS and ADDRESSES.isdisjoint([name.lower() for name, _ in headers]):
        return []  # as for nearly every response
    came = drop_connection_headers(headers)
    return [
        *_rewrite_location(call, status, came),
        *_rewrite_references(call, came),
        *_rewrite_links(call, came),
    ]


def _rewrite_location(call: UpstreamCall, status: int, headers: Headers) -> Headers:
    """Return `Location`. Only that of a redirect may lead elsewhere. Raises Problem."""
    reference = _single_value(headers, b"location")
    address = _gateway_address(call, reference)
    if address is None and status in FOLLOWED:
        address = _outside_address(call, reference)
    if address is not None:
        return [(b"location", address.encode("ascii"))]
    has_location = any(name == b"location" for name, _ in headers)
    if status in REDIRECTS or (status in FOLLOWED and has_location):
        raise Problem(502, "misdirected", "The upstream redirects to a forbidden address.")
    return []


def _rewrite_references(call: UpstreamCall, headers: Headers) -> Headers:
    """Return the other headers that hold one address.

    As whole URLs where programs are known to use them without resolving them.
    """
    names = sorted(REFERENCES.intersection(name for name, _ in headers))
    found = [
        (name, _absolute(call, _gateway_address(call, _single_value(headers, name))))
        for name in names
    ]
    found += [
        (b"content-location", _gateway_address(call, _single_value(headers, b"content-location"))),
        (b"refresh", _rewrite_refresh(call, _single_value(headers, b"refresh"))),
    ]
    return [(name, value.encode("ascii")) for name, value in found if value is not None]


def _rewrite_refresh(call: UpstreamCall, value: str | None) -> str | None:
    found = REFRESH.fullmatch(value or "")
    if found is None:
        return None
    seconds, *references = found.groups()
    reference = next(filter(None, references), None)
    if reference is None:
        return seconds
    address = _gateway_address(call, reference)
    return None if address is None else f"{seconds}; url={address}"


def _rewrite_links(call: UpstreamCall, headers: Headers) -> Headers:
    """Return the `Link` headers with whole URLs: many programs do not resolve them."""
    fields = [value.decode("latin-1") for name, value in headers if name == b"link"]
    left = RESOLVED_MAX

    def replace(reference: str) -> str | None:
        nonlocal left
        left -= len(call.target) + len(reference)
        return _absolute(call, _gateway_address(call, reference)) if left >= 0 else None

    found = replace_link_addresses(fields, replace)
    return [(b"link", text.encode("latin-1")) for text in found]


def _absolute(call: UpstreamCall, address: str | None) -> str | None:
    """Return an address of the gateway with scheme and host."""
    base = f"{call.request.scheme}://{call.request.get_host()}"
    return None if address is None else base + address


def _single_value(headers: Headers, name: bytes) -> str | None:
    value = single_value(headers, name)
    return None if value is None else value.decode("latin-1")


def _gateway_address(call: UpstreamCall, reference: str | None) -> str | None:
    """Return the gateway's address for one within the upstream; None for any other."""
    if not reference:
        return None
    public = call.request.get_host() + call.script_name
    try:
        address = url_rules.gateway_address(call.upstream, call.target, reference, public=public)
    except url_rules.UnsafeAddress:
        return None
    return None if address is None else call.script_name + address


def _outside_address(call: UpstreamCall, reference: str | None) -> str | None:
    """Return an address outside of the upstream that the caller may be sent to, or None.

    Navigations are not redirected, or an upstream with an open redirect would make the gateway one.
    Bodies are sent nowhere else. At another address of the gateway itself the session would act.
    And a program could send its token or cookie there, which a browser sends to the gateway only.
    """
    is_navigation = not call.is_client and origin.is_navigation(call.request)
    if not reference or call.method not in {"GET", "HEAD"} or is_navigation:
        return None
    try:
        url = url_rules.resolve_reference(call.target, reference)
    except url_rules.UnsafeAddress:
        return None
    parts = urlsplit(url)
    own = parts.hostname == urlsplit(f"//{call.request.get_host()}").hostname
    if parts.scheme != "https" or own:
        return None
    keeps_cookie = not call.is_client and origin.is_browser(call.request)
    return url if keeps_cookie or _is_listed(call, parts) else None


def _is_listed(call: UpstreamCall, parts: SplitResult) -> bool:
    """Return True if the operator allows redirects to an https host."""
    return parts.hostname in call.upstream.redirect_hosts and parts.port in {None, 443}


# Returns the replacement of an address; None to drop its link.
ReplaceAddress = Callable[[str], str | None]

LINKS_LENGTH_MAX = 16 * 1024  # characters of all fields together
LINKS_MAX = 64
PARAMETERS_MAX = 512  # of all links together
# Possessive (++ and *+): no character is read twice, whatever an upstream sends.
BETWEEN = re.compile(r"(?:[ \t]*+,)*+[ \t]*+")
TARGET = re.compile(r"<([^<>]*+)>[ \t]*+")
# A name alone, or with a value. Without quotes it may have "/" and ":" as well, as RFC 5988 had it.
PARAMETER = re.compile(
    r"(?:;[ \t]*+)++"
    r"(?:([\w!#$%&'*+.^`|~-]++)[ \t]*+"
    r"(?:=[ \t]*+"
    r'(?:([\w!#$%&\'*+.^`|~/:-]++)|"((?:[\t !#-\[\]-~\x80-\xff]++|\\[\t -~\x80-\xff])*+)")'
    r"[ \t]*+)?)?",
    re.ASCII,
)
CUTTING = re.compile(r"[,;<>\\]")
# Without these a link has another meaning, so the whole link is dropped instead.
ESSENTIAL_PARAMETERS = frozenset({"anchor", "rel", "rev"})
# Further addresses: https://html.spec.whatwg.org/multipage/semantics.html#processing-link-headers
DROPPED_PARAMETERS = frozenset({"imagesrcset"})


class BadLink(ValueError):
    """A field that does not follow the grammar."""


def replace_link_addresses(fields: list[str], replace: ReplaceAddress) -> list[str]:
    """Return the fields with targets and anchors replaced, without dropped links.

    Empty if the fields are too long together, or have too many links or parameters.
    """
    if sum(map(len, fields)) > LINKS_LENGTH_MAX or (
        sum(text.count("<") for text in fields) > LINKS_MAX
        or sum(text.count(";") for text in fields) > PARAMETERS_MAX
    ):
        return []
    return [found for text in fields if (found := _rewrite_field(text, replace))]


def _rewrite_field(text: str, replace: ReplaceAddress) -> str:
    try:
        links = list(_parse_links(text))
    except BadLink:
        return ""
    return ", ".join(filter(None, (_rewrite_link(*link, replace) for link in links)))


def _parse_links(text: str) -> Iterator[tuple[str, list[re.Match[str]]]]:
    """Yield the target and the parameters of each link. Raises BadLink."""
    is_separated, at = True, _skip_pattern(BETWEEN, text, 0)
    while at < len(text):
        target = TARGET.match(text, at)
        if target is None or not is_separated:
            raise BadLink
        at = target.end()
        parameters = []
        while found := PARAMETER.match(text, at):
            at = found.end()
            parameters.append(found)
        yield target[1], parameters
        before, at = at, _skip_pattern(BETWEEN, text, at)
        is_separated = "," in text[before:at]


def _skip_pattern(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Return the end of a match of a pattern that matches everywhere."""
    found = pattern.match(text, at)
    return at if found is None else found.end()


def _rewrite_link(
    target: str, parameters: list[re.Match[str]], replace: ReplaceAddress
) -> str | None:
    """Return a rewritten link; None if it is dropped."""
    address = replace(target)
    if address is None:
        return None
    written, anchors = [f"<{_encode_delimiters(address)}>"], 0
    for found in parameters:
        name = (found[1] or "").lower()
        if name == "anchor":
            anchor = replace(found[2] or found[3] or "")
            anchors += 1
            if anchor is None or anchors > 1:
                return None
            written.append(f'anchor="{_encode_delimiters(anchor)}"')
        elif name and _may_keep(name, found[3] or ""):
            written.append(_write_parameter(name, found))
        elif name.removesuffix("*") in ESSENTIAL_PARAMETERS:
            return None
    return "; ".join(written)


def _may_keep(name: str, quoted: str) -> bool:
    is_essential = name.removesuffix("*") in ESSENTIAL_PARAMETERS
    if name in DROPPED_PARAMETERS or (is_essential and name.endswith("*")):
        return False
    return CUTTING.search(quoted) is None


def _write_parameter(name: str, found: re.Match[str]) -> str:
    if found[3] is not None:
        return f'{name}="{found[3]}"'
    return name if found[2] is None else f"{name}={found[2]}"


def _encode_delimiters(address: str) -> str:
    """Encode the characters at which programs split the header."""
    return address.replace(",", "%2C").replace(";", "%3B")
