"""Many requests that save one session at once, in several processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from tests.bench.result import Section, Table, Target
from tests.bench.scale import Scale
from tests.sessions_kms.support.contention import Contention, contend, expected_content
from tests.sessions_kms.support.worker import Worker
from tests.support.production import aws

PROCESSES, WRITERS = 4, 16
LIMITS = {1: 20, 10: 60}  # longest save in latencies of a lone one, by the number of saves each
ALONE = 30  # saves to measure the latency of a lone save, as their median
COLUMNS = ("", "lone save, ms", "median", "longest", "writes sent", "refused", "lost")


def run(scale: Scale, folder: Path) -> Section:
    section = Section(
        "64 writers of one session",
        [
            f"{PROCESSES} processes of {WRITERS} threads load the same session and save it at the "
            "same time. Each thread changes a separate key of the session. A call to DynamoDB "
            "takes 5 or 50 ms. Median and longest save are multiples of a lone save, which nothing "
            "competes with. A refused save got a 503.",
        ],
        on_page=False,
    )
    rows = []
    with aws.running("storing", folder) as found:
        for latency in scale.latencies:
            with ExitStack() as stack:
                workers = list(_workers(stack, found.settings, latency))
                for saves, limit in LIMITS.items():
                    rounds = [_round(workers, saves) for _ in range(scale.bursts)]
                    name = f"{latency * 1000:.0f} ms, {saves} each"
                    rows.append((name, *_row(rounds)))
                    section.targets += _targets(name, rounds, saves, limit)
    section.tables.append(Table("latency, saves", COLUMNS, rows))
    return section


def _workers(stack: ExitStack, settings: dict[str, str], latency: float) -> Iterator[Worker]:
    for _ in range(PROCESSES):
        worker = stack.enter_context(Worker(settings))
        worker.ask("warm_up")
        worker.ask("be_slow", seconds=latency)
        yield worker


def _round(workers: list[Worker], saves: int) -> tuple[Contention, int]:
    """Return the result of one round, and the number of lost saves."""
    first = workers[0]
    alone = first.ask("save_alone", times=ALONE)
    first.ask("open")
    first.ask("save")
    key = first.ask("look")["key"]
    found = contend(workers, key, writers=WRITERS, saves=saves, alone=alone)
    first.ask("open", key=key)
    content = first.ask("look")["content"]
    wanted = expected_content(PROCESSES, writers=WRITERS, saves=saves)
    return found, sum(content.get(name) != value for name, value in wanted.items())


def _row(rounds: list[tuple[Contention, int]]) -> tuple[str, ...]:
    found = [each for each, _ in rounds]
    return (
        f"{median(each.alone for each in found) * 1000:.1f}",
        f"{median(took / each.alone for each in found for took in each.took):.1f}",
        f"{max(each.longest for each in found):.1f}",
        f"{max(each.writes for each in found):,}",
        f"{sum(told is not None for each in found for told in each.told)}",
        f"{sum(lost for _, lost in rounds)}",
    )


def _targets(
    name: str, rounds: list[tuple[Contention, int]], saves: int, limit: int
) -> list[Target]:
    found = [each for each, _ in rounds]
    refused = sum(told is not None for each in found for told in each.told)
    return [
        Target(
            f"64 writers, {name}: longest save, latencies of a lone one",
            limit,
            max(each.longest for each in found),
        ),
        Target(
            f"64 writers, {name}: writes sent",
            PROCESSES * WRITERS * saves,
            max(each.writes for each in found),
        ),
        Target(
            f"64 writers, {name}: saves refused or lost",
            0,
            refused + sum(lost for _, lost in rounds),
        ),
    ]
