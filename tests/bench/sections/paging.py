"""Many concurrent pages of a signed-in person, compared with the version before the fast path."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

from tests.bench import proxies
from tests.bench.bursts import Turn, cpu_ratio, time_ratio, turn_of
from tests.bench.load import generator
from tests.bench.peer_proxies import Missing
from tests.bench.proxies import BEFORE, GATEWAY, Proxy, Stage
from tests.bench.result import Section, Table, Target
from tests.bench.scale import Scale

PAGES = {"home page": "", "list of sessions": "sessions/"}
LISTED_BEFORE = ""  # the page that listed the sessions before: it is compared with both
CONNECTIONS = 200
BURSTS = 3  # bursts of the scale for one: of two hundred concurrent pages, the first take long
TIME_LIMIT = 0.25  # times that of a page in the earlier version
LONGEST = 2000.0  # milliseconds
COLUMNS = (
    "",
    "requests/s",
    "p50 ms",
    "p99 ms",
    "longest ms",
    "refused",
    "CPU µs a page",
    f"CPU, times the {BEFORE}'s",
    f"time, times the {BEFORE}'s",
)

Turns = dict[str, list[Turn]]


def run(scale: Scale, folder: Path) -> Section:
    section = Section(
        f"Pages at {CONNECTIONS} connections",
        [
            "A page reads the session and counts or lists the person's sessions in DynamoDB (a "
            "process that answers from memory and finds no other session), queries SQLite (for the "
            "user every two seconds, and for the accounts on the home page), and renders "
            "templates. A request that waits too long gets a 503 and does not count for the rate.",
            "In the earlier version, the home page also listed the sessions.",
            f"Load by {generator()}, in turns.",
        ],
    )
    with ExitStack() as stack:
        stage = stack.enter_context(proxies.stage(folder))
        running = _started(stack, stage, section)
        for page, path in PAGES.items():
            turns: Turns = {name: [] for name in running}
            for turn in range(scale.bursts + 1):
                for name, proxy in running.items():
                    there = replace(proxy, path=LISTED_BEFORE if name == BEFORE else path)
                    found = turn_of(there, CONNECTIONS, BURSTS * scale.burst, may_refuse=True)
                    if turn:  # The first one is the warm-up.
                        turns[name].append(found)
            _add(section, page, turns)
    return section


def _started(stack: ExitStack, stage: Stage, section: Section) -> dict[str, Proxy]:
    found = {}
    for name in (GATEWAY, BEFORE):
        try:
            found[name] = stack.enter_context(stage.running(name))
        except Missing as error:
            section.notes.append(f"Skipped: {name}: {error} is not here.")
    return found


def _add(section: Section, page: str, turns: Turns) -> None:
    before = turns.get(BEFORE, turns[GATEWAY])
    rows = [_row(name, found, before) for name, found in turns.items()]
    section.tables.append(Table(page.capitalize(), COLUMNS, rows))
    longest = max(turn.load.longest for turn in turns[GATEWAY])
    section.targets.append(Target(f"{page}: the longest wait", LONGEST, longest, "ms"))
    if BEFORE in turns:
        took = time_ratio(turns[GATEWAY], before).median
        what = f"{page}: time a page, times the {BEFORE}'s"
        section.targets.append(Target(what, TIME_LIMIT, took))


def _row(name: str, found: list[Turn], before: list[Turn]) -> tuple[str, ...]:
    return (
        name,
        f"{median(turn.load.rate for turn in found):,.0f}",
        f"{median(turn.load.p50 for turn in found):,.0f}",
        f"{median(turn.load.p99 for turn in found):,.0f}",
        f"{max(turn.load.longest for turn in found):,.0f}",
        f"{sum(turn.load.refused for turn in found):,}",
        f"{median(turn.cpu for turn in found) * 1e6:,.0f}",
        str(cpu_ratio(found, before)),
        str(time_ratio(found, before)),
    )
