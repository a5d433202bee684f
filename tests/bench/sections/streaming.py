"""Many event streams at once: the memory that each holds, and how long its first byte takes."""

from __future__ import annotations

import asyncio
import resource
import time
from pathlib import Path

import psutil

from tests.bench import proxies
from tests.bench.measuring import percentile
from tests.bench.proxies import NAMES, Proxy
from tests.bench.result import Plot, Section, Table
from tests.bench.scale import Scale

GIVE_UP = 90.0  # seconds
AGAIN = 1.0
EVENT = b"data:"


def run(scale: Scale, folder: Path) -> Section:
    section = Section(
        "Event streams held open at once",
        [
            "All streams are asked for at one moment, of a fresh process each time that has served "
            "one before; an event a second comes through each. Memory is the process's resident "
            "set, less what it was before, a stream.",
        ],
    )
    _allow_descriptors()
    rows, delays = [], {name: [] for name in NAMES}  # type: ignore[var-annotated]
    with proxies.upstream(folder) as url:
        for count in scale.streams:
            for name in NAMES:
                with proxies.running(name, url, folder) as proxy:
                    held = asyncio.run(_held(proxy, count, scale.settle))
                delays[name].append(percentile(held.delays, 50))
                rows.append((f"{count:,} through the {name}", *held.row()))
    columns = ("", "first byte p50 ms", "first byte p99 ms", "memory KB a stream", "threads")
    section.tables.append(Table("Streams", columns, rows))
    labels = [f"{count:,} streams" for count in scale.streams]
    title = "First byte of an event stream, median"
    section.plots.append(Plot("streams", title, "ms", labels, delays))
    return section


class Held:
    """What holding some streams took."""

    def __init__(self, delays: list[float], memory: int, threads: int) -> None:
        self.delays = delays
        self._memory = memory
        self._threads = threads

    def row(self) -> tuple[str, ...]:
        p50, p99 = percentile(self.delays, 50), percentile(self.delays, 99)
        kilobytes = self._memory / len(self.delays) / 1024
        return f"{p50:,.0f}", f"{p99:,.0f}", f"{kilobytes:,.0f}", f"{self._threads}"


async def _held(proxy: Proxy, count: int, settle: float) -> Held:
    process = psutil.Process(proxy.pid)
    (await _opened(proxy))[1].close()
    before = process.memory_info().rss
    async with asyncio.timeout(GIVE_UP):
        opened = await asyncio.gather(*(_opened(proxy) for _ in range(count)))
    await asyncio.sleep(settle)
    memory, threads = process.memory_info().rss - before, process.num_threads()
    for _, writer in opened:
        writer.close()
    return Held([delay for delay, _ in opened], memory, threads)


async def _opened(proxy: Proxy) -> tuple[float, asyncio.StreamWriter]:
    """Open a stream and read its first event; return the milliseconds that it took.

    Who is told to come again does so, and its time goes on.
    """
    began = time.perf_counter()
    while (opened := await _asked(proxy)) is None:  # noqa: ASYNC110 -- as a client does
        await asyncio.sleep(AGAIN)
    reader, writer = opened
    await reader.readuntil(EVENT)
    return (time.perf_counter() - began) * 1000, writer


async def _asked(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
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
