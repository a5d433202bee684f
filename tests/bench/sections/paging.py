"""Many concurrent pages of a signed-in person: none may wait long."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import median

from tests.bench import proxies
from tests.bench.bursts import Turn, turn_of
from tests.bench.load import generator
from tests.bench.proxies import GATEWAY
from tests.bench.result import Section, Table, Target
from tests.bench.scale import Scale

PAGES = {"home page": "", "list of sessions": "sessions/"}
CONNECTIONS = 200
BURSTS = 3  # bursts of the scale for one: of two hundred concurrent pages, the first take long
LONGEST = 2000.0  # milliseconds
COLUMNS = (
    "",
    "requests/s",
    "p50 ms",
    "p99 ms",
    "longest ms",
    "refused",
    "CPU µs a page",
)


def run(scale: Scale, folder: Path) -> Section:
    section = Section(
        f"Pages at {CONNECTIONS} connections",
        [
            "A page reads the session and counts or lists the person's sessions in DynamoDB (a "
            "process that answers from memory and finds no other session), queries SQLite (for the "
            "user every two seconds, and for the accounts on the home page), and renders "
            "templates. A request that waits too long gets a 503 and does not count for the rate.",
            f"Load by {generator()}.",
        ],
        on_page=False,
    )
    rows = []
    with proxies.stage(folder) as stage, stage.running(GATEWAY) as gateway:
        for page, path in PAGES.items():
            there = replace(gateway, path=path)
            turns = [
                turn_of(there, CONNECTIONS, BURSTS * scale.burst, may_refuse=True)
                for _ in range(scale.bursts + 1)
            ][1:]  # The first one is the warm-up.
            rows.append((page, *_row(turns)))
            longest = max(turn.load.longest for turn in turns)
            section.targets.append(Target(f"{page}: the longest wait", LONGEST, longest, "ms"))
    section.tables.append(Table("Pages", COLUMNS, rows))
    return section


def _row(found: list[Turn]) -> tuple[str, ...]:
    return (
        f"{median(turn.load.rate for turn in found):,.0f}",
        f"{median(turn.load.p50 for turn in found):,.0f}",
        f"{median(turn.load.p99 for turn in found):,.0f}",
        f"{max(turn.load.longest for turn in found):,.0f}",
        f"{sum(turn.load.refused for turn in found):,}",
        f"{median(turn.cpu for turn in found) * 1e6:,.0f}",
    )
