"""Whole requests over HTTP: a Django view that reads the session, with each engine."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from django.core.management import call_command

from tests.bench import aws, children, django_site
from tests.bench.load import Load, generate, generator
from tests.bench.measuring import ratio_of
from tests.bench.peers import DYSESSION, ENGINES, OURS
from tests.bench.result import Plot, Section, Table
from tests.bench.scale import Scale
from tests.bench.site import NONE

NO_SESSION = "no session"
SITES = {
    NO_SESSION: NONE,
    OURS: ENGINES[OURS],
    "Django cached_db": ENGINES["Django cached_db"],
    "Django signed_cookies": ENGINES["Django signed_cookies"],
    DYSESSION: ENGINES[DYSESSION],
}
CONNECTIONS = 8


def run(scale: Scale, folder: Path) -> Section:
    section = Section("Whole requests: a view that reads a session of 1 KB")
    with (
        ExitStack() as stack,
        aws.running("storing", folder) as found,
        django_site.redis(folder) as cache,
    ):
        django_site.set_up(django_site.site(folder, found.settings, cache))
        call_command("migrate", verbosity=0)
        sites = {}
        for name, engine in SITES.items():
            try:
                sites[name] = _started(stack, engine, folder)
            except RuntimeError:
                section.notes.append(f"Skipped: the site with {name} did not start.")
        loads = _loads(sites, scale)
    section.notes += [
        f"One uvicorn process each, one view behind SessionMiddleware; {CONNECTIONS} connections "
        f"of load by {generator()}, in turns. DynamoDB is roto, on the same two cores as all else.",
        "Requests/s are the median of the turns, latencies the median of the turns' percentiles.",
    ]
    section.tables.append(_table(loads))
    rates = {name: [median(load.rate for load in found)] for name, found in loads.items()}
    section.plots.append(
        Plot("serving", "A view that reads the session", "requests/s", [""], rates)
    )
    return section


def _started(stack: ExitStack, engine: str, folder: Path) -> dict[str, str]:
    site = stack.enter_context(children.python("tests.bench.site", engine, log=folder / "site.log"))
    told = json.loads(site.said)
    return {"url": f"http://127.0.0.1:{told['port']}/{told['path']}", "cookie": told["cookie"]}


def _loads(sites: dict[str, dict[str, str]], scale: Scale) -> dict[str, list[Load]]:
    loads: dict[str, list[Load]] = {name: [] for name in sites}
    for site in sites.values():
        generate(**site, connections=CONNECTIONS, seconds=scale.burst / 3)  # warm
    for _ in range(scale.bursts):
        for name, site in sites.items():
            loads[name].append(generate(**site, connections=CONNECTIONS, seconds=scale.burst))
    return loads


def _table(loads: dict[str, list[Load]]) -> Table:
    bare = loads[NO_SESSION]
    rows = []
    for name, found in loads.items():
        ratios = [ours.rate / theirs.rate for ours, theirs in zip(found, bare, strict=True)]
        rows.append(
            (
                name,
                f"{median(load.rate for load in found):,.0f}",
                str(ratio_of(ratios)),
                f"{median(load.p50 for load in found):.1f}",
                f"{median(load.p99 for load in found):.1f}",
            )
        )
    columns = ("", "requests/s", "times no session", "p50 ms", "p99 ms")
    return Table("Requests/s over HTTP", columns, rows)
