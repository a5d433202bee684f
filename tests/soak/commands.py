"""Commands for operators on a large table, killed (kill -9) and run again while it is in use."""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from tests.sessions_kms.support.faults import FaultProxy, running_proxy
from tests.soak.site import Seeded, Site
from tests.soak.site_process import start, under_load, wait_for_result
from tests.support.local_kms import running_kms
from tests.support.roto import running_roto

LOADED = 200  # sessions that are changed all the time
LOADERS = 2  # processes that do that
KILLED_AT = (0.1, 0.4)  # of the work, one after the other: at 10% and at 50%


@dataclass(frozen=True)
class Outcome:
    """What the last run of a command printed, and what the processes report that changed sessions.

    ``runs`` has the seconds that each killed run lasted.
    """

    runs: list[float]
    done: dict[str, Any]
    loads: list[dict[str, Any]]

    @property
    def lost_changes(self) -> int:
        return sum(load["lost"] for load in self.loads)


def rewrap(site: Site, changed: list[Seeded], after: tuple[int, ...], age: int) -> Outcome:
    """Move all sessions to a new KMS key; the old data keys stay cached for ``age`` seconds."""
    site.switch_key(data_key_cache_age=age, data_key_max_stale=age)
    return _run(site, changed, after, "rewrap_sessions")


def end(site: Site, changed: list[Seeded], after: tuple[int, ...], cutoff: int) -> Outcome:
    """End all sessions up to a cutoff."""
    return _run(site, changed, after, "end_sessions", "--before", str(cutoff))


def _run(site: Site, changed: list[Seeded], after: tuple[int, ...], *command: str) -> Outcome:
    """Kill a command after each of these numbers of writes, then let it finish."""
    command = (*command, "--no-input", "--json")
    keys = [session.key for session in changed]
    with under_load(site.settings, keys, LOADERS) as loads:
        runs = site.run_killed(*command, after=after)
        done = wait_for_result(start(site.settings, *command))
    return Outcome(runs, done, loads)


def run(count: int) -> int:
    """Print how long both commands take on a table of ``count`` sessions; return 1 for a fault."""
    settings.configure(SESSION_ENGINE="sessions_kms.backend", USE_TZ=True)
    with running_roto() as table, running_kms() as kms, running_proxy(kms.url) as proxy:
        os.environ["AWS_ENDPOINT_URL_DYNAMODB"] = table
        os.environ["AWS_ENDPOINT_URL_KMS"] = proxy.url
        site = _time("seed", proxy, lambda: Site.seeded("sessions", count))
        return int(_run_rewrap(site, proxy) + _run_end(site, proxy) > 0)


def _run_rewrap(site: Site, proxy: FaultProxy) -> int:
    after = tuple(int(share * len(site.sessions)) for share in KILLED_AT)
    outcome: Outcome = _time(
        "rewrap",
        proxy,
        lambda: rewrap(site, site.sessions[: min(LOADED, len(site.sessions) // 8)], after, 10),
    )
    readable: int = _time("read by the new key", proxy, lambda: site.readable(site.sessions))
    _print("rewrap", outcome=vars(outcome), readable=readable, of=len(site.sessions))
    return outcome.lost_changes + len(site.sessions) - readable


def _run_end(site: Site, proxy: FaultProxy) -> int:
    ages = sorted(session.created_at for session in site.sessions)
    cutoff = ages[len(ages) // 2 - 1]
    old = [session for session in site.sessions if session.created_at <= cutoff]
    new = [session for session in site.sessions if session.created_at > cutoff]
    after = tuple(int(share * len(old)) for share in KILLED_AT)
    # Those that were not changed before.
    outcome: Outcome = _time(
        "end", proxy, lambda: end(site, new[-min(LOADED, len(new) // 4) :], after, cutoff)
    )
    readable: dict[str, int] = {"old": site.readable(old), "new": site.readable(new)}
    _print("end", outcome=vars(outcome), readable=readable, old=len(old), new=len(new))
    return outcome.lost_changes + readable["old"] + len(new) - readable["new"]


def _time(what: str, proxy: FaultProxy, work: Callable[[], Any]) -> Any:
    proxy.heal()
    began = time.monotonic()
    result = work()
    _print(what, seconds=round(time.monotonic() - began, 1), kms=Counter(proxy.operations))
    return result


def _print(what: str, **figures: Any) -> None:
    sys.stdout.write(f"{what}: {json.dumps(figures)}\n")
    sys.stdout.flush()
