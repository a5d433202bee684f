"""Calls through the gateway, beside two forwarders to the same upstream: bare, and asking."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from statistics import median

from tests.bench import proxies
from tests.bench.load import Load, generate, generator
from tests.bench.measuring import Ratio, ratio_of
from tests.bench.proxies import ASKING, FORWARDER, GATEWAY
from tests.bench.result import Plot, Section, Table, Target
from tests.bench.scale import Scale

NAMES = (FORWARDER, ASKING, GATEWAY)
CONNECTIONS = (1, 16)
LIMIT = 1.3


def run(scale: Scale, folder: Path) -> Section:
    section = Section(
        "Calls of an upstream through the gateway",
        [
            "The gateway checks who calls: it loads the session from DynamoDB (a process that "
            "answers from memory), the person from SQLite, and passes Django's whole middleware. "
            "The bare forwarder does none of that: the read of DynamoDB alone takes boto3 longer "
            "than a whole call takes it.",
            f"“{ASKING}” loads session and person and does no more: what the gateway takes "
            "beside it is for its rules, its middleware and the token.",
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
    rows = []
    for name, found in loads.items():
        added = median(
            ours.p50 - bare.p50 for ours, bare in zip(found, loads[FORWARDER], strict=True)
        )
        rows.append(
            (
                name,
                f"{median(load.rate for load in found):,.0f}",
                f"{median(load.p50 for load in found):.2f}",
                f"{median(load.p99 for load in found):.2f}",
                str(_times(found, loads[FORWARDER])),
                f"{added:.2f}",
            )
        )
    title = f"{connections} connection{'s' if connections > 1 else ''}"
    columns = ("", "requests/s", "p50 ms", "p99 ms", "times the bare one's time", "added p50 ms")
    section.tables.append(Table(title, columns, rows))
    for peer, what in ((FORWARDER, "bare forwarder"), (ASKING, "asking forwarder")):
        times = _times(loads[GATEWAY], loads[peer]).median
        section.targets.append(Target(f"gateway, {title}: times the {what}'s time", LIMIT, times))
    rates = {name: [median(load.rate for load in found)] for name, found in loads.items()}
    section.plots.append(Plot(f"proxy-{connections}", title, "requests/s", [""], rates))


def _times(ours: list[Load], peers: list[Load]) -> Ratio:
    return ratio_of([peer.rate / load.rate for load, peer in zip(ours, peers, strict=True)])
