"""Parses `WWW-Authenticate` of an MCP server (RFC 9110 section 11.6.1). Pure.

The header comes from a stranger, and is also parsed in the event loop: the time is linear in its
length, which is limited. A header that does not follow the grammar has no challenges.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

HEADER_MAX = 8 * 1024  # characters
PARAMETERS_MAX = 32  # of one challenge
CHALLENGES_MAX = 32
BEARER = "bearer"

# RFC 9110 sections 5.6.2 to 5.6.4 and 11.2. The alternatives of a group begin differently, so that
# no text is tried in two ways.
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
TOKEN68 = re.compile(r"[0-9A-Za-z._~+/-]+=*(?=[ \t]*(?:,|\Z))")
PARAMETER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*")
QUOTED = re.compile(r'"((?:[\t !\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t -~\x80-\xff])*)"')
ESCAPED = re.compile(r"\\(.)")
BLANKS = re.compile(r"[ \t]*")
SEPARATOR = re.compile(r"[ \t]*(?:,[ \t]*)+|[ \t]*\Z")
EMPTY_ELEMENTS = re.compile(r"[ \t,]*")


@dataclass(frozen=True)
class Challenge:
    """One challenge: its scheme and the names of its parameters are in lower case."""

    scheme: str
    parameters: Mapping[str, str]


class _Malformed(Exception):
    """The header does not follow the grammar."""


def parse_challenges(header: str) -> list[Challenge]:
    """Return the challenges of a header, or of several that were joined by commas."""
    if len(header) > HEADER_MAX:
        return []
    found: list[Challenge] = []
    at = _end(EMPTY_ELEMENTS, header, 0)
    try:
        while at < len(header):
            if len(found) == CHALLENGES_MAX:
                return []
            challenge, at = _read_challenge(header, at)
            found.append(challenge)
    except _Malformed:
        return []
    return found


def bearer_parameters(header: str) -> Mapping[str, str]:
    """Return the parameters of the first Bearer challenge (RFC 6750); none if there is none."""
    schemes = (each for each in parse_challenges(header) if each.scheme == BEARER)
    return next((each.parameters for each in schemes), {})


def _read_challenge(header: str, at: int) -> tuple[Challenge, int]:
    """Return the challenge at a position, and where the next one begins."""
    scheme = TOKEN.match(header, at)
    if scheme is None:
        raise _Malformed
    start = _end(BLANKS, header, scheme.end())
    has_more = start > scheme.end()
    if has_more and (token68 := TOKEN68.match(header, start)):
        return Challenge(scheme[0].lower(), {}), _end(SEPARATOR, header, token68.end())
    parameters: dict[str, str] = {}
    at = start if has_more and PARAMETER.match(header, start) else scheme.end()
    if at == scheme.end():
        return Challenge(scheme[0].lower(), {}), _end(SEPARATOR, header, at)
    while name := PARAMETER.match(header, at):
        value, at = _read_value(header, name.end())
        if name[1].lower() in parameters or len(parameters) == PARAMETERS_MAX:
            raise _Malformed
        parameters[name[1].lower()] = value
        at = _end(SEPARATOR, header, at)
    return Challenge(scheme[0].lower(), parameters), at


def _read_value(header: str, at: int) -> tuple[str, int]:
    if quoted := QUOTED.match(header, at):
        return ESCAPED.sub(r"\1", quoted[1]), quoted.end()
    if token := TOKEN.match(header, at):
        return token[0], token.end()
    raise _Malformed


def _end(pattern: re.Pattern[str], header: str, at: int) -> int:
    """Return the position after a match that has to be there."""
    match = pattern.match(header, at)
    if match is None:
        raise _Malformed
    return match.end()
