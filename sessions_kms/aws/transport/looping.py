"""Calls of an endpoint from event loops, without a thread: each loop has its own connections.

A request enters, its answer leaves, within the time of an attempt (`concurrency.deadline`).
A task that is cancelled, or runs out of time, takes its connection with it. A forked process
has loops of its own, and so connections of its own.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Container
from time import monotonic
from typing import Any, Final

from sessions_kms.aws import resolving
from sessions_kms.aws.http1.answer import Answer, as_it_is
from sessions_kms.aws.http1.endpoint import Endpoint
from sessions_kms.aws.http1.garbled import GarbledAnswer
from sessions_kms.aws.transport.channels import Channels
from sessions_kms.aws.transport.failures import not_connected, unanswered
from sessions_kms.aws.transport.kept import Kept, end_of_one_made
from sessions_kms.aws.transport.talking import AT_ONCE, Talking
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.deadline import Attempt, Limits, OutOfTime

CONNECTIONS: Final = 64  # of one loop at one time


class LoopingTransport:
    """One endpoint's connections, for all event loops, and no more than so many for each.

    ``authorities`` is the file of those whom TLS believes. Without TLS there is none.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        authorities: str = "",
        *,
        limits: Limits | None = None,
        connections: int = CONNECTIONS,
        steady: Callable[[], float] = monotonic,
    ) -> None:
        self._endpoint = endpoint
        self._channels = Channels(endpoint, authorities)
        self._limits = limits
        self._connections = connections
        self._steady = steady
        self._of_loops: dict[asyncio.AbstractEventLoop, _OfLoop] = {}

    async def ask(
        self,
        request: bytes,
        read: Callable[[Answer], Any] = as_it_is,
        apart_from: Container[object] = (),
    ) -> Any:
        """Send a request once, on another connection than these, and return what its answer says.

        One that ``read`` calls garbled may be that to another request, and so would be the next
        on its connection: that is closed. Who finds all connections in use waits for one, as
        long as one may take to connect. Raises botocore's errors (see `failures`), GarbledAnswer,
        and what ``read`` does. Nothing is sent a second time.
        """
        __traceback_hide__ = True
        attempt = Attempt(self._limits or deadline.HASTY)
        mine = self._of_loops.get(asyncio.get_running_loop()) or await self._begin()
        await self._wait_for(mine.places, attempt)
        try:
            return await self._said(request, read, attempt, mine, apart_from)
        finally:
            mine.places.release()

    async def _begin(self) -> "_OfLoop":
        for loop in list(self._of_loops):
            if loop.is_closed():  # without a word: see `_OfLoop.until_its_end`
                self._of_loops.pop(loop, None)
        mine = _OfLoop(Kept(self._steady), self._connections)
        self._of_loops[asyncio.get_running_loop()] = mine
        await anext(mine.end)
        return mine

    async def _wait_for(self, places: asyncio.Semaphore, attempt: Attempt) -> None:
        if not places.locked():
            await places.acquire()  # at once
            return
        try:
            async with asyncio.timeout(attempt.to_connect()):
                await places.acquire()
        except TimeoutError:
            raise not_connected(self._endpoint, OutOfTime()) from None

    async def _said(
        self,
        request: bytes,
        read: Callable[[Answer], Any],
        attempt: Attempt,
        mine: "_OfLoop",
        apart_from: Container[object],
    ) -> Any:
        __traceback_hide__ = True
        connection = mine.kept.take(apart_from) or await self._connected(attempt, mine)
        keeps = False
        try:
            answer = await connection.ask(request, attempt)
            keeps = answer.keeps_alive and not connection.channel.is_over
            return read(answer)
        except OSError as exc:
            raise unanswered(self._endpoint, exc) from exc
        except GarbledAnswer:
            keeps = False
            raise
        finally:
            # Not in an `except`: a task that is cancelled leaves no answer half read, either.
            if keeps:
                if not connection.is_resumable:
                    connection.is_resumable = self._channels.answered(connection.channel)
                mine.kept.keep(connection)
            else:
                connection.close()

    async def _connected(self, attempt: Attempt, mine: "_OfLoop") -> Talking:
        host, port = self._endpoint.host, self._endpoint.port
        try:
            async with asyncio.timeout(attempt.to_connect()):
                found = await resolving.resolver.in_loop(host, port, attempt.to_connect())
                made = await _connected_socket(found, attempt)
                try:
                    return await self._opened(made, attempt, mine)
                except BaseException:
                    made.close()
                    raise
        except OSError as exc:
            raise not_connected(self._endpoint, exc) from exc

    async def _opened(self, made: socket.socket, attempt: Attempt, mine: "_OfLoop") -> Talking:
        ends = end_of_one_made(self._steady())
        talking = Talking(self._channels.new(), mine.buffer, ends, mine.kept)
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: talking, sock=made)
        try:
            await talking.open(attempt)
        except BaseException:
            talking.close()
            raise
        return talking


class _OfLoop:
    """What one event loop has."""

    def __init__(self, kept: Kept[Talking], connections: int) -> None:
        self.kept = kept
        self.places = asyncio.Semaphore(connections)
        self.buffer = memoryview(bytearray(AT_ONCE))
        self.end = self.until_its_end()

    async def until_its_end(self) -> AsyncGenerator[None]:
        """Close the connections when the loop ends: whoever runs one closes its generators then.

        https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.shutdown_asyncgens
        """
        try:
            yield
        finally:
            self.kept.close()
            await asyncio.sleep(0)  # The loop closes sockets at its next turn.


async def _connected_socket(addresses: list[resolving.Address], attempt: Attempt) -> socket.socket:
    """Return a socket connected to the first address that answers; each gets its share of time."""
    failure: OSError = OutOfTime()
    for number, (family, address) in enumerate(addresses):
        made = socket.socket(family, socket.SOCK_STREAM)
        try:
            made.setblocking(False)
            async with asyncio.timeout(attempt.to_connect() / (len(addresses) - number)):
                await asyncio.get_running_loop().sock_connect(made, address)
        except OSError as exc:
            made.close()
            failure = exc
        except BaseException:
            made.close()
            raise
        else:
            return made
    raise failure
