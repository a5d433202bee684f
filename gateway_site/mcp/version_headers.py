"""The protocol's version, and the headers that repeat what a message says.

From 2026-07-28 on the headers are required; in older versions they may be absent. What is there
must agree with the message, which alone decides.
https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http#request-metadata
"""

import base64
import binascii
import re

from gateway_site.mcp.messages import INVALID_REQUEST, NAMES_OF_METHODS, InvalidMessage, Message
from gateway_site.rules.headers import Headers

HEADER_MISMATCH = -32020
VERSION_HEADER, METHOD_HEADER, NAME_HEADER = b"mcp-protocol-version", b"mcp-method", b"mcp-name"
STATELESS_SINCE = "2026-07-28"  # versions are compared as texts
VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
VALUE = re.compile(rb"[\t\x20-\x7e]*")  # RFC 9110 section 5.5, without obs-text
ENCODED = re.compile(r"=\?base64\?(.*)\?=")
# Servers that make variables of headers take these for "-".
START = b"mcp"  # of all three, and of what looks like one of them
AS_HYPHENS = bytes.maketrans(b"_.", b"--")
NAME_REQUIRED = frozenset({"tools/call", "resources/read", "prompts/get"})
# What else a header may name: https://modelcontextprotocol.io/seps/2663-tasks-extension
OTHER_NAMES = {"tasks/get": "taskId", "tasks/update": "taskId", "tasks/cancel": "taskId"}
BLANKS = b" \t"


def is_stateless(version: str | None) -> bool:
    """Return True for versions without sessions, streams by GET and resumption."""
    return version is not None and version >= STATELESS_SINCE


def read_version(headers: Headers) -> str | None:
    """Return the version in the headers, or None. Raises InvalidMessage."""
    version = _read_header(headers, VERSION_HEADER)
    if version is not None and not VERSION.fullmatch(version):
        raise _mismatch("MCP-Protocol-Version is not a version")
    return version


def check_headers(headers: Headers, message: Message) -> str | None:
    """Return the version of a message, if it is known. Raises InvalidMessage."""
    try:
        return _check(headers, message)
    except InvalidMessage as invalid:
        raise InvalidMessage(invalid.code, invalid.detail, message.id) from None


def _check(headers: Headers, message: Message) -> str | None:
    stated, own = read_version(headers), message.version
    method, name = _read_header(headers, METHOD_HEADER), _read_header(headers, NAME_HEADER)
    if own is not None and not VERSION.fullmatch(own):
        raise _mismatch("the version in _meta is not a version")
    version = own or stated
    is_required = message.is_request and (is_stateless(own) or is_stateless(stated))
    if is_stateless(stated) and message.is_response:
        raise InvalidMessage(INVALID_REQUEST, f"Clients send no responses from {STATELESS_SINCE}.")
    if (is_required and (own is None or stated is None)) or (stated and own and stated != own):
        raise _mismatch("MCP-Protocol-Version does not match the version in _meta")
    if not is_required and is_stateless(own) and stated is None:
        raise _mismatch("MCP-Protocol-Version is missing")
    if method != message.method and (is_required or method is not None):
        raise _mismatch("Mcp-Method does not match the method")
    _check_name(name, message, is_required=is_required)
    return version


def _check_name(name: str | None, message: Message, *, is_required: bool) -> None:
    if name is None:
        if is_required and message.method in NAME_REQUIRED:
            raise _mismatch("Mcp-Name is missing")
        return
    method, decoded = message.method or "", decode(name)
    member = NAMES_OF_METHODS.get(method) or OTHER_NAMES.get(method)
    members = (member,) if member else ("name", "uri")
    if decoded is None or decoded not in [message.params.get(each) for each in members]:
        raise _mismatch("Mcp-Name does not match the message")


def decode(value: str) -> str | None:
    """Return the text that a header's value stands for; None for one that is badly encoded."""
    encoded = ENCODED.fullmatch(value)
    if encoded is None:
        return value
    try:
        decoded = base64.b64decode(encoded[1], validate=True)
        is_canonical = base64.b64encode(decoded).decode("ascii") == encoded[1]
        return decoded.decode("utf-8") if is_canonical else None
    except (binascii.Error, UnicodeError):
        return None


def _read_header(headers: Headers, name: bytes) -> str | None:
    """Return the value of a header; None without it. Raises InvalidMessage."""
    found = [
        (key.lower(), value)
        for key, value in headers
        if key[:3].lower() == START and key.lower().translate(AS_HYPHENS) == name
    ]
    if not found:
        return None
    (spelling, value), *others = found
    if others or spelling != name or not VALUE.fullmatch(value):
        raise _mismatch(f"{name.decode()} must be there once, in visible ASCII")
    return value.strip(BLANKS).decode("ascii")


def _mismatch(what: str) -> InvalidMessage:
    return InvalidMessage(HEADER_MISMATCH, f"Header mismatch: {what}.")
