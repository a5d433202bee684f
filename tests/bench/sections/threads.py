"""Loading in many threads of one process, beside the bare call in as many."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from statistics import median

from tests.bench import aws, django_site
from tests.bench.content import KB, content
from tests.bench.measuring import ratio_of
from tests.bench.peers import OURS, TUNED, BarePeer, EnginePeer, Peer
from tests.bench.result import Plot, Section, Table
from tests.bench.scale import Scale

TURN = 0.15  # of a burst, for one contestant in one turn


def run(scale: Scale, folder: Path) -> Section:
    section = Section(
        "Growth: threads in a process",
        [
            "Loads of 1 KB a second, all threads together. Python runs one thread at a time, so "
            "more threads do not make more loads; a session engine must not make fewer of them.",
        ],
    )
    rates: dict[int, dict[str, list[float]]] = {}
    with aws.running("answering", folder) as found:
        django_site.set_up(django_site.site(folder, found.settings, None))
        peers: list[Peer] = [EnginePeer(OURS), BarePeer(TUNED)]
        for peer in peers:
            peer.store(content(1 * KB))
        for threads in scale.threads:
            rates[threads] = {peer.name: [] for peer in peers}
            for _ in range(scale.bursts):
                for peer in peers:
                    rate = _rate(peer, threads, scale.burst * TURN)
                    rates[threads][peer.name].append(rate)
    section.tables.append(_table(rates))
    lines = {name: [median(found[name]) for found in rates.values()] for name in (OURS, TUNED)}
    labels = [f"{threads}" for threads in rates]
    title = "Loads a second, by threads"
    section.plots.append(Plot("threads", title, "loads/s", labels, lines, lines=True))
    return section


def _rate(peer: Peer, threads: int, seconds: float) -> float:
    """Return how many loads a second the threads make together."""
    loads = [0] * threads
    ready = threading.Barrier(threads + 1)
    over = threading.Event()

    def work(number: int) -> None:
        ready.wait()
        while not over.is_set():
            peer.prepare_load()()
            loads[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    ready.wait()
    began = time.perf_counter()
    time.sleep(seconds)
    over.set()
    for worker in workers:
        worker.join()
    return sum(loads) / (time.perf_counter() - began)


def _table(rates: dict[int, dict[str, list[float]]]) -> Table:
    rows = []
    for threads, found in rates.items():
        pairs = zip(found[TUNED], found[OURS], strict=True)
        ratio = ratio_of([bare / ours if ours else 0 for bare, ours in pairs])
        row = (f"{median(found[OURS]):,.0f}", f"{median(found[TUNED]):,.0f}", str(ratio))
        rows.append((f"{threads} thread{'s' if threads > 1 else ''}", *row))
    columns = ("", "loads/s", f"{TUNED}: loads/s", "times boto3's time")
    return Table("Loads a second", columns, rows)
