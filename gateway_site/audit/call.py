"""The events of one call: when it ends; of an event stream, when it starts and when it ends."""

import base64
import re
from collections.abc import Awaitable, Mapping
from http import HTTPStatus
from time import time
from typing import Any, Final

from django.conf import settings

from gateway_site.audit.event import CALL, STREAM_ENDED, TEXT_MAX, make_event
from gateway_site.audit.trail import Trail, trail
from gateway_site.edge.access_log import UNKNOWN, CheckedMessage, LogEntry, entry_of
from gateway_site.edge.client import Scope, Send

PROBLEM: Final = b"x-gateway-problem"  # as `rules.problems.MARK`: no upstream's response has it
ROOT: Final = "/gateway/"  # as `rules.url_rules.ROOT`
ALLOWED, REJECTED, FAILED, ABANDONED = "allowed", "rejected", "failed", "abandoned"
UPSTREAM_FAULTS: Final = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT})
ENCODED: Final = re.compile(rb"=\?base64\?(.*)\?=")
ADDRESS_MAX: Final = 8 * 1024  # characters that are read, in the event loop
TOOLS_AND_PROMPTS: Final = frozenset({"tools/call", "prompts/get"})  # what has a plain name
# Delimiters of an address, also percent-encoded, however often, as in an address within another.
QUERY_START: Final = re.compile(r"[?#]|%(?:25)*(?:3f|23)", re.IGNORECASE)
SLASH: Final = re.compile(r"([/\\]|%(?:25)*(?:2f|5c))", re.IGNORECASE)
COLON: Final = re.compile(r":|%(?:25)*3a", re.IGNORECASE)
AT: Final = re.compile(r"@|%(?:25)*40", re.IGNORECASE)
SCHEME: Final = re.compile(r"\s*[a-z][a-z0-9+.-]*:", re.IGNORECASE)
DATA: Final = re.compile(r"(?<![a-z0-9+.-])data(?::|%(?:25)*3a)", re.IGNORECASE)
IGNORED: Final = str.maketrans("", "", "\t\r\n")  # by browsers, in an address
# Headers of MCP, which nobody has compared with the message: they are marked as claimed.
CLAIMED: Final = {
    "protocol": b"mcp-protocol-version",
    "method": b"mcp-method",
    "tool": b"mcp-name",
}


class AuditedCall:
    """A call that is being served. `send` passes its response on; `end` records it."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._entry = entry_of(scope) or LogEntry(UNKNOWN)
        self._trail: Trail = trail()
        self._is_reserved = self._trail.queue.reserve()
        self._status: int | None = None
        self._code: str | None = None
        self._bytes = 0
        self._is_stream = self._is_abandoned = False

    @property
    def is_possible(self) -> bool:
        """Whether the call may be made: there is room for its event, or events may be lost."""
        return self._is_reserved or not self._trail.rejects

    def send(self, message: Mapping[str, Any]) -> Awaitable[None]:
        """Pass a message of the response on."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = {name.lower(): value for name, value in message.get("headers", ())}
            code = headers.get(PROBLEM)
            self._code = None if code is None else code.decode("latin-1")
            if code is None and _is_event_stream(headers):
                self._is_stream = True
                self._record(CALL)
        else:
            self._bytes += len(message.get("body", b""))
        return self._send(message)

    def abandon(self) -> None:
        """Note that the client has disconnected, or the process ends, perhaps before a decision."""
        self._is_abandoned = True

    def end(self) -> None:
        """Record the call, or the end of its stream."""
        self._record(STREAM_ENDED if self._is_stream else CALL)

    def _record(self, name: str) -> None:
        entry, now = self._entry, time()
        fields: dict[str, Any] = {
            "request": entry.id,
            "person": _known(entry.user),
            "client": _known(entry.client),
            "upstream": self._upstream(),
            "http_method": self._scope["method"],
            **self._describe_message(),
            "decision": self._decision(),
            "code": self._code,
            "status": self._status,
            "stream": self._is_stream,
            "bytes": self._bytes,
            "duration_ms": entry.duration_ms,
        }
        queue = self._trail.queue
        queue.add(make_event(name, now, **fields), reserved=self._is_reserved)
        if self._is_stream and name == CALL and self._is_reserved:
            queue.reserve_another()

    def _describe_message(self) -> dict[str, Any]:
        """Return what the rules found in the message, or what its headers claim."""
        checked = self._entry.checked
        is_claimed = checked is None
        if checked is None:
            found = {name: _header(self._scope, header) for name, header in CLAIMED.items()}
            checked = CheckedMessage(**found)
            is_claimed = checked != CheckedMessage()
        return {
            "protocol": checked.protocol,
            "method": checked.method,
            "tool": _subject(checked, is_claimed=is_claimed),
            "claimed": is_claimed,
            "rule": checked.rule,
            "policy": checked.policy,
        }

    def _upstream(self) -> str | None:
        """Return the name of the upstream, of a rejected call as its path has it."""
        if self._entry.upstream != UNKNOWN:
            return self._entry.upstream
        path: str = self._scope["path"].removeprefix(self._scope.get("root_path", ""))
        name = path.removeprefix(ROOT).partition("/")[0]
        return name if name in settings.UPSTREAMS else None

    def _decision(self) -> str:
        """Return what became of the call. None that the upstream may have received is rejected."""
        if self._entry.upstream == UNKNOWN:
            is_undecided = self._is_abandoned and self._status is None
            return ABANDONED if is_undecided else REJECTED
        if self._code is not None and self._status in UPSTREAM_FAULTS:
            return FAILED
        if self._entry.is_sent:
            return ALLOWED
        if self._status is None:
            return ABANDONED
        return ALLOWED if self._code is None else REJECTED


