"""Calls through the gateway, beside a bare httpx2 forwarder to the same upstream."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from statistics import median

from tests.bench import proxies
from tests.bench.load import Load, generate, generator
from tests.bench.measuring import ratio_of
from tests.bench.proxies import FORWARDER, GATEWAY, NAMES
from tests.bench.result import Plot, Section, Table, Target
from tests.bench.scale import Scale

CONNECTIONS = (1, 16)
LIMIT = 1.3


def run(scale: Scale, folder: Path) -> Section:
    section = Section(
        "Calls of an upstream through the gateway",
        [
            "The gateway checks who calls: it loads the session from DynamoDB (roto), the person "
            "from SQLite, and passes Django's whole middleware. The forwarder does none of that.",
            f"An answer of 1 KB from an upstream process; load by {generator()}, in turns.",
        ],
    )
    with ExitStack() as stack:
        url = stack.enter_context(proxies.upstream(folder))
        running = {name: stack.enter_context(proxies.running(name, url, folder)) for name in NAMES}
        for connections in CONNECTIONS:
            loads: dict[str, list[Load]] = {name: [] for name in NAMES}
            for turn in range(scale.bursts + 1):
                for name, proxy in running.items():
                    load = generate(
                        proxy.url(),
                        connections=connections,
                        seconds=scale.burst,
                        cookie=proxy.cookie,
                    )
                    if turn:  # The first one warms.
                        loads[name].append(load)
            _add(section, connections, loads)
    return section


def _add(section: Section, connections: int, loads: dict[str, list[Load]]) -> None:
    pairs = list(zip(loads[GATEWAY], loads[FORWARDER], strict=True))
    ratio = ratio_of([bare.rate / ours.rate for ours, bare in pairs])
    added = median(ours.p50 - bare.p50 for ours, bare in pairs)
    rows = [
        (
            name,
            f"{median(load.rate for load in found):,.0f}",
            f"{median(load.p50 for load in found):.2f}",
            f"{median(load.p99 for load in found):.2f}",
            str(ratio) if name == GATEWAY else "1",
            f"{added:.2f}" if name == GATEWAY else "",
        )
        for name, found in loads.items()
    ]
    title = f"{connections} connection{'s' if connections > 1 else ''}"
    columns = ("", "requests/s", "p50 ms", "p99 ms", "times the forwarder's time", "added p50 ms")
    section.tables.append(Table(title, columns, rows))
    section.targets.append(
        Target(f"gateway, {title}: times the bare forwarder's time", LIMIT, ratio.median)
    )
    rates = {name: [median(load.rate for load in found)] for name, found in loads.items()}
    section.plots.append(Plot(f"proxy-{connections}", title, "requests/s", [""], rates))
