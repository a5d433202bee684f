"""What rules mean, written a second time and as simply as possible, from the documentation alone.

It decides about a call as a server would find it, in all the ways in which a server may take
methods and addresses for the same.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from tests.gateway_site.mcp.other_parsers import Call, fold

RuleTable = Mapping[str, Any]  # as in the file
BASIC = {
    *("initialize", "ping", "server/discover", "notifications/initialized"),
    *("notifications/cancelled", "notifications/progress", "notifications/roots/list_changed"),
    *("tools/list", "prompts/list", "resources/list", "resources/templates/list"),
}
NAMED = {"tools/call": "tools", "prompts/get": "prompts"}
ADDRESSED = {"resources/read", "resources/subscribe", "resources/unsubscribe"}
KINDS = ("tools", "prompts", "resources")
VISIBLE = re.compile(r"[!-~]{1,128}")
# Kind and name, and whether a server made the name of the one that was sent.
Subject = tuple[str, str, bool]
Same = Callable[[str], str]


def concerns(rule: RuleTable, groups: Sequence[str], client: str | None) -> bool:
    """Return True if a rule is about this caller."""
    if "groups" in rule and not set(rule["groups"]) & set(groups):
        return False
    return "clients" not in rule or client in rule["clients"]


def may_call(
    rules: Sequence[RuleTable], groups: Sequence[str], client: str | None, call: Call
) -> bool:
    """Return True if the rules allow a call, however the server spells it."""
    mine = [rule for rule in rules if concerns(rule, groups, client)]
    plain: Same = str
    return all(
        _may(mine, method, subject, same)
        for method, same in ((call.method, plain), (_fold(call.method), _fold))
        for subject in _subjects(_fold(call.method), call)
    )


def may_see_template(
    rules: Sequence[RuleTable], groups: Sequence[str], client: str | None, template: str
) -> bool:
    """Return True if a resource may be read whose address begins as those of a template do."""
    mine = [rule for rule in rules if concerns(rule, groups, client)]
    prefix = template.partition("{")[0]
    subject: Subject = ("resources", prefix, True)
    read = "resources/read"
    if any(_covers(rule, read, subject, str) for rule in mine if _denies(rule)):
        return False
    allowing = [rule for rule in mine if not _denies(rule)]
    return any(
        not any(kind in rule for kind in KINDS)
        or any(_may_begin(each, prefix) for each in rule.get("resources", ()))
        for rule in allowing
        if "methods" not in rule or _matches(rule["methods"], read, str)
    )


def _may_begin(pattern: str, prefix: str) -> bool:
    """Return True if a name that matches the pattern begins so."""
    if pattern.endswith("*") and prefix.startswith(pattern[:-1]):
        return True
    return pattern.removesuffix("*").startswith(prefix)


def _denies(rule: RuleTable) -> bool:
    return bool(rule["action"] == "deny")


def _fold(method: str) -> str:
    """Return a method as a server may look it up: in any case, with slashes around it."""
    return fold(method).strip("/. ")


def _subjects(method: str, call: Call) -> list[Subject | None]:
    """Return what a call is about; none means that it names nothing, so that nothing is called."""
    if method in NAMED:
        return [] if call.name is None else [(NAMED[method], call.name, False)]
    if method in ADDRESSED:
        return [] if call.uri is None else [*_addresses(call, call.uri)]
    if method == "completion/complete":
        kind, name, uri = call.reference
        if kind == "ref/prompt" and name is not None:
            return [("prompts", name, False)]
        return [*_addresses(call, uri)] if kind == "ref/resource" and uri is not None else []
    if method == "subscriptions/listen" and call.subscriptions:
        return [each for uri in call.subscriptions for each in _addresses(call, uri)]
    return [None]


def _addresses(call: Call, uri: str) -> Iterator[Subject]:
    yield "resources", uri, False
    for each in call.forms.get(uri, ()):
        yield "resources", each, True


def _may(mine: Sequence[RuleTable], method: str, subject: Subject | None, same: Same) -> bool:
    if subject is not None and subject[0] != "resources" and not VISIBLE.fullmatch(subject[1]):
        return False
    denying = [rule for rule in mine if _denies(rule)]
    allowing = [rule for rule in mine if not _denies(rule)]
    subjects = [subject]
    if subject is not None and subject[0] == "resources":
        subjects = [("resources", each, True) for each in _readings(subject[1])]
    if any(_covers(rule, method, each, same) for rule in denying for each in subjects):
        return False
    if any(_covers(rule, method, subject, same) for rule in allowing):
        return True
    is_shut_out = any(set(rule) <= {"action", "groups", "clients"} for rule in denying)
    return method in BASIC and bool(allowing) and not is_shut_out


def _readings(uri: str) -> set[str]:
    """Return addresses of what a server may give for one: less of it, or another last slash."""
    without = re.split("#", uri)[0]
    path = re.split("[?]", without)[0]
    return {uri, without, path, path.rstrip("/"), path.rstrip("/") + "/"}


def _covers(rule: RuleTable, method: str, subject: Subject | None, same: Same) -> bool:
    if "methods" in rule and not _matches(rule["methods"], method, same):
        return False
    if not any(kind in rule for kind in KINDS):
        return True
    if subject is None or subject[0] not in rule:
        return False
    kind, name, is_made = subject
    in_case: Same = str.casefold if _denies(rule) else str
    if _matches(rule[kind], name, in_case):
        return True
    return is_made and _matches(rule[kind], name, lambda text: in_case(unquote(text)))


def _matches(patterns: Sequence[str], name: str, same: Same) -> bool:
    for pattern in patterns:
        if pattern.endswith("*"):
            if same(name).startswith(same(pattern[:-1])):
                return True
        elif same(name) == same(pattern):
            return True
    return False
