"""Loading in many threads of one process, compared with the bare call."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from statistics import median

from tests.bench import aws, django_site, engines
from tests.bench.engines import EngineProcess
from tests.bench.measuring import ratio_of
from tests.bench.peers import OURS, TUNED
from tests.bench.result import Section, Table, Target
from tests.bench.scale import Scale

TURN = 0.15  # of a burst, for one contestant in one turn
LIMIT = 0.35  # times the bare call's
Rates = dict[str, list[float]]


def run(scale: Scale, folder: Path) -> Section:
    section = Section(
        "Threads in a process",
        [
            "Loads of 1 KB per second, all threads together. Python runs one thread at a time, so "
            "more threads do not give more loads. boto3 makes the same GetItem.",
        ],
        on_page=False,
    )
    rates: dict[int, Rates] = {}
    with ExitStack() as stack, aws.running("answering", folder) as found:
        django_site.set_up(django_site.site(folder, found.settings, None))
        by_boto = {**found.settings, "CLIENT": "boto"}
        running = [stack.enter_context(engines.running(OURS, OURS))]
        running.append(stack.enter_context(engines.running(TUNED, TUNED, SESSIONS_KMS=by_boto)))
        for process in running:
            process.store(1)
        for threads in scale.threads:
            rates[threads] = _rates(running, threads, scale)
    section.tables.append(_table(rates))
    section.targets += _targets(rates)
    return section


def _rates(running: list[EngineProcess], threads: int, scale: Scale) -> Rates:
    rates: Rates = {process.name: [] for process in running}
    for _ in range(scale.bursts):
        for process in running:
            rates[process.name].append(process.rate(threads, scale.burst * TURN))
    return rates


def _table(rates: dict[int, Rates]) -> Table:
    rows = [
        (f"{threads}", *(f"{median(found[name]):,.0f}" for name in (OURS, TUNED)))
        for threads, found in rates.items()
    ]
    return Table("threads", ("", OURS, TUNED), rows)


def _targets(rates: dict[int, Rates]) -> list[Target]:
    return [
        Target(f"a load of 1 KB in {threads} threads: time, times {TUNED}'s", LIMIT, _times(found))
        for threads, found in rates.items()
    ]


def _times(rates: Rates) -> float:
    pairs = zip(rates[TUNED], rates[OURS], strict=True)
    return round(ratio_of([theirs / ours if ours else 0 for theirs, ours in pairs]).median, 3)