def _is_event_stream(headers: Mapping[bytes, bytes]) -> bool:
    kind = headers.get(b"content-type", b"").partition(b";")[0]
    return kind.strip().lower() == b"text/event-stream"


def _subject(checked: CheckedMessage, *, is_claimed: bool) -> str | None:
    """Return the name of a tool or prompt, or an address without what may be secret.

    What is only claimed may be an address in any case.
    """
    is_name = checked.method in TOOLS_AND_PROMPTS and not is_claimed
    if checked.tool is None or is_name:
        return checked.tool
    return strip_address(checked.tool)


def strip_address(address: str) -> str:
    """Return an address without users, passwords, query and fragment; of `data:` only the scheme.

    Also of addresses within it, such as `jar:https://user:password@host/a`: a part between slashes
    loses what is before its last "@" if it starts an authority, or has a colon there.
    """
    address = _first_parts(address)
    if data := DATA.search(address):
        return address[: data.end()].lstrip()
    scheme = found[0] if (found := SCHEME.match(address)) else ""
    shown, is_authority = [scheme], True
    # What follows so many slashes is cut off in the event.
    for number, part in enumerate(SLASH.split(address[len(scheme) :], maxsplit=TEXT_MAX)):
        if number % 2:  # a slash
            shown.append(part)
            continue
        user = max((each.end() for each in AT.finditer(part)), default=0)
        if user and (is_authority or COLON.search(part, 0, user)):
            shown.append(part[user:])
        else:
            shown.append(part)
        colons = [each.end() for each in COLON.finditer(part)]
        is_authority = not part or (bool(colons) and colons[-1] == len(part))
    return "".join(shown)


def _first_parts(address: str) -> str:
    """Return an address without query and fragment, and no more than ADDRESS_MAX of it.

    A part between slashes that is cut is left out: it may continue with an "@".
    """
    start = address[:ADDRESS_MAX].translate(IGNORED)
    path, *query = QUERY_START.split(start, maxsplit=1)
    if query or len(address) <= ADDRESS_MAX:
        return path
    return path[: max((each.end() for each in SLASH.finditer(path)), default=0)] + "…"


def _known(value: str) -> str | None:
    return None if value == UNKNOWN else value


def _header(scope: Scope, name: bytes) -> str | None:
    for each, value in scope["headers"]:
        if each.lower() == name:
            return _decode(value)
    return None


def _decode(value: bytes) -> str:
    """Return a header's text; MCP encodes what is not plain ASCII."""
    if encoded := ENCODED.fullmatch(value):
        try:
            return base64.b64decode(encoded[1], validate=True).decode()
        except ValueError:
            pass
    return value.decode("latin-1")
