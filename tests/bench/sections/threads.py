"""Loading in many threads of one process, compared with an earlier version and the bare call."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from statistics import median

from tests.bench import aws, baseline, django_site, engines
from tests.bench.engines import EngineProcess
from tests.bench.measuring import ratio_of
from tests.bench.peers import OURS, TUNED
from tests.bench.result import Plot, Section, Table, Target
from tests.bench.scale import Scale

TURN = 0.15  # of a burst, for one contestant in one turn
BEFORE = f"{OURS} at {baseline.COMMIT}"
LIMIT = 0.25  # of the time that a load took in the earlier version
Rates = dict[str, list[float]]


def run(scale: Scale, folder: Path) -> Section:
    section = Section(
        "Growth: threads in a process",
        [
            "Loads of 1 KB per second, all threads together. Python runs one thread at a time, so "
            "more threads do not give more loads; a session engine must not give fewer.",
        ],
    )
    rates: dict[int, Rates] = {}
    with ExitStack() as stack, aws.running("answering", folder) as found:
        django_site.set_up(django_site.site(folder, found.settings, None))
        by_boto = {**found.settings, "CLIENT": "boto"}
        running = [stack.enter_context(engines.running(OURS, OURS))]
        running.append(stack.enter_context(engines.running(TUNED, TUNED, SESSIONS_KMS=by_boto)))
        try:
            then = engines.running(BEFORE, OURS, root=baseline.unpack(folder))
            running.append(stack.enter_context(then))
        except LookupError:
            section.notes.append(f"Skipped: {BEFORE}: this is no checkout that has it.")
        for process in running:
            process.store(1)
        for threads in scale.threads:
            rates[threads] = _rates(running, threads, scale)
    section.tables.append(_table(rates))
    section.targets += _targets(rates)
    lines = {name: [median(found[name]) for found in rates.values()] for name in rates[1]}
    labels = [f"{threads}" for threads in rates]
    title = "Loads a second, by threads"
    section.plots.append(Plot("threads", title, "loads/s", labels, lines, lines=True))
    return section


def _rates(running: list[EngineProcess], threads: int, scale: Scale) -> Rates:
    rates: Rates = {process.name: [] for process in running}
    for _ in range(scale.bursts):
        for process in running:
            rates[process.name].append(process.rate(threads, scale.burst * TURN))
    return rates


def _table(rates: dict[int, Rates]) -> Table:
    peers = list(rates[1])
    rows = []
    for threads, found in rates.items():
        cells = [f"{median(found[name]):,.0f}" for name in peers]
        cells += [str(_times(found, peer)) for peer in peers[1:]]
        rows.append((f"{threads} thread{'s' if threads > 1 else ''}", *cells))
    columns = ("", *(f"{name}: loads/s" for name in peers))
    return Table(
        "Loads a second", (*columns, *(f"time, times {peer}'s" for peer in peers[1:])), rows
    )


def _targets(rates: dict[int, Rates]) -> list[Target]:
    return [
        Target(
            f"a load of 1 KB in {threads} threads: times the time at {baseline.COMMIT}",
            LIMIT,
            _times(found, BEFORE),
        )
        for threads, found in rates.items()
        if BEFORE in found and threads <= 32
    ]


def _times(rates: Rates, peer: str) -> float:
    pairs = zip(rates[peer], rates[OURS], strict=True)
    return round(ratio_of([theirs / ours if ours else 0 for theirs, ours in pairs]).median, 3)
