"""Many concurrent event streams: the memory of each, and the time to its first byte."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.bench import proxies
from tests.bench.measuring import percentile
from tests.bench.proxies import FORWARDER, GATEWAY, Proxy, Stage
from tests.bench.result import Section, Table, Target
from tests.bench.scale import Scale

NAMES = (FORWARDER, GATEWAY)
MANY = 1000  # streams, at which the limits count
FIRST_BYTE_LIMIT = 1.2  # times the bare forwarder's
MEMORY_LIMIT = 40.0  # KB a stream
GIVE_UP = 90.0  # seconds
AGAIN = 1.0
EVENT = b"data:"


def run(scale: Scale, folder: Path) -> Section:
    section = Section(
        "Open event streams",
        [
            "A new process receives the requests for all streams at the same time. Each stream "
            "carries one event per second. Memory is the growth of the process's resident set.",
        ],
        on_page=False,
    )
    _allow_descriptors()
    found: dict[int, dict[str, Held]] = {}
    with proxies.stage(folder) as stage:
        for count in scale.streams:
            found[count] = dict(_each(stage, count, scale.settle))
    rows = [
        (f"{count:,} through the {name}", *held.row())
        for count, by_name in found.items()
        for name, held in by_name.items()
    ]
    columns = ("", "first byte p50 ms", "p99 ms", "memory per stream, KB", "threads")
    section.tables.append(Table("streams", columns, rows))
    if many := found.get(MANY):
        section.targets += _targets(many)
    return section


def _each(stage: Stage, count: int, settle: float) -> Iterator[tuple[str, Held]]:
    for name in NAMES:
        with stage.running(name) as proxy:
            yield name, asyncio.run(_hold_streams(proxy, count, settle))


def _targets(found: dict[str, Held]) -> list[Target]:
    ours, bare = found[GATEWAY], found[FORWARDER]
    what = f"{MANY:,} event streams at one moment"
    return [
        Target(
            f"{what}: first byte, times the bare forwarder's",
            FIRST_BYTE_LIMIT,
            ours.delay / bare.delay,
        ),
        Target(f"{what}: memory a stream", MEMORY_LIMIT, ours.memory, "KB"),
    ]


class Held:
    """The cost of holding some streams open."""

    def __init__(self, delays: list[float], memory: int, threads: int) -> None:
        self.delays = delays
        self._memory = memory
        self._threads = threads

    @property
    def delay(self) -> float:
        """Milliseconds until the first event, median."""
        return percentile(self.delays, 50)

    @property
    def memory(self) -> float:
        """KB per stream."""
        return self._memory / len(self.delays) / 1024

    def row(self) -> tuple[str, ...]:
        p99 = percentile(self.delays, 99)
        return f"{self.delay:,.0f}", f"{p99:,.0f}", f"{self.memory:,.0f}", f"{self._threads}"


async def _hold_streams(proxy: Proxy, count: int, settle: float) -> Held:
    process = psutil.Process(proxy.pid)
    (await _open_stream(proxy))[1].close()
    before = process.memory_info().rss
    async with asyncio.timeout(GIVE_UP):
        opened = await asyncio.gather(*(_open_stream(proxy) for _ in range(count)))
    await asyncio.sleep(settle)
    memory, threads = process.memory_info().rss - before, process.num_threads()
    for _, writer in opened:
        writer.close()
    return Held([delay for delay, _ in opened], memory, threads)


async def _open_stream(proxy: Proxy) -> tuple[float, asyncio.StreamWriter]:
    """Open a stream and read its first event; return the milliseconds that it took.

    A refused request is repeated, and its time continues.
    """
    began = time.perf_counter()
    while (opened := await _request(proxy)) is None:  # noqa: ASYNC110 -- as a client does
        await asyncio.sleep(AGAIN)
    reader, writer = opened
    await reader.readuntil(EVENT)
    return (time.perf_counter() - began) * 1000, writer


async def _request(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(
        f"GET /{proxy.path}events HTTP/1.1\r\nHost: 127.0.0.1:{proxy.port}\r\n"
        f"Accept: text/event-stream\r\nCookie: {proxy.cookie}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 503"):
        writer.close()
        return None
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode("latin-1"))
    return reader, writer


def _allow_descriptors() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
