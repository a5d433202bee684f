"""One JSON-RPC message of MCP, read so strictly that every server finds the same call in it.

Go's `encoding/json` finds a member by its name in any case, and takes the last of several: a
message is rejected if a member looks like one that decides, and is not spelled like it
(CVE-2026-27896, GHSA-q382-vc8q-7jhj). Zod, in the SDK for TypeScript, finds members that an object
does not have in its `__proto__` (seen with 3.25 to 4.2).
https://modelcontextprotocol.io/specification/2026-07-28/basic
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from gateway_site.mcp import json_text
from gateway_site.mcp.json_text import InvalidText, JSONObject

PARSE_ERROR, INVALID_REQUEST, INVALID_PARAMS = -32700, -32600, -32602

PROTOCOL_VERSION = "io.modelcontextprotocol/protocolVersion"
# The member of `params` that names what a method is about; it must be there.
NAMES_OF_METHODS = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "resources/subscribe": "uri",
    "resources/unsubscribe": "uri",
}
# Members of the envelope and of `params`.
MEMBERS = frozenset(
    {
        *("jsonrpc", "id", "method", "params", "result", "error"),
        *("name", "uri", "ref", "notifications"),  # what a call is about
        *("arguments", "_meta", "tools", "cursor"),
    }
)
META_MEMBERS = frozenset({PROTOCOL_VERSION})  # what decides in the `_meta` of a call
PROTOTYPE = "__proto__"
# Members of a `result` that lists something.
RESULT_MEMBERS = frozenset(
    {
        *("tools", "prompts", "resources", "resourceTemplates", "nextCursor"),
        *("_meta", "cacheScope", "ttlMs", "resultType"),
    }
)
ENVELOPE_OF_RESPONSE = frozenset({"result", "error"})
LONGEST = max(map(len, MEMBERS | META_MEMBERS | RESULT_MEMBERS))
CONTROLS = dict.fromkeys((*range(32), 127))
IGNORED = frozenset({"Cc", "Cf"})  # categories: controls and format codes
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class InvalidMessage(ValueError):
    """A message that is rejected with an error of JSON-RPC. It repeats none of it but its id."""

    def __init__(self, code: int, detail: str, request_id: str | int | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.request_id = request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A request, a notification (without an id), or a response (without a method).

    `name` is what a call is about: the name of a tool or prompt, or a resource's address. `version`
    is the protocol's, if the message names it. `params` and `result` are empty without one.
    """

    id: str | int | None
    method: str | None = None
    name: str | None = None
    version: str | None = None
    params: JSONObject = field(default_factory=dict, repr=False)
    result: JSONObject = field(default_factory=dict, repr=False)
    is_error: bool = False

    @property
    def is_request(self) -> bool:
        """Whether it asks for a response."""
        return self.method is not None and self.id is not None

    @property
    def is_response(self) -> bool:
        """Whether it is a result or an error."""
        return self.method is None

    @property
    def is_result(self) -> bool:
        """Whether it is a result."""
        return self.method is None and not self.is_error

    def without_content(self) -> "Message":
        """Return it without `params` and `result`, for as long as its response streams."""
        return Message(
            id=self.id,
            method=self.method,
            name=self.name,
            version=self.version,
            is_error=self.is_error,
        )


def read_message(data: bytes, max_size: int = json_text.TEXT_MAX) -> Message:
    """Return the only message in a text of at most so many bytes. Raises InvalidMessage."""
    try:
        document = json_text.parse(data, max_size)
    except InvalidText as invalid:
        raise InvalidMessage(PARSE_ERROR, str(invalid)) from None
    if not isinstance(document, dict):
        raise InvalidMessage(INVALID_REQUEST, "The body must be one JSON-RPC message, no batch.")
    found = document.get("id")
    request_id = found if is_id(found) else None
    try:
        return _read_envelope(document)
    except InvalidMessage as invalid:
        raise InvalidMessage(invalid.code, invalid.detail, request_id) from None


def is_id(value: Any) -> bool:
    """Return True for a string or an integer."""
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))


def find_lookalike(members: Iterable[str], known: frozenset[str]) -> str | None:
    """Return the known member that one of these looks like without being spelled like it."""
    folded = _FOLDED[known]
    for member in members:
        if member not in known and (alike := folded.get(fold(member))):
            return alike
    return None


