"""The rules in force: those of the files, as this process has read them last.

A file with a fault changes nothing: at start-up it is an error of the settings; later the rules of
all upstreams stay as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from threading import Lock

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from gateway_site.policy.policy_file import InvalidPolicy, load_rules
from gateway_site.policy.rules import Rules
from gateway_site.rules.upstream import Upstream, UpstreamVariables


class RulesInForce:
    """The rules of all upstreams that have a file; Django's setting `UPSTREAM_RULES`.

    `clients` are the ids of the operator's clients, which rules may name.
    """

    def __init__(self, upstreams: Iterable[Upstream], clients: Collection[str]) -> None:
        """Read the files. Raises ImproperlyConfigured with the faults of all of them."""
        self._files = {each.name: each.policy_file for each in upstreams if each.policy_file}
        self._clients = clients
        self._lock = Lock()
        self._rules: Mapping[str, Rules] = {}
        if faults := self.reload():
            raise ImproperlyConfigured("\n".join(faults))

    def __bool__(self) -> bool:
        """Return True if any upstream has rules."""
        return bool(self._files)

    def __getitem__(self, upstream: str) -> Rules:
        """Return the rules of an upstream that has a file, by its name."""
        return self._rules[upstream]

    def reload(self) -> list[str]:
        """Read all files again; return their faults, each with variable, file and line.

        The new rules are in force if there is no fault. It blocks. Of several calls the last one
        reads last.
        """
        found, faults = {}, []
        with self._lock:
            for name, path in self._files.items():
                try:
                    found[name] = load_rules(path, self._clients)
                except InvalidPolicy as invalid:
                    variable = f"UPSTREAM_{name.upper()}_{UpstreamVariables.policy_file.name}"
                    faults.append(f"{variable}: {path}: {invalid}")
            if not faults:
                self._rules = found
        return faults


def rules_of(upstream: Upstream) -> Rules | None:
    """Return the rules in force of an upstream; None if it has no file."""
    if upstream.policy_file is None:
        return None
    in_force: RulesInForce = settings.UPSTREAM_RULES
    return in_force[upstream.name]
