"""Rules: who may call which methods, tools, resources and prompts. Deny wins; the rest is denied.

A rule concerns callers (`groups`, `clients`) and calls (`methods`, `tools`, `resources`,
`prompts`). What it does not name, it does not restrict; but a rule that names tools, resources or
prompts is about these only. No call passes for a caller whom no rule allows anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from gateway_site.policy.subjects import (
    RESOURCES,
    Subject,
    is_plain_method,
    is_plain_name,
    is_plain_uri,
    readings_of,
)

ALLOW, DENY = "allow", "deny"
# What each conversation needs. Lists are filtered, so they show no more than what may be called.
BASIC_METHODS = frozenset(
    {
        *("initialize", "ping", "server/discover"),
        *("notifications/initialized", "notifications/cancelled", "notifications/progress"),
        "notifications/roots/list_changed",
        *("tools/list", "prompts/list", "resources/list", "resources/templates/list"),
    }
)
TEMPLATE_START = re.compile(r"\{")


class Names:
    """Names of which some end in `*`, which stands for any rest, also for none.

    Names for which `spelled` returns the same text are not told apart.
    """

    def __init__(self, names: Iterable[str], spelled: Callable[[str], str] = str) -> None:
        found = [spelled(each) for each in names]
        self._spelled = spelled
        self._exact = frozenset(each for each in found if not each.endswith("*"))
        self._prefixes = tuple(each[:-1] for each in found if each.endswith("*"))

    def matches(self, name: str) -> bool:
        """Return True if the name is one of them."""
        name = self._spelled(name)
        return name in self._exact or name.startswith(self._prefixes)

    def may_begin_with(self, prefix: str) -> bool:
        """Return True if one of them, or a name that matches one, begins so."""
        return (
            prefix.startswith(self._prefixes)
            or any(each.startswith(prefix) for each in self._exact)
            or any(each.startswith(prefix) for each in self._prefixes)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Groups of a person, and the names of the OAuth client that calls for them: none without one.

    The names are an id from the operator's file, the host of a client's document, or `unverified`.
    """

    groups: frozenset[str]
    clients: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of a file. None does not restrict; `names` are those of each kind of subject."""

    line: int
    action: str
    groups: frozenset[str] | None = None
    clients: frozenset[str] | None = None
    methods: Names | None = field(default=None, repr=False)
    names: Mapping[str, Names] = field(default_factory=dict, repr=False)

    def concerns(self, caller: Caller) -> bool:
        """Return True if it is about this caller."""
        has_group = self.groups is None or not self.groups.isdisjoint(caller.groups)
        return has_group and (self.clients is None or not self.clients.isdisjoint(caller.clients))

    def covers(self, method: str, subject: Subject | None) -> bool:
        """Return True if it is about this call."""
        if self.methods is not None and not self.methods.matches(method):
            return False
        if not self.names:
            return True
        names = None if subject is None else self.names.get(subject.kind)
        return subject is not None and names is not None and names.matches(subject.name)


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a call passes, and the rule that decides; None if no rule allows it."""

    is_allowed: bool
    rule: Rule | None


DENIED = Decision(is_allowed=False, rule=None)


class Rules:
    """The rules of one file. `digest` is that of its bytes: SHA-256 in hexadecimal."""

    def __init__(self, rules: Iterable[Rule], digest: str) -> None:
        self.rules = tuple(rules)
        self.digest = digest
        self._names_resources = any(RESOURCES in rule.names for rule in self.rules)

    def of(self, caller: Caller) -> CallerRules:
        """Return the rules for one caller."""
        found = [rule for rule in self.rules if rule.concerns(caller)]
        return CallerRules(found, needs_plain_uris=self._names_resources)


class CallerRules:
    """The rules that concern one caller."""

    def __init__(self, rules: list[Rule], *, needs_plain_uris: bool) -> None:
        self._denying = [rule for rule in rules if rule.action == DENY]
        self._allowing = [rule for rule in rules if rule.action != DENY]
        self._needs_plain_uris = needs_plain_uris

    def decide(self, method: str, subjects: tuple[Subject, ...] | None) -> Decision:
        """Decide about a method and all that it is about.

        `subjects` is None if that is unclear. Such a call is denied, as is one of an odd name.
        """
        if subjects is None or not is_plain_method(method):
            return DENIED
        decisions = [self._decide_one(method, each) for each in subjects or (None,)]
        return next((each for each in decisions if not each.is_allowed), decisions[0])

    def decide_without_method(self) -> Decision:
        """Decide about a response to the server, a stream, or the end of a session."""
        return self._decide_basic()

    def may_see_template(self, template: str) -> bool:
        """Return True if the caller may read a resource whose address such a template gives."""
        prefix = TEMPLATE_START.split(template, maxsplit=1)[0]
        subject = Subject(RESOURCES, prefix)
        if self._needs_plain_uris and not is_plain_uri(prefix):
            return False
        if any(rule.covers("resources/read", subject) for rule in self._denying):
            return False
        return any(_may_cover(rule, prefix) for rule in self._allowing)

    def _decide_one(self, method: str, subject: Subject | None) -> Decision:
        if subject is not None and not self._is_plain(subject):
            return DENIED
        readings = _readings(subject)
        for rule in self._denying:
            if any(rule.covers(method, each) for each in readings):
                return Decision(is_allowed=False, rule=rule)
        for rule in self._allowing:
            if rule.covers(method, subject):
                return Decision(is_allowed=True, rule=rule)
        return self._decide_basic() if method in BASIC_METHODS else DENIED

    def _decide_basic(self) -> Decision:
        """Allow what each conversation needs to callers whom a rule allows anything."""
        for rule in self._denying:
            if rule.methods is None and not rule.names:
                return Decision(is_allowed=False, rule=rule)
        return Decision(is_allowed=True, rule=self._allowing[0]) if self._allowing else DENIED

    def _is_plain(self, subject: Subject) -> bool:
        if subject.kind != RESOURCES:
            return is_plain_name(subject.name)
        return not self._needs_plain_uris or is_plain_uri(subject.name)


def _readings(subject: Subject | None) -> list[Subject | None]:
    """Return what a subject may be for a server, as far as a rule may deny it."""
    if subject is None or subject.kind != RESOURCES:
        return [subject]
    return [Subject(RESOURCES, each) for each in readings_of(subject.name)]


def _may_cover(rule: Rule, prefix: str) -> bool:
    if rule.methods is not None and not rule.methods.matches("resources/read"):
        return False
    names = rule.names.get(RESOURCES)
    return not rule.names or (names is not None and names.may_begin_with(prefix))
