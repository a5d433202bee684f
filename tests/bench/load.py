"""Load on one URL: by wrk if it is installed, otherwise by our own small generator.

python -m tests.bench.load URL CONNECTIONS SECONDS HEADER
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from tests.bench.measuring import percentile

WRK = "wrk"
REFUSED = re.compile(r"Non-2xx or 3xx responses: (\d+)")
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}  # milliseconds
RESPONSE_TIMEOUT = 60  # seconds
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Load:
    """The result: the number of requests, their rate per second, and their milliseconds.

    ``longest`` is the time of the slowest; ``refused`` is the number of requests with a status
    other than 2xx or 3xx, which do not count for the rate.
    """

    requests: int
    rate: float
    p50: float
    p99: float
    longest: float
    refused: int = 0


def generator() -> str:
    return "wrk" if shutil.which(WRK) else "our own load generator"


def generate(url: str, *, connections: int, seconds: float, header: str = "X-None: 1") -> Load:
    """Send requests with a header for some seconds, from another process.

    Raises RuntimeError if one failed, or if all were refused.
    """
    if shutil.which(WRK) and seconds >= 1:
        return _by_wrk(url, connections, seconds, header)
    module = [sys.executable, "-m", "tests.bench.load"]
    output = _output([*module, url, str(connections), str(seconds), header])
    return Load(**json.loads(output))


def _by_wrk(url: str, connections: int, seconds: float, header: str) -> Load:
    options = [
        "-t1",
        f"-c{connections}",
        f"-d{seconds:.0f}s",
        "--latency",
        f"--timeout={RESPONSE_TIMEOUT}s",
        "-H",
        header,
    ]
    output = _output([WRK, *options, url])
    requests = int(_find(r"(\d+) requests in ", output)[1])
    refused = int(found[1]) if (found := REFUSED.search(output)) else 0
    if requests == refused or "Socket errors" in output:
        raise RuntimeError(output)
    return Load(
        requests=requests,
        rate=float(_find(r"Requests/sec: +([\d.]+)", output)[1]) * (1 - refused / requests),
        p50=_milliseconds(_find(r" 50% +([\d.]+)(\w+)", output)),
        p99=_milliseconds(_find(r" 99% +([\d.]+)(\w+)", output)),
        longest=_milliseconds(_find(r"Latency +\S+ +\S+ +([\d.]+)([a-z]+)", output)),
        refused=refused,
    )


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _find(pattern: str, text: str) -> re.Match[str]:
    if (found := re.search(pattern, text)) is None:
        raise RuntimeError(text)
    return found


def _milliseconds(found: re.Match[str]) -> float:
    return float(found[1]) * UNITS[found[2]]


async def _by_own_generator(url: str, connections: int, seconds: float, header: str) -> Load:
    times: list[float] = []
    began = time.perf_counter()
    workers = [_worker(url, header, began + seconds, times) for _ in range(connections)]
    await asyncio.gather(*workers)
    took = time.perf_counter() - began
    slow = percentile(times, 99), max(times)
    return Load(len(times), len(times) / took, percentile(times, 50), *slow)


async def _worker(url: str, header: str, deadline: float, times: list[float]) -> None:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{header}\r\n\r\n".encode()
    while not times or time.perf_counter() < deadline:  # at least one, also on a busy machine
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not head.startswith(b"HTTP/1.1 200") or length is None:
            raise RuntimeError(head.decode("latin-1"))
        await reader.readexactly(int(length[1]))
        times.append((time.perf_counter() - began) * 1000)
    writer.close()


if __name__ == "__main__":
    url, connections, seconds, header = sys.argv[1:]
    load = asyncio.run(_by_own_generator(url, int(connections), float(seconds), header))
    sys.stdout.write(json.dumps(asdict(load)))
