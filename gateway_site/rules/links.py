"""The `Link` header (RFC 8288): its fields enter, and leave with every address in it replaced.

Programs find the next page of a list in it, and call that with their credentials. Many of them cut
the header at each comma, semicolon and bracket, inside quotes too. So a target is replaced or its
link is dropped, and nothing leaves in which such a program could find another address. A field that
does not follow the RFC's grammar is dropped as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

# Returns what to write in place of an address; None where its link is to be dropped.
Replace = Callable[[str], str | None]

LENGTH_MAX = 16 * 1024  # characters of all fields together
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
# Their absence would change what a link says, so a link is dropped rather than one of these.
ESSENTIAL = frozenset({"anchor", "rel", "rev"})
# Further addresses: https://html.spec.whatwg.org/multipage/semantics.html#processing-link-headers
NOT_RETURNED = frozenset({"imagesrcset"})


class BadLink(ValueError):
    """A field that does not follow the grammar."""


def replace_addresses(fields: list[str], replace: Replace) -> list[str]:
    """Return the fields with targets and anchors replaced, without the links that are dropped.

    Empty for fields that are too long together, or have too many links or parameters.
    """
    if sum(map(len, fields)) > LENGTH_MAX or (
        sum(text.count("<") for text in fields) > LINKS_MAX
        or sum(text.count(";") for text in fields) > PARAMETERS_MAX
    ):
        return []
    return [found for text in fields if (found := _rewrite_field(text, replace))]


def _rewrite_field(text: str, replace: Replace) -> str:
    try:
        links = list(_parse(text))
    except BadLink:
        return ""
    return ", ".join(filter(None, (_rewrite_link(*link, replace) for link in links)))


def _parse(text: str) -> Iterator[tuple[str, list[re.Match[str]]]]:
    """Yield the target and the parameters of each link. Raises BadLink."""
    is_separated, at = True, _skip(BETWEEN, text, 0)
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
        before, at = at, _skip(BETWEEN, text, at)
        is_separated = "," in text[before:at]


def _skip(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Return where a match ends, of a pattern that matches everywhere."""
    found = pattern.match(text, at)
    return at if found is None else found.end()


def _rewrite_link(target: str, parameters: list[re.Match[str]], replace: Replace) -> str | None:
    """Return a link as it leaves; None for one that is dropped."""
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
        elif name and _may_return(name, found[3] or ""):
            written.append(_write_parameter(name, found))
        elif name.removesuffix("*") in ESSENTIAL:
            return None
    return "; ".join(written)


def _may_return(name: str, quoted: str) -> bool:
    is_essential = name.removesuffix("*") in ESSENTIAL
    if name in NOT_RETURNED or (is_essential and name.endswith("*")):
        return False
    return CUTTING.search(quoted) is None


def _write_parameter(name: str, found: re.Match[str]) -> str:
    if found[3] is not None:
        return f'{name}="{found[3]}"'
    return name if found[2] is None else f"{name}={found[2]}"


def _encode_delimiters(address: str) -> str:
    """Return an address without the characters at which programs cut the header."""
    return address.replace(",", "%2C").replace(";", "%3B")
