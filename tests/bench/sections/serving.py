"""Whole requests over HTTP: a Django view that reads the session, with each engine."""

from __future__ import annotations

import json
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from django.core.management import call_command

from tests.bench import django_site
from tests.bench.bursts import Turn, cpu_ratio, rate_and_cpu, turn_of
from tests.bench.peers import DYSESSION, ENGINES, OURS
from tests.bench.proxies import Proxy
from tests.bench.result import Section, Table, Target
from tests.bench.scale import Scale
from tests.bench.server_alone import OURS as OUR_SERVER
from tests.bench.server_alone import PLAIN
from tests.bench.site import NONE
from tests.support.production import aws, children

NO_SESSION = "no session"
CACHED = "Django cached_db"
SITES = {
    NO_SESSION: NONE,
    OURS: ENGINES[OURS],
    CACHED: ENGINES[CACHED],
    "Django cache": ENGINES["Django cache"],
    "Django signed_cookies": ENGINES["Django signed_cookies"],
    DYSESSION: ENGINES[DYSESSION],
}
CONNECTIONS = 8
LIMITS = {"async": 0.9, "sync": 1.1}  # CPU, times that of cached_db on Redis
ALONE_LIMIT = 1.2  # CPU of the gateway's server, times that of plain uvicorn
ALONE = {
    "uvicorn on httptools": (PLAIN, "asyncio"),
    "the gateway's server": (OUR_SERVER, "asyncio"),
    "uvicorn on httptools, with uvloop": (PLAIN, "uvloop"),
    "the gateway's server, with uvloop": (OUR_SERVER, "uvloop"),
}
UVICORN, SERVER, *_ = ALONE
Turns = dict[str, list[Turn]]


def run(scale: Scale, folder: Path) -> Section:
    section = Section("Whole requests: a view that reads a session of 1 KB")
    with (
        aws.running("answering", folder) as found,
        django_site.redis(folder) as cache,
    ):
        django_site.set_up(django_site.site(folder, found.settings, cache))
        call_command("migrate", verbosity=0)
        by_kind = {}
        for kind in LIMITS:
            with ExitStack() as stack:
                by_kind[kind] = _turns(_sites(stack, kind, folder, section), scale)
    _add_views(section, by_kind)
    _add_servers(section, scale, folder)
    section.notes.append(
        "One uvicorn process serves one view behind SessionMiddleware. CPU is the process's total."
    )
    return section


def _add_servers(section: Section, scale: Scale, folder: Path) -> None:
    """Compare the servers alone, with a minimal application."""
    servers = {}
    with ExitStack() as stack:
        for name, (server, loop) in ALONE.items():
            if loop == "uvloop" and find_spec(loop) is None:
                section.notes.append(f"Skipped: {name}, which is not installed.")
                continue
            command = ("tests.bench.server_alone", server, loop)
            site = stack.enter_context(children.python(*command, log=folder / "server.log"))
            servers[name] = Proxy(site.pid, **json.loads(site.said))
        turns = _turns(servers, scale)
    rows = [
        (
            name,
            f"{median(turn.load.rate for turn in found):,.0f}",
            f"{median(turn.cpu for turn in found) * 1e6:,.1f}",
            f"{cpu_ratio(found, turns[UVICORN]).median:.2f}",
        )
        for name, found in turns.items()
    ]
    columns = ("", "requests/s", "CPU µs", "CPU, times uvicorn's")
    section.tables.append(Table("server, with a minimal application", columns, rows))
    what = "the gateway's server: CPU a request, times uvicorn's on httptools"
    found = cpu_ratio(turns[SERVER], turns[UVICORN]).median
    section.targets.append(Target(what, ALONE_LIMIT, found))


def _sites(stack: ExitStack, kind: str, folder: Path, section: Section) -> dict[str, Proxy]:
    sites = {}
    for name, engine in SITES.items():
        try:
            site = stack.enter_context(
                children.python("tests.bench.site", engine, kind, log=folder / "site.log")
            )
        except RuntimeError:
            section.notes.append(f"Skipped: the {kind} site with {name} did not start.")
        else:
            sites[name] = Proxy(site.pid, **json.loads(site.said))
    return sites


def _turns(sites: dict[str, Proxy], scale: Scale) -> Turns:
    turns: Turns = {name: [] for name in sites}
    for number in range(scale.bursts + 1):
        for name, site in sites.items():
            found = turn_of(site, CONNECTIONS, scale.burst)
            if number:  # The first one is the warm-up.
                turns[name].append(found)
    return turns


def _add_views(section: Section, by_kind: dict[str, Turns]) -> None:
    names = [name for name in SITES if all(name in turns for turns in by_kind.values())]
    rows = [(name, *(rate_and_cpu(turns[name]) for turns in by_kind.values())) for name in names]
    columns = ("", *(f"{kind} view" for kind in by_kind))
    section.tables.append(Table("requests/s (CPU µs of each)", columns, rows))
    times = {kind: cpu_ratio(turns[OURS], turns[CACHED]) for kind, turns in by_kind.items()}
    what = "view that reads the session: CPU, times that with cached_db"
    section.targets += [
        Target(f"{kind} {what}", LIMITS[kind], found.median) for kind, found in times.items()
    ]
    section.headline = (
        f"An async view that reads the session takes {times['async'].median:.2f} times the CPU "
        "that it takes with Django's cached_db on Redis."
    )
