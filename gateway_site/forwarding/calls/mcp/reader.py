"""A call of an upstream whose MCP messages are read: the body, then the response.

The body is received as a whole, and sent as it came. A JSON response is read before it begins;
events are passed on one by one. What cannot be read in one way only does not pass.
"""

import re

from django.conf import settings

from gateway_site.edge import access_log
from gateway_site.edge.access_log import CheckedMessage
from gateway_site.forwarding.calls.event_stream import UpstreamResponse, is_event_stream
from gateway_site.forwarding.calls.mcp.reading_threads import IN_LOOP, read_in_turn
from gateway_site.forwarding.calls.mcp.responses import ReadEvents, ReadJSON, UnreadableResponse
from gateway_site.forwarding.calls.upstream_call import UpstreamCall
from gateway_site.mcp import json_text, version_headers
from gateway_site.mcp.errors import (
    TOO_LARGE,
    UNREADABLE_RESPONSE,
    UNSUPPORTED_CONTENT,
    RPCProblem,
    rejection,
)
from gateway_site.mcp.events import EVENT_MAX
from gateway_site.mcp.json_text import JSONObject
from gateway_site.mcp.messages import InvalidMessage, Message, read_message
from gateway_site.mcp.policy import MCPCall, MCPCaller, PassAll, Policy
from gateway_site.policy.call_policy import CallPolicy
from gateway_site.policy.client_names import list_client_names
from gateway_site.policy.in_force import pins_of, rules_of
from gateway_site.policy.pin_policy import PinPolicy
from gateway_site.rules.body import EMPTY_BODY, RequestBody
from gateway_site.rules.headers import Headers, drop_connection_headers, single_value
from gateway_site.rules.problems import Problem

ALLOWED = ("DELETE", "GET", "POST")
MEDIA_TYPE = re.compile(rb"([a-z]+/[a-z+-]+)[ \t]*")
# RFC 9110 section 5.6.6, without what some would read as more than one parameter.
PARAMETER = re.compile(rb"[ \t]*(?:([\w!#$&+.^-]+)=([\w!#$&+.^-]+|\"[^\"\\,]*\")[ \t]*)?")
# With another charset, some servers would read another text.
CHARSET = b"charset"
UTF_8 = frozenset({b"utf-8", b"utf8"})
JSON, EVENTS = b"application/json", b"text/event-stream"
OF_SESSIONS = frozenset({b"mcp-session-id", b"last-event-id"})  # before 2026-07-28


