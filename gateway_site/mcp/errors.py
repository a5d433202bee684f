"""Errors of the gateway as JSON-RPC messages, which MCP clients can show.

Its own codes are -32000 to -32019, which MCP leaves to implementations; -32020 and below are the
specification's. https://modelcontextprotocol.io/specification/2026-07-28/basic#error-codes
"""

import json

from django.http import HttpResponse

from gateway_site.mcp.messages import InvalidMessage
from gateway_site.rules.problems import Problem

METHOD_NOT_FOUND = -32601
TOO_LARGE, UNSUPPORTED_CONTENT, UNREADABLE_RESPONSE = -32010, -32011, -32012


class RPCProblem(Problem):
    """A problem whose document is a JSON-RPC error. `rpc_code` is its code."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        rpc_code: int,
        request_id: str | int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(status, code, detail, headers=headers)
        self.rpc_code = rpc_code
        self.request_id = request_id

    def response(self) -> HttpResponse:
        """Return the error; its `data` has the problem's code."""
        response = super().response()
        response.content = error_document(
            self.rpc_code, self.detail, self.request_id, problem=self.code
        )
        response["Content-Type"] = "application/json"
        return response


def error_document(code: int, message: str, request_id: str | int | None, **data: str) -> bytes:
    """Return a JSON-RPC error (https://www.jsonrpc.org/specification#error_object)."""
    error = {"code": code, "message": message, "data": data}
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "error": error}).encode("ascii")


def rejection(invalid: InvalidMessage) -> RPCProblem:
    """Return the response to a message that cannot be read in one way only."""
    return RPCProblem(
        400,
        "bad_message",
        invalid.detail,
        rpc_code=invalid.code,
        request_id=invalid.request_id,
    )
