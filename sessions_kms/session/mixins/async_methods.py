"""The async half of the session contract: the coroutines of the sync half, in the event loop.

Reads end with their task. A write that has begun is finished even if the request that asked for
it is cancelled. Only what blocks gets a thread: KMS where no data key is held, a project's own
sync methods, and the making of this process's services.
"""

import logging
from asyncio import _get_running_loop
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from django.contrib.sessions.backends.base import SessionBase
from django.utils.asyncio import async_unsafe

from sessions_kms.concurrency.finishing import Finisher
from sessions_kms.concurrency.waits import Wait
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.session.mixins.overrides import Verb, in_a_thread

logger = logging.getLogger("sessions_kms")

WRITES_MAX: Final = 1024  # under way in one process, those that wait for each other included

T = TypeVar("T")


def sync_only() -> None:
    """Raise SynchronousOnlyOperation in an event loop, which session I/O would block.

    A call of its own rather than a decorator, whose frame would hold the arguments. Django is
    only asked in a loop: it asks in a way that raises where there is none.
    """
    if _get_running_loop() is not None:
        _sync_only()


@async_unsafe(
    "The session does I/O: use its async methods (aget, aset, asave, ...) in an async view."
)
def _sync_only() -> None:
    """Do nothing, where Django lets it."""


class AsyncMethods(SessionBase):
    """A session whose async methods never block the loop; subclasses have the coroutines."""

    if TYPE_CHECKING:
        _session_cache: dict[str, Any]

        def _preparation(self) -> Wait | None: ...
        def _is_sync_only(self, verb: Verb) -> bool: ...
        async def _filling(self, no_load: bool = False) -> dict[str, Any]: ...
        async def _loading(self) -> dict[str, Any]: ...
        async def _existing(self, session_key: str) -> bool: ...
        async def _creating(self) -> None: ...
        async def _saving(self, must_create: bool = False) -> None: ...
        async def _cycling(self) -> None: ...
        async def _deleting(self, session_key: str | None = None) -> None: ...

    async def _aget_session(self, no_load: bool = False) -> dict[str, Any]:
        __traceback_hide__ = True
        self.accessed = True
        if hasattr(self, "_session_cache"):
            return self._session_cache
        if self.session_key is None:  # Nothing to load.
            return await self._filling(no_load)
        await self._prepared()
        return await self._filling(no_load)

    async def aload(self) -> dict[str, Any]:
        __traceback_hide__ = True
        return await self._read_in_its_way("load", self._loading)

    async def aexists(self, session_key: str) -> bool:
        __traceback_hide__ = True
        return await self._read_in_its_way("exists", self._existing, session_key)

    async def acreate(self) -> None:
        __traceback_hide__ = True
        await self._written("create", self._creating)

    async def asave(self, must_create: bool = False) -> None:
        __traceback_hide__ = True
        await self._written("save", self._saving, must_create)

    async def acycle_key(self) -> None:
        __traceback_hide__ = True
        await self._written("cycle_key", self._cycling)

    async def adelete(self, session_key: str | None = None) -> None:
        __traceback_hide__ = True
        await self._written("delete", self._deleting, session_key)

    async def _read_in_its_way(
        self, verb: Verb, method: Callable[..., Coroutine[Any, Any, T]], *args: Any
    ) -> T:
        __traceback_hide__ = True
        await self._prepared()
        return await self._in_its_way(verb, method, *args)

    async def _written(
        self, verb: Verb, method: Callable[..., Coroutine[Any, Any, None]], *args: Any
    ) -> None:
        __traceback_hide__ = True
        await self._prepared()
        await _writes.finish(self._in_its_way(verb, method, *args))

    async def _prepared(self) -> None:
        if (wait := self._preparation()) is not None:
            await wait

    async def _in_its_way(
        self, verb: Verb, method: Callable[..., Coroutine[Any, Any, T]], *args: Any
    ) -> T:
        """Do this, or have a thread call the sync method that a project has in its place."""
        __traceback_hide__ = True
        if self._is_sync_only(verb):
            return cast("T", await in_a_thread(self, verb, *args))
        return await method(*args)


def _tell(error: BaseException) -> None:
    logger.error("A session write of a cancelled request failed: %s", type(error).__name__)


def _busy() -> StoreUnavailable:
    return StoreUnavailable("Too many wait for the session store.")


_writes = Finisher(WRITES_MAX, left=_tell, busy=_busy)
