"""`manage.py explain_call`: whether the rules of an upstream let a call pass, and which line."""

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from gateway_site.management.upstreams import find_upstream
from gateway_site.mcp.messages import NAMES_OF_METHODS, InvalidMessage, Message, read_message
from gateway_site.mcp.policy import MCPCall, MCPCaller, PassAll
from gateway_site.policy.call_policy import CallPolicy
from gateway_site.policy.client_names import all_names, find_client_problem
from gateway_site.policy.pin_policy import PinPolicy, SeenTools
from gateway_site.policy.pinned_tools import InvalidPins, load_pins
from gateway_site.policy.policy_file import InvalidPolicy, load_rules
from gateway_site.policy.rules import Rule, Rules
from gateway_site.policy.spellings import is_plain_method, is_plain_name, is_plain_uri
from gateway_site.policy.subjects import RESOURCES, subjects_of
from gateway_site.rules.upstream import Upstream
from sessions_kms.hints import page
from sessions_kms.management.base import OperatorCommand, UsageError, shown

DENIED = 1
WITHOUT_MESSAGE = ("GET", "DELETE")  # a stream, and the end of a session


class Command(OperatorCommand):
    help = (
        f"Explain whether a call of an MCP server passes ({page('policy', 'Rules')}). Reads the "
        "policy file and makes no network calls. Exit status: 0 allowed, 1 denied, 2 wrong options "
        "or a fault in the file."
    )
    changes = False
    requires_system_checks = ()  # Their status 1 has another meaning here.

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("upstream", metavar="UPSTREAM", help="the upstream, such as notes")
        parser.add_argument(
            "method", metavar="METHOD", help="the method, such as tools/call; GET for a stream"
        )
        parser.add_argument(
            "subject", metavar="NAME", nargs="?", help="the tool, prompt or resource"
        )
        parser.add_argument(
            "--params", metavar="JSON", help="all parameters of the call, in place of NAME"
        )
        parser.add_argument(
            "--group",
            dest="groups",
            metavar="GROUP",
            action="append",
            default=[],
            help="a group of the person; may be repeated",
        )
        parser.add_argument(
            "--client",
            help="the OAuth client: an id of CLIENTS_FILE, the host of a client's document, or "
            "unverified; a browser has none",
        )
        parser.add_argument("--file", help="a file of rules that is not in force yet")
        super().add_arguments(parser)

    def operate(self, options: dict[str, Any]) -> None:
        upstream = find_upstream(options["upstream"])
        message = _build_message(options["method"], options["subject"], options["params"])
        call = MCPCall(
            upstream=upstream.name,
            http_method="POST" if message else options["method"],
            version=None,
            message=message,
            caller=MCPCaller(
                person="", groups=tuple(options["groups"]), is_client=bool(options["client"])
            ),
        )
        path = options["file"] or upstream.policy_file
        explanations = [
            *_explain_upstream(upstream, call),
            *(_explain_rules(path, call, options["client"]) if path else ()),
            *(_explain_pins(upstream.tools_pinned, call) if upstream.tools_pinned else ()),
        ]
        is_allowed = all(each.is_allowed for each in explanations)
        lines = [line for each in explanations for line in each.lines]
        if not path:
            prefix = f"UPSTREAM_{upstream.name.upper()}_"
            lines.append(f"The upstream has no file of rules: {prefix}POLICY_FILE names one.")
        verdict = "allowed" if is_allowed else "denied"
        rule = next((each.rule for each in explanations if each.rule is not None), None)
        self.conclude(
            {"allowed": is_allowed, "file": path, "line": rule and rule.line, "reasons": lines},
            "\n".join([f"{verdict}:", *(f"  {line}" for line in lines)]),
            status=0 if is_allowed else DENIED,
        )


@dataclass(frozen=True)
class Explanation:
    """What one of those that decide says about a call."""

    is_allowed: bool
    lines: list[str]
    rule: Rule | None = None


