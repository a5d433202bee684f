"""Runs all clients through all disturbances on one stack; returns the rows of a report.

The clients are disturbed together, as those of a real gateway are; each has its own grant.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from tests.mcp_clients import trial
from tests.mcp_clients.client import CallFailed, Client
from tests.mcp_clients.disturbances import Disturbance, World
from tests.mcp_clients.expected import EXPECTED

SIGN_IN = "from nothing"


@dataclass(frozen=True)
class Row:
    """How one client ended after one disturbance."""

    client: str
    disturbance: str
    seen: str

    @property
    def expected(self) -> str:
        return EXPECTED[self.disturbance]

    @property
    def is_right(self) -> bool:
        return self.seen == self.expected


def sign_in_all(clients: Sequence[Client]) -> Iterator[Row]:
    """Have each sign in from nothing."""
    for client in clients:
        yield Row(client.name, SIGN_IN, trial.sign_in_outcome(client))


def disturb(world: World, disturbance: Disturbance, clients: Sequence[Client]) -> Iterator[Row]:
    """Strike all of them at once, and see how each ends."""
    asked = {client.name: client.place.times_asked for client in clients}
    tokens = {client.name: _call_undisturbed(client) for client in clients}
    disturbance.strike(world)
    if disturbance.passes:
        _call_while(partial(disturbance.passes, world), clients)
    for client in clients:
        seen, token = trial.end_outcome(client, asked[client.name])
        if disturbance.renews_token and token == tokens[client.name]:
            seen = "the MCP server got the same token"
        yield Row(client.name, disturbance.name, seen)


def _call_undisturbed(client: Client) -> str:
    """Call once more before anything happens; who was lost by then counts as asked too often."""
    try:
        return trial.call_outcome(client)
    except CallFailed:
        return ""


def _call_while(lasting: Callable[[], None], clients: Sequence[Client]) -> None:
    """Have each client call while something lasts; what comes of that is seen afterwards."""
    with ThreadPoolExecutor(len(clients)) as threads:
        for client in clients:
            threads.submit(_call_undisturbed, client)
        lasting()
