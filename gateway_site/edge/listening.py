"""A request's client, as the ASGI server tells of it: what it sends, and whether it is there."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any

from gateway_site.edge.asgi import Receive
from gateway_site.edge.trusted_proxies import address, counted_under

SHOWN = frozenset({b"authorization", b"cookie"})
ANSWER_TIME = 60.0  # seconds in which a client must take the next piece of an answer


class ClientGone(Exception):
    """The client has closed the connection."""


class Client:
    """The channel of one request, which can be listened to before anybody reads it."""

    def __init__(self, scope: Mapping[str, Any], receive: Receive) -> None:
        self._scope = scope
        self._receive = receive
        # To ask for the body would tell such a client to send it.
        self._is_asked = b"expect" in [name.lower() for name, _ in scope["headers"]]
        self._heard: deque[Mapping[str, Any]] = deque()

    def key(self) -> tuple[str | None, int]:
        """Return by what requests that wait are told apart: address, then cookies and token.

        Nobody has been found out by then, and cookies may be made up: the address comes first.
        """
        peer = self._scope.get("client")
        found = None if peer is None else address(peer[0])
        shown = [value for name, value in self._scope["headers"] if name.lower() in SHOWN]
        return None if found is None else counted_under(found), hash(tuple(shown))

    async def receive(self) -> Mapping[str, Any]:
        """Return the next message, one that was heard already first."""
        return self._heard.popleft() if self._heard else await self._receive()

    async def gone(self) -> None:
        """Return when the client has gone; never, where it has a body that nobody reads yet.

        Holds one piece of such a body at most.
        """
        heard: Mapping[str, Any] = self._heard[-1] if self._heard else {}
        while heard.get("type") != "http.disconnect":
            if self._is_asked or heard.get("more_body", False):
                await asyncio.Future()
            heard = await self._receive()
            self._heard.append(heard)
