"""What the rules of a file make of one call: the `gateway_site.mcp.policy.Policy` of it.

A denied tool is answered like one that does not exist, and a denied method like an unknown one; the
log has more. Before 2026-07-28 a 404 would mean that the session is over, and clients would start a
new one again and again.
"""

import logging
from dataclasses import replace

from gateway_site.edge import access_log
from gateway_site.mcp.errors import METHOD_NOT_FOUND, RPCProblem
from gateway_site.mcp.json_text import JSONObject
from gateway_site.mcp.messages import INVALID_PARAMS, Message
from gateway_site.mcp.policy import MCPCall
from gateway_site.mcp.version_headers import is_stateless
from gateway_site.policy.lists import filter_result
from gateway_site.policy.rules import Caller, CallerRules, Decision, Rules
from gateway_site.policy.subjects import KINDS_OF_METHODS, PROMPTS, RESOURCES, TOOLS, subjects_of
from gateway_site.rules.problems import Problem

logger = logging.getLogger(__name__)

DENIED = "denied"
SHOWN_MAX = 128  # characters of a method in the log
UNKNOWN = {
    TOOLS: "Unknown tool.",
    PROMPTS: "Unknown prompt.",
    RESOURCES: "Unknown resource.",
}


class CallPolicy:
    """The rules for one call, by a client of these names (see `rules.Caller`)."""

    accepts_old_transport = False

    def __init__(self, rules: Rules, clients: frozenset[str]) -> None:
        self._all = rules
        self._clients = clients
        self._rules: CallerRules | None = None

    def admit(self, call: MCPCall) -> None:
        """Let an allowed call pass. Raises Problem."""
        decision = self.decide(call)
        self._note(decision)
        if not decision.is_allowed:
            self._log(call, decision)
            raise make_denial(call.message, call.version)

    def decide(self, call: MCPCall) -> Decision:
        """Return whether a call passes, and the rule that decides."""
        caller = Caller(groups=frozenset(call.caller.groups), clients=self._clients)
        self._rules = self._all.of(caller)
        message = call.message
        if message is None or message.method is None:
            return self._rules.decide_basic()
        return self._rules.decide(message.method, subjects_of(message))

    def rewrite(self, call: MCPCall, response: Message) -> JSONObject | None:
        """Return what the caller may see of a result; None for all. Raises InvalidMessage."""
        assert self._rules is not None  # noqa: S101 - only admitted calls have responses
        return filter_result(self._rules, response.result, call.version)

    def _note(self, decision: Decision) -> None:
        """Leave the rule that decided for the audit log."""
        entry = access_log.current_entry()
        if entry is not None and entry.checked is not None:
            line = None if decision.rule is None else f"line {decision.rule.line}"
            entry.checked = replace(entry.checked, rule=line, policy=self._all.digest)

    def _log(self, call: MCPCall, decision: Decision) -> None:
        by = "no rule allows it" if decision.rule is None else f"line {decision.rule.line}"
        method = None if call.message is None else (call.message.method or "")[:SHOWN_MAX]
        logger.info("A call of %s was denied: %s (%r).", call.upstream, by, method)


def make_denial(message: Message | None, version: str | None) -> Problem:
    """Return the response to a call that is denied."""
    if message is None or not message.is_request:
        return Problem(403, DENIED, "The rules of this upstream do not allow this.")
    kind = KINDS_OF_METHODS.get(message.method or "")
    if kind is not None:
        code, detail, status = INVALID_PARAMS, UNKNOWN[kind], 200
    else:
        code, detail = METHOD_NOT_FOUND, "Unknown method."
        status = 404 if is_stateless(version) else 200
    return RPCProblem(status, DENIED, detail, rpc_code=code, request_id=message.id)
