"""The rules and pinned tools in force: those of the files, as this process has read them last.

A file with a fault changes nothing: at start-up it is an error of the settings; later the rules and
pins of all upstreams stay as they are.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from threading import Lock
from typing import TypeVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from gateway_site.edge.http_metrics import gateway
from gateway_site.environment.variable import Variable
from gateway_site.policy.pin_policy import SeenTools
from gateway_site.policy.pinned_tools import InvalidPins, PinnedTools, load_pins
from gateway_site.policy.policy_file import InvalidPolicy, load_rules
from gateway_site.policy.rules import Rules
from gateway_site.rules.upstream import Upstream, UpstreamVariables
from sessions_kms.hints import page

logger = logging.getLogger(__name__)

T = TypeVar("T")


class RulesInForce:
    """Rules and pins of all upstreams that have a file; Django's setting `UPSTREAM_RULES`.

    `clients` are the ids of the operator's clients, which rules may name. `groups` are those that
    the rules of each upstream named at start-up: sign-ins store no others.
    """

    def __init__(self, upstreams: Iterable[Upstream], clients: Collection[str]) -> None:
        """Read the files. Raises ImproperlyConfigured with the faults of all of them."""
        found = list(upstreams)
        self._files = {each.name: each.policy_file for each in found if each.policy_file}
        self._pin_files = {each.name: each.tools_pinned for each in found if each.tools_pinned}
        self._clients = clients
        self._lock = Lock()
        self._rules: Mapping[str, Rules] = {}
        self._pins: Mapping[str, PinnedTools] = {}
        self._seen = {name: SeenTools(name) for name in self._pin_files}
        self.groups: Mapping[str, frozenset[str]] | None = None
        if faults := self.reload():
            raise ImproperlyConfigured("\n".join(faults))
        self.groups = {name: rules.groups for name, rules in self._rules.items()}

    def __bool__(self) -> bool:
        """Return True if any upstream has rules or pins."""
        return bool(self._files or self._pin_files)

    def __getitem__(self, upstream: str) -> Rules:
        """Return the rules of an upstream that has a file, by its name."""
        return self._rules[upstream]

    def pins_of(self, upstream: str) -> tuple[PinnedTools, SeenTools]:
        """Return the pins of an upstream that has such a file, and what was seen of its tools."""
        return self._pins[upstream], self._seen[upstream]

    def describe(self) -> str:
        """Return each upstream, with the start of its rules' digest, for the log."""
        found = [f"{name} {rules.digest[:12]}" for name, rules in self._rules.items()]
        return ", ".join(found + [f"{name} (pinned tools)" for name in self._pins])

    def list_open(self) -> list[str]:
        """Return a sentence for each rule that allows every caller everything."""
        return [
            f"{_name_file(name, UpstreamVariables.policy_file, path)}: Line {rule.line} allows"
            " every caller everything. If that is not meant, the file may not be complete; "
            f"{page('policy', 'Rules')} shows how to replace it in one step."
            for name, path in self._files.items()
            for rule in self._rules[name].rules
            if rule.allows_everything
        ]

    def reload(self) -> list[str]:
        """Read all files again; return their faults, each with variable, file and line.

        The new rules and pins are in force if there is no fault. It blocks. Of several calls the
        last one reads last.
        """
        with self._lock:
            rules, faults = _load_all(self._files, UpstreamVariables.policy_file, self._load_rules)
            pins, others = _load_all(
                self._pin_files, UpstreamVariables.tools_pinned, lambda _, path: load_pins(path)
            )
            faults += others
            if not faults:
                self._rules, self._pins = rules, pins
                for name, seen in self._seen.items():
                    seen.forget_others(pins[name])
        return faults

    def _load_rules(self, name: str, path: str) -> Rules:
        """Return the rules of an upstream. Raises InvalidPolicy.

        A new group is a fault: nobody would have it before a restart, and a rule that denies it
        would deny nobody.
        """
        rules = load_rules(path, self._clients)
        known = rules.groups if self.groups is None else self.groups[name]
        for rule in rules.rules:
            if new := sorted((rule.groups or frozenset()) - known):
                raise InvalidPolicy(
                    f"Line {rule.line}: groups: {new[0]!r} is new: restart the gateway, which"
                    " then stores it at sign-ins."
                )
        return rules


def _load_all(
    files: Mapping[str, str], variable: Variable[str], load: Callable[[str, str], T]
) -> tuple[dict[str, T], list[str]]:
    """Return what could be loaded, by upstream, and the faults of the other files."""
    loaded: dict[str, T] = {}
    faults: list[str] = []
    for name, path in files.items():
        try:
            loaded[name] = load(name, path)
        except (InvalidPolicy, InvalidPins) as invalid:
            faults.append(f"{_name_file(name, variable, path)}: {invalid}")
    return loaded, faults


def _name_file(upstream: str, variable: Variable[str], path: str) -> str:
    return f"UPSTREAM_{upstream.upper()}_{variable.name}: {path}"


def rules_of(upstream: Upstream) -> Rules | None:
    """Return the rules in force of an upstream; None if it has no file."""
    if upstream.policy_file is None:
        return None
    in_force: RulesInForce = settings.UPSTREAM_RULES
    return in_force[upstream.name]


def pins_of(upstream: Upstream) -> tuple[PinnedTools, SeenTools] | None:
    """Return the pins in force of an upstream, and what was seen of its tools; None without."""
    if upstream.tools_pinned is None:
        return None
    in_force: RulesInForce = settings.UPSTREAM_RULES
    return in_force.pins_of(upstream.name)


def has_rules() -> bool:
    """Return True if any upstream has a file of rules or pinned tools."""
    return bool(_configured())


def reload_rules() -> None:
    """Read the files again. It blocks.

    A fault in any of them is logged and counted, and leaves all rules and pins as they are.
    """
    if not (in_force := _configured()):
        return
    faults = in_force.reload()
    for fault in faults:
        logger.error("%s The rules in force stay as they are.", fault)
    if faults:
        gateway.count("policy.reload_failures")
        return
    logger.info("Rules in force: %s", in_force.describe())
    warn_of_open_rules()


def warn_of_open_rules() -> None:
    """Log each rule in force that allows every caller everything, as half a file may do."""
    in_force = _configured()
    for sentence in in_force.list_open() if in_force else ():
        logger.warning("%s", sentence)


def _configured() -> RulesInForce | None:
    """Return the setting; a project with settings of its own may have none."""
    return getattr(settings, "UPSTREAM_RULES", None)
