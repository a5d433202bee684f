"""The longest stall of the gateway's event loop that an untrusted request can cause, and how long
one person's large messages make another one wait.
"""

from __future__ import annotations

import json
import socket
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from threading import Thread
from time import perf_counter

from tests.bench import message_cases, proxies, worst_cases
from tests.bench.message_cases import CROWD
from tests.bench.result import Section, Table, Target
from tests.bench.scale import Scale
from tests.bench.stall_meter import ADDRESS
from tests.bench.worst_cases import Case, Route
from tests.support.production import children

LIMIT = 20.0  # milliseconds
WAIT_LIMIT = 1000.0  # milliseconds for another person's message
DOUBTFUL_WAIT = 500.0  # milliseconds; longer ones are tried again: other processes count here
DOUBTFUL = 8.0  # milliseconds; longer stalls are tried again: garbage collection takes as long
TRIES = 5  # of which the fastest counts
RESPONSE_TIMEOUT = 600  # seconds
SHOWN = 24  # bytes of a filling in the report
COLUMNS = (
    "filled",
    "requests",
    "stall ms",
    "longest callback ms",
    "by",
    "at",
    "answer",
)
CROWD_COLUMNS = ("messages of 1 MB", "at", "another person's longest wait ms")


@dataclass(frozen=True)
class Stall:
    """The stall that a request caused, in milliseconds of CPU, and the status of the response."""

    callback: float
    between_beats: float
    status: str
    case: Case

    @property
    def longest(self) -> float:
        return max(self.callback, self.between_beats)


@dataclass(frozen=True)
class Gateway:
    """A running gateway with a meter, and the credentials of a person and a client."""

    port: int
    cookie: str
    other_cookie: str
    token: str

    def routes(self) -> list[Route]:
        session = ((b"Cookie", self.cookie.encode()),)
        client = ((b"Authorization", b"Bearer " + self.token.encode()),)
        return [
            Route("health", b"/readyz"),
            Route("static file", b"/static/gateway.css"),
            Route("home page", b"/", session),
            Route("sign-in page", b"/accounts/login/"),
            Route("call", b"/gateway/bench/x", session),
            Route("a client's call", b"/gateway/bench/x", client),
            Route("token endpoint", b"/oauth/token"),
        ]

    def try_(self, case: Case) -> Stall:
        """Send a request, and return the stall that it caused."""
        response = self._response(case.content)
        found = self._response(worst_cases.request(b"GET", ADDRESS.encode()))
        callback, between_beats = json.loads(found.partition(b"\r\n\r\n")[2])
        status = response[9:12].decode("ascii", "replace")
        return Stall(callback * 1e3, between_beats * 1e3, status, case)

    def cases(self) -> Iterator[Case]:
        """Yield every request."""
        cookie = self.cookie.encode()
        return chain(
            worst_cases.all_of(self.routes(), cookie),
            message_cases.posts(worst_cases.post_headers(cookie)),
        )

    def wait_of(self, case: Case) -> float:
        """Return another person's longest wait; if it is long, the shortest of several tries."""
        wait = self.wait_beside(case)
        again = [self.wait_beside(case) for _ in range(TRIES if wait > DOUBTFUL_WAIT else 0)]
        return min([wait, *again])

    def wait_beside(self, case: Case) -> float:
        """Send a request many times at once; return another person's longest wait, in ms."""
        another = message_cases.another(worst_cases.post_headers(self.other_cookie.encode()))
        crowd = [Thread(target=self._response, args=(case.content,)) for _ in range(CROWD)]
        for each in crowd:
            each.start()
        longest = 0.0
        while any(each.is_alive() for each in crowd):
            began = perf_counter()
            response = self._response(another.content)
            assert response[9:12] == b"200", response
            longest = max(longest, perf_counter() - began)
        return longest * 1e3

    def stall_of(self, case: Case) -> Stall:
        """Return the stall; if it is long, the shortest one of several tries."""
        stall = self.try_(case)
        tries = TRIES if stall.longest > DOUBTFUL else 0
        again = [self.try_(case) for _ in range(tries)]
        return min([stall, *again], key=lambda each: each.longest)

    def _response(self, request: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), RESPONSE_TIMEOUT) as connection:
            with suppress(OSError):  # It may be rejected before all of it was sent.
                connection.sendall(request)
            found = b""
            with suppress(ConnectionResetError):
                while piece := connection.recv(65536):
                    found += piece
            return found


def run(scale: Scale, folder: Path) -> Section:
    section = Section(
        "The event loop: the longest stall by one request",
        [
            "Each header, path, query, cookie and body is filled, up to the largest accepted size, "
            "with content that takes parsers long; by an anonymous visitor, by a signed-in person, "
            "and by an OAuth client. The worst case of each is shown.",
            "A stall is the maximum CPU time of the process between two ticks of the loop, or of "
            f"the longest callback, in the fastest of {TRIES} tries; not wall time, so that other "
            "processes do not count. A body with the response 413 exceeds a limit.",
            f"Then a person sends {CROWD} messages of 1 MB at once, and another one messages of "
            f"20 KB. Their longest wait is that of the fastest of {TRIES} tries, in wall time.",
        ],
        on_page=False,
    )
    with proxies.stage(folder) as stage:
        started = children.python(
            "tests.bench.metered_gateway", str(folder / "static"), log=stage.folder / "proxy.log"
        )
        with started as process:
            gateway = Gateway(**json.loads(process.said))
            stalls = _stalls(gateway, islice(gateway.cases(), 0, None, scale.every_case))
            own = worst_cases.post_headers(gateway.cookie.encode())
            waits = {each: gateway.wait_of(each) for each in message_cases.crowds(own)}
    section.tables.append(Table("filled", COLUMNS, list(map(_row, stalls.values()))))
    longest = max(stall.longest for found in stalls.values() for stall in found)
    section.targets.append(Target("the event loop's longest stall", LIMIT, longest, "ms"))
    rows = list(map(_crowd_row, waits.items()))
    section.tables.append(Table("sent at once", CROWD_COLUMNS, rows))
    what = f"another person's message beside {CROWD} of 1 MB, longest wait"
    section.targets.append(Target(what, WAIT_LIMIT, max(waits.values()), "ms"))
    failed = {stall.status for found in stalls.values() for stall in found} & {"500", ""}
    section.notes += [f"Some were answered {status or 'nothing'}." for status in sorted(failed)]
    return section


def _stalls(gateway: Gateway, cases: Iterable[Case]) -> dict[str, list[Stall]]:
    found: dict[str, list[Stall]] = defaultdict(list)
    for route in gateway.routes():  # The first request of each loads code and fills caches.
        gateway.try_(Case("", b"", route.name, worst_cases.request(b"GET", route.path, route.own)))
    for case in cases:
        found[case.place].append(gateway.stall_of(case))
    return found


def _row(found: list[Stall]) -> tuple[str, ...]:
    worst = max(found, key=lambda stall: stall.longest)
    return (
        worst.case.place,
        f"{len(found):,}",
        f"{worst.longest:.1f}",
        f"{worst.callback:.1f}",
        f"`{_show(worst.case.filling)}`",
        worst.case.at,
        worst.status,
    )


def _crowd_row(found: tuple[Case, float]) -> tuple[str, ...]:
    case, longest = found
    return (case.filling.decode(), case.at, f"{longest:.0f}")


def _show(filling: bytes) -> str:
    """Return text for a table cell, in backticks."""
    return repr(filling[:SHOWN])[2:-1].replace("|", "\\|").replace("`", "'")
