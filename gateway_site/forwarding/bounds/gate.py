"""Who may have a thread: so many requests at once, the others in a line that does not get long.

A request waits in turn and is told to come again when that takes too long: an answer that
comes after its client has given up helps nobody, and delays all the others.
"""

from __future__ import annotations

import asyncio
from asyncio import FIRST_COMPLETED
from collections import OrderedDict

from gateway_site.edge.listening import Client, ClientGone

PATIENCE = 2.0  # seconds


class Busy(Exception):
    """All places were taken for too long."""


class Gate:
    """So many places; whoever finds none waits in line. For one event loop."""

    def __init__(self, places: int, patience: float = PATIENCE) -> None:
        self._free = places
        self._patience = patience
        self._line: OrderedDict[asyncio.Future[None], None] = OrderedDict()

    def place(self, client: Client) -> Place:
        """Return a place to hold within a block."""
        return Place(self, client)

    async def enter(self, client: Client) -> None:
        """Take a place. Raises Busy after a while, and ClientGone when nobody waits for it."""
        if not self.enter_at_once():
            await self._wait(client)

    def enter_at_once(self) -> bool:
        """Take a place, if there is one."""
        if not self._free:
            return False
        self._free -= 1
        return True

    async def _wait(self, client: Client) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line[turn] = None
        gone = asyncio.ensure_future(client.gone())
        is_turn = False
        try:
            await asyncio.wait({turn, gone}, timeout=self._patience, return_when=FIRST_COMPLETED)
            has_gone = gone.done()
            is_turn = turn.done() and not has_gone
        finally:  # cancelled, too
            gone.cancel()
            if not is_turn:
                self._give_up(turn)
        if has_gone:
            raise ClientGone
        if not is_turn:
            raise Busy

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        if turn.done():
            self.leave()
        else:
            del self._line[turn]

    def leave(self) -> None:
        """Hand the place to the next in line, or lay it down."""
        if self._line:
            turn, _ = self._line.popitem(last=False)
            turn.set_result(None)
        else:
            self._free += 1


class Place:
    """One place of a gate, held within a block or until it is left before."""

    def __init__(self, gate: Gate, client: Client) -> None:
        self._gate = gate
        self._client = client
        self._is_held = False

    async def __aenter__(self) -> Place:
        if not self._gate.enter_at_once():
            await self._gate.enter(self._client)
        self._is_held = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Hand it on; once, however often this is called."""
        if self._is_held:
            self._is_held = False
            self._gate.leave()