def fold(member: str) -> str:
    """Return a name in ASCII without what some parsers ignore: case, width, controls, format codes.

    A name that has no such form, or is longer than all known members, becomes an empty text. Each
    character is folded alone: those that have an ASCII form do not combine with others.
    """
    if member.isascii():
        return member.translate(CONTROLS).lower()
    folded = ""
    for character in member:
        form = _find_ascii_form(character)
        if form is None or len(folded) > LONGEST:
            return ""
        folded += form
    return folded


@lru_cache(maxsize=4096)  # fewer characters have such a form
def _find_ascii_form(character: str) -> str | None:
    """Return what a character is folded to; None if that is not ASCII."""
    if unicodedata.category(character) in IGNORED:
        return ""
    folded = unicodedata.normalize("NFKC", character).casefold()
    form = unicodedata.normalize("NFKC", folded)
    return form if form.isascii() else None


_FOLDED = {
    known: {fold(member): member for member in known}
    for known in (MEMBERS, META_MEMBERS, RESULT_MEMBERS)
}


def _read_envelope(document: JSONObject) -> Message:
    _check_members(document, MEMBERS)
    if document.get("jsonrpc") != "2.0":
        raise InvalidMessage(INVALID_REQUEST, 'The message must have "jsonrpc": "2.0".')
    if "id" in document and not is_id(document["id"]):
        is_unreadable_request = "error" in document and document["id"] is None
        if not is_unreadable_request:
            raise InvalidMessage(INVALID_REQUEST, "An id must be a string or an integer.")
    if "method" in document:
        return _read_call(document)
    return _read_response(document)


def _read_call(document: JSONObject) -> Message:
    """Return a request or a notification."""
    method = _plain_text(document["method"])
    if method is None or not ENVELOPE_OF_RESPONSE.isdisjoint(document):
        raise InvalidMessage(INVALID_REQUEST, "The message must have one method, and no result.")
    params = _read_object(document, "params")
    meta = _read_object(params, "_meta")
    _check_members(params, MEMBERS)
    _check_members(meta, META_MEMBERS)
    _check_members(_object(params.get("notifications")), frozenset())
    version = meta.get(PROTOCOL_VERSION)
    if version is not None and not isinstance(version, str):
        raise InvalidMessage(INVALID_REQUEST, "The protocol's version must be a string.")
    return Message(
        id=document.get("id"),
        method=method,
        name=_read_name(method, params),
        version=version,
        params=params,
    )


def _read_response(document: JSONObject) -> Message:
    is_error = "error" in document
    if is_error == ("result" in document) or "params" in document:
        raise InvalidMessage(INVALID_REQUEST, "The message is neither a call nor a response.")
    if not is_error and "id" not in document:
        raise InvalidMessage(INVALID_REQUEST, "A result must have an id.")
    if not isinstance(document["error" if is_error else "result"], dict):
        raise InvalidMessage(INVALID_REQUEST, "A result or an error must be an object.")
    result = {} if is_error else document["result"]
    _check_members(result, RESULT_MEMBERS)
    _check_members(_object(result.get("_meta")), frozenset())
    return Message(id=document.get("id"), result=result, is_error=is_error)


def _read_name(method: str, params: JSONObject) -> str | None:
    member = NAMES_OF_METHODS.get(method)
    if member is None:
        return None
    name = _plain_text(params.get(member))
    if name is None:
        detail = f"{member} must be a string without control characters."
        raise InvalidMessage(INVALID_PARAMS, detail)
    return name


def _plain_text(value: Any) -> str | None:
    """Return a text without control characters: some servers would see it end there."""
    return value if isinstance(value, str) and not CONTROL.search(value) else None


def _read_object(of: JSONObject, member: str) -> JSONObject:
    """Return an object that may be missing or null."""
    if of.get(member) is not None and not isinstance(of[member], dict):
        raise InvalidMessage(INVALID_REQUEST, f"{member} must be an object.")
    return _object(of.get(member))


def _object(value: Any) -> JSONObject:
    return value if isinstance(value, dict) else {}


def _check_members(found: JSONObject, known: frozenset[str]) -> None:
    if PROTOTYPE in found:
        raise InvalidMessage(INVALID_REQUEST, f"{PROTOTYPE} must not be a member here.")
    if known and (alike := find_lookalike(found, known)):
        raise InvalidMessage(INVALID_REQUEST, f"A member looks like {alike}, and is not.")
