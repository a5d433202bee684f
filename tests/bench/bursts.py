"""Bursts of load on a server: the responses, and the CPU time of the server."""

from dataclasses import dataclass
from statistics import median

from tests.bench.load import Load, generate
from tests.bench.measuring import Ratio, ratio_of
from tests.bench.proxies import Proxy

PROOFS = 4000  # for a second: more than a gateway has answered


@dataclass(frozen=True)
class Turn:
    """A burst of load, and the server's CPU seconds for each request in it."""

    load: Load
    cpu: float


def turn_of(server: Proxy, connections: int, seconds: float, *, may_refuse: bool = False) -> Turn:
    """Put load on a server for some seconds. Raises RuntimeError for an unexpected rejection."""
    proofs = server.proofs(int(PROOFS * max(seconds, 1)))
    before = server.cpu()
    load = generate(
        server.url(),
        connections=connections,
        seconds=seconds,
        header=server.header,
        body=server.body,
        proofs=proofs,
    )
    if load.refused and not may_refuse:
        raise RuntimeError(f"{server.url()}: {load.refused} of {load.requests} were refused.")
    return Turn(load, (server.cpu() - before) / load.requests)


def rate_and_cpu(turns: list[Turn]) -> str:
    """Return the medians for a table: requests per second, and microseconds of CPU for each."""
    rate = median(turn.load.rate for turn in turns)
    cpu = median(turn.cpu for turn in turns)
    return f"{rate:,.0f} ({cpu * 1e6:,.0f})"


def cpu_ratio(ours: list[Turn], peers: list[Turn]) -> Ratio:
    """Compare the CPU time of a request, turn by turn."""
    pairs = zip(ours, peers, strict=True)
    # The CPU clock ticks a hundred times a second: in a trial's burst it may not advance.
    return ratio_of([a.cpu / b.cpu if b.cpu else 0 for a, b in pairs])
