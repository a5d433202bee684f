"""Load on one URL: by wrk if it is installed, otherwise by our own small generator.

python -m tests.bench.load URL CONNECTIONS SECONDS HEADER BODY PROOFS

PROOFS is a file of values of the header DPoP, one a line, each for one request; it may be empty.
"""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import urlsplit

from tests.bench.measuring import percentile

WRK = "wrk"
REFUSED = re.compile(r"Non-2xx or 3xx responses: (\d+)")
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}  # milliseconds
RESPONSE_TIMEOUT = 60  # seconds
JSON = "Content-Type: application/json"
POST = 'wrk.method = "POST"\nwrk.body = [[%s]]\n'
PROOFS = """
local proofs, sent = {}, 0
for line in io.lines("%s") do proofs[#proofs + 1] = line end
function request()
  sent = sent + 1
  wrk.headers["DPoP"] = proofs[sent]
  return wrk.format()
end
"""
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


def generate(
    url: str,
    *,
    connections: int,
    seconds: float,
    header: str = "X-None: 1",
    body: str = "",
    proofs: Sequence[str] = (),
) -> Load:
    """Send requests with a header for some seconds, from another process; a body is JSON to post.

    Each of the ``proofs`` is sent once, if there are any. Raises RuntimeError if a request failed,
    or if all were refused.
    """
    with NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(proofs))
        file.flush()
        if shutil.which(WRK) and seconds >= 1:
            script = PROOFS % file.name if proofs else POST % body if body else ""
            more = ["-H", JSON] if body else []
            return _by_wrk(url, connections, seconds, ["-H", header, *more], script)
        module = [sys.executable, "-m", "tests.bench.load"]
        size = (str(connections), str(seconds))
        output = _output([*module, url, *size, header, body, file.name])
    return Load(**json.loads(output))


def _by_wrk(
    url: str, connections: int, seconds: float, headers: Sequence[str], program: str
) -> Load:
    options = [
        "-t1",
        f"-c{connections}",
        f"-d{seconds:.0f}s",
        "--latency",
        f"--timeout={RESPONSE_TIMEOUT}s",
        *headers,
    ]
    with NamedTemporaryFile("w", suffix=".lua") as script:
        if program:
            script.write(program)
            script.flush()
            options += ["-s", script.name]
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


async def _by_own_generator(
    url: str, connections: int, seconds: float, requests: Iterator[bytes]
) -> Load:
    times: list[float] = []
    began = time.perf_counter()
    workers = [_worker(url, requests, began + seconds, times) for _ in range(connections)]
    await asyncio.gather(*workers)
    took = time.perf_counter() - began
    slow = percentile(times, 99), max(times)
    return Load(len(times), len(times) / took, percentile(times, 50), *slow)


def _request(url: str, header: str, body: str) -> bytes:
    parts = urlsplit(url)
    method = "POST" if body else "GET"
    content = [JSON, f"Content-Length: {len(body)}"] if body else []
    lines = [f"{method} {parts.path} HTTP/1.1", f"Host: {parts.netloc}", header, *content]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


async def _worker(url: str, requests: Iterator[bytes], deadline: float, times: list[float]) -> None:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    while not times or time.perf_counter() < deadline:  # at least one, also on a busy machine
        began = time.perf_counter()
        writer.write(next(requests))
        head = await reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not head.startswith(b"HTTP/1.1 200") or length is None:
            raise RuntimeError(head.decode("latin-1"))
        await reader.readexactly(int(length[1]))
        times.append((time.perf_counter() - began) * 1000)
    writer.close()


if __name__ == "__main__":
    url, connections, seconds, header, body, proofs = sys.argv[1:]
    lines = Path(proofs).read_text("ascii").splitlines()
    headers = (f"{header}\r\nDPoP: {line}" for line in lines) if lines else repeat(header)
    requests = (_request(url, each, body) for each in headers)
    load = asyncio.run(_by_own_generator(url, int(connections), float(seconds), requests))
    sys.stdout.write(json.dumps(asdict(load)))