def _build_message(method: str, subject: str | None, params: str | None) -> Message | None:
    """Return the message of a call, read as the gateway reads those of clients."""
    if method in WITHOUT_MESSAGE:
        if subject or params:
            raise UsageError(f"{method} has neither a name nor parameters.")
        return None
    if subject and params:
        raise UsageError("Give NAME or --params, not both.")
    if subject and method not in NAMES_OF_METHODS:
        raise UsageError("This method has no NAME. Use --params if it names something.")
    if params:
        _require_json(params)
    given = params or json.dumps({NAMES_OF_METHODS[method]: subject} if subject else {})
    text = f'{{"jsonrpc": "2.0", "id": 1, "method": {json.dumps(method)}, "params": {given}}}'
    try:
        return read_message(text.encode())
    except InvalidMessage as invalid:
        raise UsageError(f"Such a message is rejected: {invalid}") from None


def _require_json(params: str) -> None:
    try:
        json.loads(params)
    except (RecursionError, ValueError) as error:
        raise UsageError(
            f'--params is not JSON ({error}). Quote it, as in --params \'{{"name": "search"}}\'.'
        ) from None


def _explain_upstream(upstream: Upstream, call: MCPCall) -> Iterator[Explanation]:
    """Yield what the variables of the upstream reject."""
    prefix = f"UPSTREAM_{upstream.name.upper()}_"
    if not upstream.allows(call.caller.groups):
        yield Explanation(
            is_allowed=False, lines=[f"{prefix}ALLOWED_GROUPS has none of these groups."]
        )
    if call.caller.is_client and not upstream.clients:
        yield Explanation(
            is_allowed=False, lines=[f"{prefix}CLIENTS is not set: no client may call it."]
        )


def _explain_rules(path: str, call: MCPCall, client: str | None) -> Iterator[Explanation]:
    server = settings.AUTHORIZATION_SERVER
    listed = server.listed if server is not None else {}
    if client and (problem := find_client_problem(client, listed)):
        raise UsageError(f"--client: {shown(client)} {problem}.")
    try:
        rules = load_rules(path, listed)
    except InvalidPolicy as invalid:
        raise UsageError(f"{path}: {invalid}") from None
    decision = CallPolicy(rules, all_names(client) if client else frozenset()).decide(call)
    if decision.rule is None:
        yield Explanation(
            is_allowed=False, lines=[f"No rule of {path} allows it.", *_find_oddities(call, rules)]
        )
        return
    word = "allows" if decision.is_allowed else "denies"
    lines = [f"Line {decision.rule.line} of {path} {word} it:", *_quote(path, rules, decision.rule)]
    yield Explanation(decision.is_allowed, lines, decision.rule)


def _explain_pins(path: str, call: MCPCall) -> Iterator[Explanation]:
    try:
        pinned = load_pins(path)
    except InvalidPins as invalid:
        raise UsageError(f"{path}: {invalid}") from None
    if not PinPolicy(PassAll(), pinned, SeenTools(call.upstream)).allows(call.message):
        yield Explanation(is_allowed=False, lines=[f"The tool is not pinned in {path}."])


def _quote(path: str, rules: Rules, rule: Rule) -> Iterator[str]:
    """Yield the lines of a rule as they are in the file, with their numbers."""
    lines = Path(path).read_text(encoding="utf-8").split("\n")
    following = [each.line for each in rules.rules if each.line > rule.line]
    found = lines[rule.line - 1 : min(following, default=len(lines) + 1) - 1]
    while not found[-1].strip() or found[-1].lstrip().startswith("#"):
        found.pop()
    yield from (f"{number:>5}  {line}" for number, line in enumerate(found, rule.line))


def _find_oddities(call: MCPCall, rules: Rules) -> Iterator[str]:
    """Yield why no rule can allow a call."""
    message = call.message
    has_resources = any(RESOURCES in rule.names for rule in rules.rules)
    if message is None or message.method is None:
        return
    if not is_plain_method(message.method):
        yield "Servers may take the method for another one."
    subjects = subjects_of(message)
    if subjects is None:
        yield "The message does not say clearly what it is about."
    for each in subjects or ():
        is_plain = is_plain_name(each.name)
        if each.kind == RESOURCES:
            is_plain = not has_resources or is_plain_uri(each.name)
        if not is_plain:
            yield f"Servers may take {shown(each.name)} for another name."
