"""Calls through the gateway, beside others that carry a session, and forwarders that carry none."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from statistics import median

from tests.bench import proxies
from tests.bench.bursts import Turn, cpu_ratio, time_ratio, turn_of
from tests.bench.load import generator
from tests.bench.peer_proxies import Missing
from tests.bench.proxies import (
    ASKING,
    BEFORE,
    CLIENT,
    FORWARDER,
    GATEWAY,
    OWN_FORWARDER,
    PEERS,
    Proxy,
    Stage,
)
from tests.bench.result import Plot, Section, Table, Target
from tests.bench.scale import Scale

NAMES = (FORWARDER, OWN_FORWARDER, ASKING, GATEWAY, CLIENT, BEFORE, *PEERS)
CONNECTIONS = (1, 16, 200)
CPU_LIMIT = 1.1  # times the bare forwarder's
CLIENT_LIMIT = 1.1  # times a call's with a cookie
TIME_LIMIT = 0.2  # times that of a call before
AT = 16  # connections, at which the limits count
COLUMNS = (
    "",
    "requests/s",
    "p50 ms",
    "p99 ms",
    "CPU µs a call",
    "CPU, times the bare forwarder's",
    "time, times the bare forwarder's",
)


Turns = dict[str, list[Turn]]


def run(scale: Scale, folder: Path) -> Section:
    section = Section(
        "Calls of an upstream through the gateway",
        [
            "The gateway checks who calls: it loads the session from DynamoDB (a process that "
            "answers from memory), the person from SQLite, and passes Django's whole middleware. "
            "The bare forwarders do none of that.",
            f"“{CLIENT}” is the call of an OAuth client that signed in at the gateway.",
            f"“{ASKING}” loads session and person and does no more.",
            "The others are signed in at a provider, keep the tokens in their session, and send "
            "the access token to the upstream. Only the gateway's session is sealed at rest under "
            "a key that KMS keeps; those in shared memory, Redis and connect-dynamodb are in clear "
            "or under a secret of the configuration.",
            f"An answer of 1 KB from an upstream process; load by {generator()}, in turns. CPU is "
            "that of all processes of the proxy.",
        ],
    )
    with ExitStack() as stack:
        stage = stack.enter_context(proxies.stage(folder))
        running = _started(stack, stage, section)
        for connections in CONNECTIONS:
            turns: Turns = {name: [] for name in running}
            for turn in range(scale.bursts + 1):
                for name, proxy in running.items():
                    found = turn_of(proxy, connections, scale.burst)
                    if turn:  # The first one warms.
                        turns[name].append(found)
            _add(section, connections, turns)
    return section


def _started(stack: ExitStack, stage: Stage, section: Section) -> dict[str, Proxy]:
    found = {}
    for name in NAMES:
        try:
            found[name] = stack.enter_context(stage.running(name))
        except Missing as error:
            section.notes.append(f"Skipped: {name}: {error} is not here.")
    return found


def _add(section: Section, connections: int, turns: Turns) -> None:
    title = f"{connections} connection{'s' if connections > 1 else ''}"
    rows = [_row(name, found, turns[FORWARDER]) for name, found in turns.items()]
    section.tables.append(Table(title, COLUMNS, rows))
    rates = {name: [median(turn.load.rate for turn in found)] for name, found in turns.items()}
    section.plots.append(Plot(f"proxy-{connections}", title, "requests/s", [""], rates))
    if connections != AT:
        return
    cpu = cpu_ratio(turns[GATEWAY], turns[FORWARDER]).median
    section.targets.append(
        Target(f"gateway, {title}: CPU, times the bare forwarder's", CPU_LIMIT, cpu)
    )
    client = cpu_ratio(turns[CLIENT], turns[GATEWAY]).median
    section.targets.append(
        Target(f"{CLIENT}, {title}: CPU, times that with a cookie", CLIENT_LIMIT, client)
    )
    if BEFORE in turns:
        took = time_ratio(turns[GATEWAY], turns[BEFORE]).median
        what = f"gateway, {title}: time a call, times the {BEFORE}'s"
        section.targets.append(Target(what, TIME_LIMIT, took))


def _row(name: str, found: list[Turn], bare: list[Turn]) -> tuple[str, ...]:
    return (
        name,
        f"{median(turn.load.rate for turn in found):,.0f}",
        f"{median(turn.load.p50 for turn in found):.2f}",
        f"{median(turn.load.p99 for turn in found):.2f}",
        f"{median(turn.cpu for turn in found) * 1e6:,.0f}",
        str(cpu_ratio(found, bare)),
        str(time_ratio(found, bare)),
    )
