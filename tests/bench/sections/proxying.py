"""Calls through the gateway and through other proxies, with and without a session."""

from contextlib import ExitStack
from pathlib import Path

from tests.bench import proxies
from tests.bench.bursts import Turn, cpu_ratio, rate_and_cpu, turn_of
from tests.bench.peer_proxies import Missing
from tests.bench.proxies import (
    BOUND,
    CLIENT,
    FORWARDER,
    GATEWAY,
    MCP,
    MINIMAL_DJANGO,
    PEERS,
    RULES,
    Proxy,
    Stage,
)
from tests.bench.result import Section, Table, Target
from tests.bench.scale import Scale

NAMES = (FORWARDER, GATEWAY, CLIENT, BOUND, MCP, RULES, MINIMAL_DJANGO, *PEERS)
CONNECTIONS = (1, 16, 200)
CPU_LIMIT = 1.1  # times the bare forwarder's
CLIENT_LIMIT = 1.1  # times a call's with a cookie
BOUND_LIMIT = 1.5  # times a call's with a token that is not bound
RULES_LIMIT = 1.25  # times that of the same call without rules
AT = 16  # connections, at which the limits count
Turns = dict[str, list[Turn]]


def run(scale: Scale, folder: Path) -> Section:
    section = Section(
        "Calls through the gateway",
        [
            f"The {MINIMAL_DJANGO} loads session and user, but applies no rules and adds no token.",
            f"“{CLIENT}” is a call of an OAuth client, with a token in place of the cookie. "
            f"“{BOUND}” has a new proof of its key (ES256) in each call. "
            f"“{MCP}” posts a JSON-RPC message of 300 bytes; with rules, message and result are "
            "read.",
            "Apache and Node keep users' tokens in a session, too. They store it as plaintext, or "
            "encrypt it with a secret in the configuration.",
            "Responses have 1 KB. CPU is the total of the proxy's processes.",
        ],
    )
    found: dict[int, Turns] = {}
    with ExitStack() as stack:
        stage = stack.enter_context(proxies.stage(folder))
        running = _start(stack, stage, section)
        for connections in CONNECTIONS:
            found[connections] = _turns(running, connections, scale)
            section.notes += _refusals(found[connections], connections)
    section.tables.append(_table(found))
    section.targets += _targets(found[AT])
    times = cpu_ratio(found[AT][GATEWAY], found[AT][FORWARDER]).median
    section.headline = (
        f"With {AT} concurrent calls, the gateway takes {times:.2f} times the CPU of a bare proxy "
        "on httpx2, which identifies nobody."
    )
    return section


def _turns(running: dict[str, Proxy], connections: int, scale: Scale) -> Turns:
    turns: Turns = {name: [] for name in running}
    for turn in range(scale.bursts + 1):
        for name, proxy in running.items():
            # On a slow machine, calls of so many connections wait longer than is allowed.
            found = turn_of(proxy, connections, scale.burst, may_refuse=connections > AT)
            if turn:  # The first one is the warm-up.
                turns[name].append(found)
    return turns


def _refusals(turns: Turns, connections: int) -> list[str]:
    """Return a sentence for each proxy that rejected calls."""
    counts = {
        name: (sum(turn.load.refused for turn in each), sum(turn.load.requests for turn in each))
        for name, each in turns.items()
    }
    return [
        f"{name}, {connections} connections: {refused:,} of {requests:,} calls waited too long "
        "and were answered 503. They do not count for the rate."
        for name, (refused, requests) in counts.items()
        if refused
    ]


def _start(stack: ExitStack, stage: Stage, section: Section) -> dict[str, Proxy]:
    found = {}
    for name in NAMES:
        try:
            found[name] = stack.enter_context(stage.running(name))
        except Missing as error:
            section.notes.append(f"Skipped: {name}: {error} is not here.")
    return found


def _table(found: dict[int, Turns]) -> Table:
    rows = [(name, *(rate_and_cpu(turns[name]) for turns in found.values())) for name in found[AT]]
    columns = ("", *(f"{connections}" for connections in found))
    return Table("requests/s (CPU µs of each), by connections", columns, rows)


def _targets(turns: Turns) -> list[Target]:
    cpu = cpu_ratio(turns[GATEWAY], turns[FORWARDER]).median
    client = cpu_ratio(turns[CLIENT], turns[GATEWAY]).median
    bound = cpu_ratio(turns[BOUND], turns[CLIENT]).median
    rules = cpu_ratio(turns[RULES], turns[MCP]).median
    what = f"{AT} connections: CPU, times"
    return [
        Target(f"gateway, {what} the bare forwarder's", CPU_LIMIT, cpu),
        Target(f"{CLIENT}, {what} that with a cookie", CLIENT_LIMIT, client),
        Target(f"{BOUND}, {what} that without a proof", BOUND_LIMIT, bound),
        Target(f"{RULES}, {what} that without", RULES_LIMIT, rules),
    ]
