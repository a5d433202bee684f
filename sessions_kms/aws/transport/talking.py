"""A connection of an event loop: what is said on it, and what is heard.

A request enters, its answer leaves. Whatever comes when nobody asked ends the connection.
https://docs.python.org/3/library/asyncio-protocol.html
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast
from weakref import ref

from sessions_kms.aws.http1.answer import Answer, AnswerReader
from sessions_kms.aws.http1.garbled import GarbledAnswer
from sessions_kms.aws.transport.channel import Channel, heard
from sessions_kms.aws.transport.kept import Kept
from sessions_kms.aws.transport.watching import watch
from sessions_kms.concurrency.deadline import Attempt, OutOfTime

AT_ONCE: Final = 64 * 1024  # bytes that are read at one time
GRACE: Final = 0.01  # seconds in which a loop that was held up hears what had come in time

Hear = Callable[[bytes], object]  # takes what came, b"" for the end; gives the outcome, or None


class Talking(asyncio.BufferedProtocol):
    """One connection, for one task at a time.

    ``buffer`` is where the loop puts what it reads: one for all connections of a loop, which
    reads one at a time and hands it over at once. A new one for each would cost more than all
    else here. Never one for two loops: two threads may read at one time.
    """

    def __init__(
        self, channel: Channel, buffer: memoryview, ends: float, kept: "Kept[Talking]"
    ) -> None:
        self.channel = channel
        self._buffer = buffer
        self.ends = ends
        self._kept = ref(kept)  # which has this one
        self.is_distrusted = False
        self.is_resumable = False  # Nothing is known by which its session is resumed.
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._speaks: Callable[[], bool] = lambda: True
        self._turn: _Turn | None = None

    async def open(self, attempt: Attempt) -> None:
        """Shake hands. Raises OSError."""
        said, is_open = self.channel.opening(b"")
        if not is_open:
            await self._talk(said, _Turn(self._shake, attempt, self._loop), attempt.to_connect())

    async def ask(self, request: bytes, attempt: Attempt) -> Answer:
        """Send a request and return its answer. Raises OSError or GarbledAnswer."""
        __traceback_hide__ = True
        reader = AnswerReader()

        def hear(data: bytes) -> Answer | None:
            began, answer = heard(self.channel, reader, data)
            attempt.heard = attempt.heard or began
            return answer

        turn = _Turn(hear, attempt, self._loop)
        outcome = await self._talk(self.channel.sealed(request), turn, attempt.to_read())
        if self.is_distrusted:  # Another task found out meanwhile.
            raise GarbledAnswer
        answer = cast("Answer", outcome)
        answer.connection = self
        return answer

    def is_quiet(self) -> bool:
        """Tell whether it stands and nothing can be read, nor what the loop has not seen yet."""
        return self._transport is not None and not (self.is_distrusted or self._speaks())

    def distrust(self) -> None:
        """Close it if it is idle; another task that uses it believes no answer of it."""
        self.is_distrusted = True
        if (kept := self._kept()) is not None:
            kept.remove(self)

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    async def _talk(self, said: bytes, turn: "_Turn", seconds: float) -> object:
        __traceback_hide__ = True
        if self._transport is None:
            raise ConnectionResetError("The connection was closed.")
        self._turn = turn
        turn.wait(seconds)
        try:
            self._transport.write(said)
            return await turn.outcome()
        finally:
            turn.end()
            self._turn = None

    def _shake(self, data: bytes) -> bool | None:
        if not data:
            raise ConnectionResetError("The connection was closed within the handshake.")
        said, is_open = self.channel.opening(data)
        if said and self._transport is not None:
            self._transport.write(said)
        return is_open or None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._speaks = watch(transport.get_extra_info("socket").fileno())

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where what comes is to be put."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hear what came."""
        self._take(bytes(self._buffer[:nbytes]))

    def _take(self, data: bytes) -> None:
        if self._turn is None or not self._turn.hear(data):
            self.close()

    def eof_received(self) -> None:
        """Hear that no more comes."""
        self._take(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        """Hear that it is over."""
        self._transport = None
        if self._turn is not None:
            self._turn.fail(exc or ConnectionResetError("The connection was closed."))


class _Turn:
    """What one task said, and waits for."""

    __slots__ = ("_attempt", "_hear", "_loop", "_outcome", "_timer", "_was_late")

    def __init__(self, hear: Hear, attempt: Attempt, loop: asyncio.AbstractEventLoop) -> None:
        self._hear = hear
        self._attempt = attempt
        self._loop = loop
        self._outcome: asyncio.Future[Any] = loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._was_late = False

    def wait(self, seconds: float) -> None:
        """Give it so many seconds, or until then."""
        self._timer = self._loop.call_later(seconds, self._late)

    async def outcome(self) -> object:
        """Return what was heard, or raise what went wrong."""
        found = await self._outcome
        try:
            if isinstance(found, Exception):
                raise found
            return found
        finally:
            found = None  # Its traceback has this frame: each would keep the other.

    def hear(self, data: bytes) -> bool:
        """Take what came; False where nothing more was expected."""
        __traceback_hide__ = True
        if self._outcome.done():
            return False
        try:
            found = self._hear(data)
        except Exception as exc:  # noqa: BLE001 - whoever waits is told
            self.fail(exc)
        else:
            if found is not None:
                self._outcome.set_result(found)
        return True

    def fail(self, exc: Exception) -> None:
        """Have the task raise this."""
        if not self._outcome.done():
            self._outcome.set_result(exc)  # As a result: a cancelled task would not fetch an error.

    def end(self) -> None:
        """Wait no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _late(self) -> None:
        if left := self._left():
            self.wait(left)
        elif not self._was_late:
            self._was_late = True
            self.wait(GRACE)
        else:
            self.fail(OutOfTime())

    def _left(self) -> float:
        """Return how long an answer that has begun may take yet."""
        try:
            return self._attempt.to_write() if self._attempt.heard else 0
        except OutOfTime:
            return 0