class MCPReader:
    """Reads the messages of one call. `policy` decides about them."""

    def __init__(self, call: UpstreamCall, body: RequestBody, policy: Policy) -> None:
        self._call = call
        self._body = body
        self._policy = policy
        self._headers = drop_connection_headers(call.headers)  # as the upstream will see them
        self._data = b""
        self.message: Message | None = None  # until the policy has admitted it
        self._version: str | None = None
        self._admitted: MCPCall | None = None

    @classmethod
    def of(cls, call: UpstreamCall, body: RequestBody) -> "MCPReader | None":
        """Return the reader of a call, under what is in force now; None if nothing is read."""
        return cls(call, body, _policy_of(call)) if call.upstream.read_mcp else None

    async def receive(self) -> None:
        """Receive the body, and read its message unless it is large. Raises Problem, ClientGone."""
        if self._call.method == "POST":
            _check_content(self._headers)
            self._data = await self._receive()
        if self.is_unread:
            _note(CheckedMessage())
        else:
            await self.read()

    @property
    def is_unread(self) -> bool:
        """Whether a large message was received and not read: its caller is checked before."""
        return len(self._data) > IN_LOOP

    async def read(self) -> None:
        """Read the message that was received, once. Raises Problem."""
        headers, data = self._headers, self._data
        self._headers, self._data = [], b""
        try:
            if self._call.method == "POST":
                self.message = await read_in_turn(
                    self._call.owner, len(data), lambda: read_message(data)
                )
                self._version = version_headers.check_headers(headers, self.message)
            else:
                self._version = version_headers.read_version(headers)
                self._check_without_message()
        except InvalidMessage as invalid:
            raise rejection(invalid) from None
        method = name = None
        if self.message is not None:
            method, name = self.message.method, self.message.name
        _note(CheckedMessage(protocol=self._version, method=method, tool=name))

    def admit(self, groups: tuple[str, ...]) -> None:
        """Ask the policy, once; these are the person's groups at the provider. Raises Problem."""
        owner = self._call.owner
        call = MCPCall(
            upstream=self._call.upstream.name,
            http_method=self._call.method,
            version=self._version,
            message=self.message,
            caller=MCPCaller(person=owner.person, groups=groups, is_client=self._call.is_client),
        )
        self._policy.admit(call)
        self.message, self._admitted = None, call.without_content()

    def select_headers(self, headers: Headers) -> Headers:
        """Return the request headers that pass; their names are in lower case."""
        dropped = {b"accept-encoding"} | (OF_SESSIONS if self._is_stateless() else set())
        return [
            pair for pair in headers if pair[0].translate(version_headers.AS_HYPHENS) not in dropped
        ]

    async def read_response(self, response: UpstreamResponse) -> UpstreamResponse:
        """Return the response as it may pass. Raises UpstreamFailed, UnreadableResponse too."""
        codings = [value for name, value in response.headers if name == b"content-encoding"]
        if any(value.lower() != b"identity" for value in codings):
            raise UnreadableResponse("The upstream's response has a content coding.")
        if self._is_stateless():
            response.headers[:] = [pair for pair in response.headers if pair[0] not in OF_SESSIONS]
        kind = _media_type(response.headers)
        if kind == EVENTS or is_event_stream(response):
            if kind != EVENTS:
                raise UnreadableResponse("The type of the upstream's response is unclear.")
            return ReadEvents(response, self._call.owner, self._new_result, self._policy)
        if single_value(response.headers, b"content-length") == b"0" or response.status == 204:
            return response
        if response.status == 202:  # nothing: what a server adds is no message to anybody
            await self._read_all(response)
            return ReadJSON(response, b"")
        if response.status not in range(200, 300) or self._call.method == "DELETE":
            return await self._read_json(response, is_error=True) if kind == JSON else response
        if kind != JSON or response.status != 200 or self._call.method != "POST":
            raise UnreadableResponse("The upstream's response is no message of MCP.")
        return await self._read_json(response)

    def problem_of(self, unreadable: UnreadableResponse) -> RPCProblem:
        """Return the response to a call whose own response cannot be passed on."""
        message = None if self._admitted is None else self._admitted.message
        return RPCProblem(
            502,
            "unreadable_answer",
            str(unreadable),
            rpc_code=UNREADABLE_RESPONSE,
            request_id=None if message is None else message.id,
        )

    async def _receive(self) -> bytes:
        try:
            return await self._body.read(json_text.TEXT_MAX)
        except Problem as problem:
            if problem.status != 413:
                raise
            detail = "The message is too large."
            raise RPCProblem(413, "too_large", detail, rpc_code=TOO_LARGE) from None

    def _check_without_message(self) -> None:
        """Check a request that has no message. Raises Problem."""
        method = self._call.method
        allowed = ("POST",) if self._is_stateless() else ALLOWED
        if method not in allowed:
            raise Problem(
                405,
                "method_not_allowed",
                "MCP does not use this method.",
                headers={"Allow": ", ".join(allowed)},
            )
        if self._call.framing not in ([], EMPTY_BODY):
            raise Problem(400, "bad_framing", "Only a POST may have a body here.")

    async def _read_json(
        self, response: UpstreamResponse, *, is_error: bool = False
    ) -> UpstreamResponse:
        """Return a response of JSON; an error may be no message at all."""
        data, rewritten = await self._read_all(response), None
        try:
            owner = self._call.owner
            rewritten = await read_in_turn(owner, len(data), lambda: self._new_json(data))
        except InvalidMessage:
            if not is_error:
                raise UnreadableResponse(
                    "The upstream's response is no readable message."
                ) from None
        return ReadJSON(response, data if rewritten is None else rewritten)

    async def _read_all(self, response: UpstreamResponse) -> bytes:
        data = bytearray()
        while not response.has_ended:
            data += await response.read_piece(self._call.upstream.read_timeout)
            if len(data) > EVENT_MAX:
                raise UnreadableResponse("The upstream's response is too large.")
        return bytes(data)

    def _new_json(self, data: bytes) -> bytes | None:
        changed = self._new_result(data)
        return None if changed is None else changed.encode("ascii")

    def _new_result(self, data: bytes) -> str | None:
        """Return a message with the policy's result; None if it stays. Raises InvalidMessage."""
        assert self._admitted is not None  # noqa: S101 - only admitted calls have responses
        message = read_message(data, EVENT_MAX)
        if not message.is_result:
            return None
        result: JSONObject | None = self._policy.rewrite(self._admitted, message)
        if result is None:
            return None
        return json_text.write({"jsonrpc": "2.0", "id": message.id, "result": result})

    def _is_stateless(self) -> bool:
        return version_headers.is_stateless(self._version)


def _note(checked: CheckedMessage) -> None:
    """Leave what was read for the audit log, which otherwise has what the headers claim."""
    if (entry := access_log.current_entry()) is not None:
        entry.checked = checked


def _check_content(headers: Headers) -> None:
    """Check that a body is JSON as it is. Raises Problem."""
    codings = [value for name, value in headers if name.lower() == b"content-encoding"]
    is_encoded = bool(codings) and [each.lower() for each in codings] != [b"identity"]
    if _media_type(headers) != JSON or is_encoded:
        detail = "The body must be application/json in UTF-8, without a content coding."
        raise RPCProblem(415, "unsupported_content", detail, rpc_code=UNSUPPORTED_CONTENT)


def _media_type(headers: Headers) -> bytes | None:
    """Return the type of a content in UTF-8; None if it is missing or unclear."""
    values = [value for name, value in headers if name.lower() == b"content-type"]
    if len(values) != 1:
        return None
    kind, *rest = values[0].strip(b" \t").lower().split(b";")
    found, parameters = MEDIA_TYPE.fullmatch(kind), list(map(PARAMETER.fullmatch, rest))
    pairs = [(each[1], each[2]) for each in parameters if each]
    charsets = [value.strip(b'"') for name, value in pairs if name == CHARSET]
    is_clear = len(charsets) < 2 and UTF_8.issuperset(charsets) and None not in parameters
    has_others = any(name not in (None, CHARSET) for name, _ in pairs)
    if found is None or not is_clear or (has_others and found[1] != JSON):
        return None
    return found[1]


def _policy_of(call: UpstreamCall) -> Policy:
    """Return the rules and pins that are in force as the call begins, for its client."""
    policy: Policy = PassAll()
    if (rules := rules_of(call.upstream)) is not None:
        grant, server, names = call.caller.grant, settings.AUTHORIZATION_SERVER, frozenset[str]()
        if grant is not None and server is not None:
            names = list_client_names(grant.labels, server)
        policy = CallPolicy(rules, names)
    pins = pins_of(call.upstream)
    return policy if pins is None else PinPolicy(policy, *pins)
