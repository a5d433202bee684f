"""The gateway and two forwarders before one upstream, each in a process of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import aws, children
from tests.bench.gateway_environment import environment

GATEWAY, FORWARDER = "gateway", "bare httpx2 forwarder"
ASKING = "the least Django that asks who calls, and forwards"
NAMES = (FORWARDER, GATEWAY)
ISSUER = "http://127.0.0.1:9"  # nobody is asked: the token lasts


@dataclass(frozen=True)
class Proxy:
    """A running proxy."""

    pid: int
    port: int
    path: str
    cookie: str

    def url(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.port}/{self.path}{path}"


@contextmanager
def upstream(folder: Path) -> Iterator[str]:
    """Start AWS's stand-ins and the upstream; lead this process's children to them."""
    with (
        aws.running("answering", folder) as found,
        children.python("tests.bench.upstream", log=folder / "upstream.log") as process,
    ):
        url = f"http://127.0.0.1:{process.said}"
        os.environ |= environment(found, folder, issuer=ISSUER, upstream=url)
        yield url


@contextmanager
def running(name: str, upstream_url: str, folder: Path) -> Iterator[Proxy]:
    """Start one of the two."""
    arguments = {
        GATEWAY: ("tests.bench.gateway",),
        ASKING: ("tests.bench.asking", upstream_url),
        FORWARDER: ("tests.bench.forwarder", upstream_url),
    }[name]
    with children.python(*arguments, log=folder / "proxy.log") as process:
        yield Proxy(process.pid, **json.loads(process.said))
