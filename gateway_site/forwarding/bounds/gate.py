"""Who may have a thread: so many requests at once, the others in a line that does not get long.

A request waits in turn and is told to come again when that takes too long: an answer that
comes after its client has given up helps nobody, and delays all the others. Those who wait are
served in rotation, by their address and what they show of who calls (`Client.key`): nobody fills
the line.
"""

from __future__ import annotations

import asyncio
from asyncio import FIRST_COMPLETED
from weakref import WeakValueDictionary

from gateway_site.edge.client import Client, ClientGone
from gateway_site.transport.fair_queue import FairQueue

PATIENCE = 2.0  # seconds


class Busy(Exception):
    """All places were taken for too long."""


class Gate:
    """So many places; whoever finds none waits in line. For one event loop."""

    def __init__(self, places: int, patience: float = PATIENCE) -> None:
        self._free = places
        self._patience = patience
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()

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
        self._waiting.add(turn, client.key())
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
            self._waiting.discard(turn)

    def leave(self) -> None:
        """Hand the place to the next in line, or lay it down."""
        if self._waiting:
            self._waiting.pop().set_result(None)
        else:
            self._free += 1


class Place:
    """One place of a gate, held within a block or until it is left before."""

    def __init__(self, gate: Gate, client: Client) -> None:
        self._gate = gate
        self._client = client
        self._is_held = False

    async def __aenter__(self) -> Place:
        if not self.take_at_once():
            await self._gate.enter(self._client)
            self._is_held = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()

    def take_at_once(self) -> bool:
        """Hold it from now on if it is free; tell whether it was."""
        self._is_held = self._gate.enter_at_once()
        return self._is_held

    def leave(self) -> None:
        """Hand it on; once, however often this is called."""
        if self._is_held:
            self._is_held = False
            self._gate.leave()


class PersonGates:
    """A gate for each person, who may have many sessions, tabs and addresses."""

    def __init__(self, places: int, patience: float = PATIENCE) -> None:
        self._places = places
        self._patience = patience
        # Its places keep a gate.
        self._gates: WeakValueDictionary[str, Gate] = WeakValueDictionary()

    def place(self, person: str | None, client: Client) -> Place:
        """Return one of a person's places; where nobody is signed in, one that is always free."""
        gate = None if person is None else self._gates.get(person)
        if gate is None:
            gate = Gate(self._places, self._patience)
            if person is not None:
                self._gates[person] = gate
        return gate.place(client)

    def __len__(self) -> int:
        return len(self._gates)
