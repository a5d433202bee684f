"""Whether this process may get requests, as far as its dependencies decide that.

A dependency that rejects a new process, because of a wrong table, key, password or role, stops a
rolling deployment. An outage does not: it would leave the load balancer without any process.
"""

import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from functools import cache
from typing import Final

from gateway_site.health.dependencies import shared_probes
from gateway_site.health.probes import Outcome, SharedProbe

OUTCOME_WITHIN: Final = 15.0  # seconds without any outcome, after which a dependency has an outage

draining = threading.Event()  # set when this process is about to stop
replaced = threading.Event()  # set when others go on serving its port, so that it stays ready

Outcomes = Mapping[str, "Future[Outcome]"]


class Readiness:
    """Decides whether a new process is ready; a process that was ready stays so.

    Once a dependency has rejected the process, each of them must have succeeded once. Otherwise
    outages do not count.
    """

    def __init__(self, probes: Mapping[str, SharedProbe]) -> None:
        self._probes = probes
        self._missing = dict(probes)  # that have not succeeded yet
        self._silent = set(probes)  # without any outcome yet
        self._rejecting: list[str] = []  # in the order of their first rejections
        self._was_ready = False

    def start(self) -> Outcomes:
        """Return the outcomes to wait for; a process that was ready needs none."""
        if self._was_ready:
            return {}
        return {name: probe.latest() for name, probe in tuple(self._missing.items())}

    def find_obstacle(self, outcomes: Outcomes) -> str | None:
        """Return the dependency because of which this process is not ready; None if it is."""
        if self._was_ready:
            return None
        for name in self._probes:
            if name in outcomes and outcomes[name].done():
                self._note(name, outcomes[name].result())
        if self._rejecting:
            rejecting = [name for name in self._rejecting if name in self._missing]
            return next(iter(rejecting or self._missing), None)
        return next((name for name in self._probes if self._is_awaited(name)), None)

    def settle(self) -> None:
        """Note that this process is ready: it stays so, and tries nothing more."""
        self._was_ready = True

    def _note(self, name: str, outcome: Outcome) -> None:
        self._silent.discard(name)
        if outcome is Outcome.OK:
            self._missing.pop(name, None)
        elif outcome is Outcome.REJECTED and name not in self._rejecting:
            self._rejecting.append(name)

    def _is_awaited(self, name: str) -> bool:
        return name in self._silent and self._probes[name].seconds() < OUTCOME_WITHIN


@cache
def readiness() -> Readiness:
    """Return this process's readiness."""
    return Readiness(shared_probes())


os.register_at_fork(after_in_child=readiness.cache_clear)
