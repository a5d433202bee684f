"""Rules: who may call which methods, tools, resources and prompts. Deny wins; the rest is denied.

A rule concerns callers (`groups`, `clients`) and calls (`methods`, `tools`, `resources`,
`prompts`). What it does not name, it does not restrict; but a rule that names tools, resources or
prompts is about these only. No call passes for a caller whom no rule allows anything.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from gateway_site.policy.names import ByNames, Names, any_begins_with
from gateway_site.policy.spellings import is_plain_method, is_plain_name, is_plain_uri, readings_of
from gateway_site.policy.subjects import METHODS_ABOUT, RESOURCES, URI_MAX, Subject

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
READ = "resources/read"
TEMPLATE_START = re.compile(r"\{")


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

    @property
    def allows_everything(self) -> bool:
        """Return True if it allows every caller everything."""
        concerns_all = self.groups is None and self.clients is None
        covers_all = not self.names and (self.methods is None or self.methods.match_all)
        return self.action == ALLOW and concerns_all and covers_all

    def covers_method(self, method: str) -> bool:
        """Return True if it is about this method, perhaps with some names only."""
        return self.methods is None or self.methods.matches(method)


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
        self.names_resources = any(RESOURCES in rule.names for rule in self.rules)
        self._by_names = {
            (action, kind): ByNames(
                (rule.names[kind], rule)
                for rule in self.rules
                if rule.action == action and kind in rule.names
            )
            for action in (ALLOW, DENY)
            for kind in METHODS_ABOUT
        }

    @property
    def groups(self) -> frozenset[str]:
        """All groups that a rule names."""
        return frozenset().union(*(rule.groups or () for rule in self.rules))

    def of(self, caller: Caller) -> "CallerRules":
        """Return the rules for one caller."""
        return CallerRules(self, [rule for rule in self.rules if rule.concerns(caller)])

    def find(self, action: str, subject: Subject) -> Iterator[list[Rule]]:
        """Yield lists of the rules that name a subject; each list always the same."""
        return self._by_names[action, subject.kind].find(subject.name)


class CallerRules:
    """The rules that concern one caller."""

    def __init__(self, file: Rules, rules: list[Rule]) -> None:
        self._file = file
        self._rules = frozenset(map(id, rules))
        self._denying = [rule for rule in rules if rule.action == DENY]
        self._allowing = [rule for rule in rules if rule.action != DENY]
        # What was found: the first rule of a list, or of all without names, about a method.
        self._first: dict[tuple[str, int], Rule | None] = {}
        self._readable: list[str] | None = None  # what templates are compared with

    def decide(self, method: str, subjects: tuple[Subject, ...] | None) -> Decision:
        """Decide about a method and all that it is about.

        `subjects` is None if that is unclear. Such a call is denied, as is one of an odd name.
        """
        if subjects is None or not is_plain_method(method):
            return DENIED
        decisions = [self._decide_one(method, each) for each in subjects or (None,)]
        return next((each for each in decisions if not each.is_allowed), decisions[0])

    def may_see_template(self, template: str) -> bool:
        """Return True if the caller may read a resource whose address such a template gives."""
        prefix = TEMPLATE_START.split(template, maxsplit=1)[0]
        subject = Subject(RESOURCES, prefix)
        if not self._is_plain(subject):
            return False
        if self._find(DENY, READ, (subject,)) is not None:
            return False
        if self._find(ALLOW, READ, (subject,)) is not None:
            return True
        if self._readable is None:
            self._readable = sorted(self._list_readable())
        return any_begins_with(self._readable, prefix)

    def _list_readable(self) -> Iterator[str]:
        """Yield the addresses, and starts of addresses, that rules allow to read."""
        for rule in self._allowing:
            if rule.covers_method(READ) and (names := rule.names.get(RESOURCES)):
                yield from (*names.exact, *names.starts)

    def _decide_one(self, method: str, subject: Subject | None) -> Decision:
        if subject is not None and not self._is_plain(subject):
            return DENIED
        if rule := self._find(DENY, method, _readings(subject)):
            return Decision(is_allowed=False, rule=rule)
        if rule := self._find(ALLOW, method, (subject,)):
            return Decision(is_allowed=True, rule=rule)
        return self.decide_basic() if method in BASIC_METHODS else DENIED

    def _find(self, action: str, method: str, subjects: Iterable[Subject | None]) -> Rule | None:
        """Return the first rule about a method and one of these."""
        found = [self._find_first(method, self._denying if action == DENY else self._allowing)]
        for subject in subjects:
            if subject is not None:
                named = self._file.find(action, subject)
                found += [self._find_first(method, rules) for rules in named]
        return min(filter(None, found), key=lambda rule: rule.line, default=None)

    def _find_first(self, method: str, rules: list[Rule]) -> Rule | None:
        """Return the first of this caller's rules about a method in a list that stays."""
        is_named = rules is not self._denying and rules is not self._allowing
        key = method, id(rules)
        if key not in self._first:
            self._first[key] = next(
                (
                    rule
                    for rule in rules
                    if bool(rule.names) is is_named
                    and id(rule) in self._rules
                    and rule.covers_method(method)
                ),
                None,
            )
        return self._first[key]

    def decide_basic(self) -> Decision:
        """Allow what each conversation needs to callers whom a rule allows anything.

        Without a method that is a response to the server, a stream, or the end of a session.
        """
        for rule in self._denying:
            if rule.methods is None and not rule.names:
                return Decision(is_allowed=False, rule=rule)
        return Decision(is_allowed=True, rule=self._allowing[0]) if self._allowing else DENIED

    def _is_plain(self, subject: Subject) -> bool:
        if subject.kind != RESOURCES:
            return is_plain_name(subject.name)
        if subject.size > URI_MAX:
            return False
        return not self._file.names_resources or is_plain_uri(subject.name)


def _readings(subject: Subject | None) -> list[Subject | None]:
    """Return what a subject may be for a server, as far as a rule may deny it."""
    if subject is None or subject.kind != RESOURCES:
        return [subject]
    return [Subject(RESOURCES, each) for each in readings_of(subject.name)]
