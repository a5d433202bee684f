"""Whole requests over HTTP: a Django view that reads the session, with each engine."""

from __future__ import annotations

import json
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from django.core.management import call_command

from tests.bench import aws, children, django_site
from tests.bench.bursts import Turn, cpu_ratio, turn_of
from tests.bench.load import generator
from tests.bench.measuring import ratio_of
from tests.bench.peers import DYSESSION, ENGINES, OURS
from tests.bench.proxies import Proxy
from tests.bench.result import Plot, Section, Table, Target
from tests.bench.scale import Scale
from tests.bench.server_alone import OURS as OUR_SERVER
from tests.bench.server_alone import PLAIN
from tests.bench.site import NONE

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
        for kind in LIMITS:
            with ExitStack() as stack:
                turns = _turns(_sites(stack, kind, folder, section), scale)
            _add(section, kind, turns)
    _add_servers(section, scale, folder)
    where = "Redis" if cache else "memory of the process (no Redis here: skipped)"
    section.notes += [
        "One uvicorn process each, one view behind SessionMiddleware, sync or async; "
        f"{CONNECTIONS} connections of load by {generator()}, in turns. DynamoDB is a process that "
        f"answers from memory, on the same two cores as the rest; Django's cache is {where}.",
        "Requests/s are the median of the turns, latencies the median of the turns' percentiles. "
        "CPU is that of the site's process.",
    ]
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
            str(cpu_ratio(found, turns[UVICORN])),
        )
        for name, found in turns.items()
    ]
    columns = ("", "requests/s", "CPU µs a request", "CPU, times uvicorn's")
    section.tables.append(Table("The server alone, with the least application", columns, rows))
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


def _add(section: Section, kind: str, turns: Turns) -> None:
    rows = [_row(name, found, turns) for name, found in turns.items()]
    columns = (
        "",
        "requests/s",
        "times no session",
        "p50 ms",
        "p99 ms",
        "CPU µs a request",
        "CPU, times cached_db's",
    )
    section.tables.append(Table(f"Requests/s over HTTP, {kind} view", columns, rows))
    rates = {name: [median(turn.load.rate for turn in found)] for name, found in turns.items()}
    title = f"A view that reads the session, {kind}"
    section.plots.append(Plot(f"serving-{kind}", title, "requests/s", [""], rates))
    what = f"{kind} view that reads the session: CPU, times that with cached_db"
    found = cpu_ratio(turns[OURS], turns[CACHED]).median
    section.targets.append(Target(what, LIMITS[kind], found))


def _row(name: str, found: list[Turn], turns: Turns) -> tuple[str, ...]:
    pairs = zip(found, turns[NO_SESSION], strict=True)
    return (
        name,
        f"{median(turn.load.rate for turn in found):,.0f}",
        str(ratio_of([ours.load.rate / bare.load.rate for ours, bare in pairs])),
        f"{median(turn.load.p50 for turn in found):.1f}",
        f"{median(turn.load.p99 for turn in found):.1f}",
        f"{median(turn.cpu for turn in found) * 1e6:,.0f}",
        str(cpu_ratio(found, turns[CACHED])),
    )
