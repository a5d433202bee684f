"""Bursts of load on a server: what came back, and the CPU that it took the server."""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.load import Load, generate
from tests.bench.measuring import Ratio, ratio_of
from tests.bench.proxies import Proxy


@dataclass(frozen=True)
class Turn:
    """A burst of load, and the seconds of CPU that a request in it took the server."""

    load: Load
    cpu: float


def turn_of(server: Proxy, connections: int, seconds: float, *, may_refuse: bool = False) -> Turn:
    """Put load on a server for some seconds. Raises RuntimeError where it refuses and may not."""
    before = server.cpu()
    load = generate(server.url(), connections=connections, seconds=seconds, header=server.header)
    if load.refused and not may_refuse:
        raise RuntimeError(f"{server.url()}: {load.refused} of {load.requests} were refused.")
    return Turn(load, (server.cpu() - before) / load.requests)


def cpu_ratio(ours: list[Turn], peers: list[Turn]) -> Ratio:
    """Compare turn by turn what a request took of the CPU."""
    pairs = zip(ours, peers, strict=True)
    # The clock of a process ticks a hundred times a second: a trial's burst may see none of it.
    return ratio_of([a.cpu / b.cpu if b.cpu else 0 for a, b in pairs])


def time_ratio(ours: list[Turn], peers: list[Turn]) -> Ratio:
    """Compare turn by turn how long a request took, all connections together."""
    pairs = zip(ours, peers, strict=True)
    return ratio_of([b.load.rate / a.load.rate for a, b in pairs])
