"""The cost of separate connections to an upstream for each person: handshakes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from tests.bench import children, proxies
from tests.bench.load import Load, generate, generator
from tests.bench.measuring import ratio_of
from tests.bench.proxies import GATEWAY
from tests.bench.result import Section, Table
from tests.bench.scale import Scale
from tests.support import certificates

KEPT, FRESH = "", "once"  # the path: the upstream closes the connection after the second one
NAMES = {KEPT: "a connection kept", FRESH: "a connection each"}
UPSTREAMS = {"bench": "http", "secure": "https"}


def run(scale: Scale, folder: Path) -> Section:
    section = Section(
        "Connections of one's own",
        [
            "A connection to an upstream serves one session, and is closed after 4 idle seconds: "
            "a person who calls once a minute makes a new connection for each call. This is "
            "compared with the same call over an open connection.",
            "Over a network, a new connection takes one more round trip, with TLS two: this is not "
            "part of the figures.",
            f"Responses of 1 KB; load over one connection by {generator()}, in turns.",
        ],
    )
    loads: dict[tuple[str, str], list[Load]] = {
        (upstream, way): [] for upstream in UPSTREAMS for way in NAMES
    }
    with ExitStack() as stack:
        stage = stack.enter_context(proxies.stage(folder))
        stack.enter_context(_secure_upstream(folder))
        proxy = stack.enter_context(stage.running(GATEWAY))
        for turn in range(scale.bursts + 1):
            for (upstream, way), found in loads.items():
                address = f"http://127.0.0.1:{proxy.port}/gateway/{upstream}/{way}"
                load = generate(address, connections=1, seconds=scale.burst, header=proxy.header)
                if turn:  # The first one is the warm-up.
                    found.append(load)
    rows = [_row(upstream, way, loads) for upstream, way in loads]
    section.tables.append(
        Table("Calls through the gateway", ("", "p50 ms", "times a kept one's", "more, ms"), rows)
    )
    return section


def _row(upstream: str, way: str, loads: dict[tuple[str, str], list[Load]]) -> tuple[str, ...]:
    pairs = list(zip(loads[upstream, way], loads[upstream, KEPT], strict=True))
    return (
        f"{UPSTREAMS[upstream]}, {NAMES[way]}",
        f"{median(load.p50 for load, _ in pairs):.2f}",
        str(ratio_of(load.p50 / kept.p50 for load, kept in pairs)),
        f"{median(load.p50 - kept.p50 for load, kept in pairs):.2f}",
    )


@contextmanager
def _secure_upstream(folder: Path) -> Iterator[None]:
    """Start the upstream with TLS, and make the gateway trust its certificate."""
    certificate = str(certificates.written(folder / "upstream.pem"))
    log = folder / "secure-upstream.log"
    with children.python("tests.bench.upstream", certificate, log=log) as process:
        os.environ |= {
            "SSL_CERT_FILE": certificate,
            "UPSTREAM_SECURE_URL": f"https://127.0.0.1:{process.said}",
            "UPSTREAM_SECURE_PROVIDER": "corp",
        }
        yield
