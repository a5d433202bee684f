"""Mixins of `SessionStore`: the async methods, expiry, and methods whose frames stay hidden.

The async methods await the coroutines that the sync ones run. Reads end with their task. A write
that has begun is finished even if its request is cancelled. Only blocking calls get a thread: KMS
without a cached data key, a project's own sync methods, and creating the services.

Idle and absolute timeout decide when a session ends: idle is Django's own expiry, and the absolute
timeout, counted from the sign-in or the creation of an anonymous session, caps it.

Django's error report shows the local variables of each frame without ``__traceback_hide__``, with
DEBUG on and off. So methods whose arguments may be secrets set it, and load the session first.
"""

import logging
import math
from asyncio import _get_running_loop
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar, cast

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.utils.asyncio import async_unsafe

from sessions_kms.concurrency.finishing import Finisher
from sessions_kms.concurrency.waits import BlockingCall, Wait
from sessions_kms.exceptions import StoreUnavailable

if TYPE_CHECKING:
    from sessions_kms.services import Services

logger = logging.getLogger("sessions_kms")

EXPIRY: Final = "_session_expiry"  # where Django stores the argument of `set_expiry`
Verb = Literal["load", "exists", "create", "save", "cycle_key", "delete"]
POOL: Final = (
    "sessions_kms-overrides"  # separate: these calls may wait for each other, and for ours
)
WRITES_MAX: Final = 1024  # running in one process, including those that wait for each other

T = TypeVar("T")


def forbid_in_event_loop() -> None:
    """Raise SynchronousOnlyOperation in an event loop, which session I/O would block.

    A call rather than a decorator, whose frame would hold the arguments. Django's check runs only
    in a loop: it raises and catches an error where there is none.
    """
    if _get_running_loop() is not None:
        _check_async_unsafe()


@async_unsafe(
    "The session does I/O: use its async methods (aget, aset, asave, ...) in an async view."
)
def _check_async_unsafe() -> None:
    """Do nothing if Django allows it."""


class AsyncMethods(SessionBase):
    """A session whose async methods never block the loop; subclasses have the coroutines."""

    if TYPE_CHECKING:
        _session_cache: dict[str, Any]

        def _get_preparation(self) -> Wait | None: ...
        def _is_sync_only(self, verb: Verb) -> bool: ...
        async def _get_content(self, no_load: bool = False) -> dict[str, Any]: ...
        async def _load(self) -> dict[str, Any]: ...
        async def _exists(self, session_key: str) -> bool: ...
        async def _create(self) -> None: ...
        async def _save(self, must_create: bool = False) -> None: ...
        async def _cycle(self) -> None: ...
        async def _delete(self, session_key: str | None = None) -> None: ...

    async def _aget_session(self, no_load: bool = False) -> dict[str, Any]:
        __traceback_hide__ = True
        self.accessed = True
        if hasattr(self, "_session_cache"):
            return self._session_cache
        if self.session_key is None:  # Nothing to load.
            return await self._get_content(no_load)
        await self._prepare()
        return await self._get_content(no_load)

    async def aload(self) -> dict[str, Any]:
        __traceback_hide__ = True
        return await self._read("load", self._load)

    async def aexists(self, session_key: str) -> bool:
        __traceback_hide__ = True
        return await self._read("exists", self._exists, session_key)

    async def acreate(self) -> None:
        __traceback_hide__ = True
        await self._finish_write("create", self._create)

    async def asave(self, must_create: bool = False) -> None:
        __traceback_hide__ = True
        await self._finish_write("save", self._save, must_create)

    async def acycle_key(self) -> None:
        __traceback_hide__ = True
        await self._finish_write("cycle_key", self._cycle)

    async def adelete(self, session_key: str | None = None) -> None:
        __traceback_hide__ = True
        await self._finish_write("delete", self._delete, session_key)

    async def _read(
        self, verb: Verb, method: Callable[..., Coroutine[Any, Any, T]], *args: Any
    ) -> T:
        __traceback_hide__ = True
        await self._prepare()
        return await self._dispatch(verb, method, *args)

    async def _finish_write(
        self, verb: Verb, method: Callable[..., Coroutine[Any, Any, None]], *args: Any
    ) -> None:
        __traceback_hide__ = True
        await self._prepare()
        await _writes.finish(self._dispatch(verb, method, *args))

    async def _prepare(self) -> None:
        if (wait := self._get_preparation()) is not None:
            await wait

    async def _dispatch(
        self, verb: Verb, method: Callable[..., Coroutine[Any, Any, T]], *args: Any
    ) -> T:
        """Call this method, or in a thread the sync method that a project overrides it with."""
        __traceback_hide__ = True
        if self._is_sync_only(verb):
            return cast("T", await in_a_thread(self, verb, *args))
        return await method(*args)


class ProjectMethod(Wait):
    """A call of a method that a project may override."""

    __slots__ = ("_args", "_session", "_verb")

    def __init__(self, session: SessionBase, verb: Verb, args: tuple[Any, ...]) -> None:
        self._session = session
        self._verb = verb
        self._args = args

    def block(self) -> Any:
        """Call it in this thread."""
        return getattr(self._session, self._verb)(*self._args)

    async def suspend(self) -> Any:
        """Await its async version."""
        return await getattr(self._session, f"a{self._verb}")(*self._args)


def in_a_thread(session: SessionBase, verb: Verb, *args: Any) -> BlockingCall:
    """Return the call of a project's sync method, in a pool for such calls only."""
    return BlockingCall(getattr(session, verb), args, pool=POOL)


def is_sync_only(of: type, engine: type, verb: Verb) -> bool:
    """Return True if a subclass of the engine overrides a verb, and not its async twin."""
    return of is not engine and (
        _overrides(of, engine, verb) and not _overrides(of, engine, f"a{verb}")
    )


def is_overridden(of: type, engine: type, verb: Verb) -> bool:
    """Return True if a subclass of the engine overrides a verb or its async twin."""
    return of is not engine and (_overrides(of, engine, verb) or _overrides(of, engine, f"a{verb}"))


def _overrides(of: type, engine: type, name: str) -> bool:
    return getattr(of, name) is not getattr(engine, name)


class Expiry(SessionBase):
    """A session that ends at its idle or its absolute timeout, whichever comes first.

    The class that mixes it in has services, and ``created``: when the absolute timeout began.
    """

    if TYPE_CHECKING:
        # What it needs, and two methods that are missing in Django's stubs.

        @property
        def _services(self) -> "Services": ...

        def created(self) -> int | None: ...

        def _get_session(self, no_load: bool = False) -> dict[str, Any]: ...

        async def _aget_session(self, no_load: bool = False) -> dict[str, Any]: ...

    def get_expiry_age(self, **kwargs: Any) -> int:
        """Return the seconds until the session ends, as Django does, below the absolute cap."""
        kwargs.setdefault("modification", moment(self._services.clock()))
        age: int = math.floor(super().get_expiry_age(**kwargs))
        end = self._absolute_end(kwargs["modification"].timestamp())
        if end is not None:
            age = min(age, math.floor(end - kwargs["modification"].timestamp()))
        return age

    def get_expiry_date(self, **kwargs: Any) -> datetime:
        """Return when the session ends, as Django does, below the absolute cap."""
        kwargs.setdefault("modification", moment(self._services.clock()))
        date = super().get_expiry_date(**kwargs)
        end = self._absolute_end(kwargs["modification"].timestamp())
        if end is None or date.timestamp() <= end:
            return date
        return datetime.fromtimestamp(end, tz=date.tzinfo)

    async def aget_expiry_age(self, **kwargs: Any) -> int:
        if "expiry" not in kwargs:
            await self._aget_session()
        return self.get_expiry_age(**kwargs)

    async def aget_expiry_date(self, **kwargs: Any) -> datetime:
        if "expiry" not in kwargs:
            await self._aget_session()
        return self.get_expiry_date(**kwargs)

    def absolute_end(self) -> datetime | None:
        """Return when the session ends at the latest, in UTC; None without an absolute timeout."""
        self._get_session()
        end = self._absolute_end(self._services.clock())
        return None if end is None else datetime.fromtimestamp(end, tz=UTC)

    def _absolute_end(self, now: float) -> float | None:
        timeout = self._services.config.absolute_timeout
        if timeout is None:
            return None
        created = self.created()
        return (math.floor(now) if created is None else created) + timeout


class Lifetime(NamedTuple):
    """The two limits, in seconds: of idle sessions without their own expiry, and of all.

    ``cookie_age`` returns the former for a session's content.
    """

    cookie_age: Callable[[Mapping[str, Any]], float]
    absolute: int | None

    def idle_age(self, content: Mapping[str, Any], now: float) -> int:
        """Return Django's expiry age from a time, whatever the absolute timeout."""
        expiry = content.get(EXPIRY)
        if not expiry:
            return math.floor(self.cookie_age(content))
        return math.floor(_django.get_expiry_age(modification=moment(now), expiry=expiry))

    def ttl(self, content: Mapping[str, Any], now: float, created_at: int) -> int:
        """Return the epoch second at which a session ends if it is saved at a time."""
        ends = math.floor(now + self.idle_age(content, now))
        return max(0, ends if self.absolute is None else min(ends, created_at + self.absolute))

    def is_about(self, end: int, content: Mapping[str, Any], now: float, created_at: int) -> bool:
        """Return True if a session that ends then need not be saved for its end.

        A save would move the end by at most a tenth of the idle timeout, and not to the absolute
        end.
        """
        new = self.ttl(content, now, created_at)
        if self.absolute is not None and new == created_at + self.absolute:
            return new == end
        return abs(new - end) * 10 <= self.idle_age(content, now)


def moment(now: float) -> datetime:
    """Return a time in the form in which Django keeps expiry dates: aware with USE_TZ only."""
    return datetime.fromtimestamp(now, tz=UTC if settings.USE_TZ else None)


class _Django(SessionBase):
    """Django's expiry arithmetic, for a given expiry."""

    def __init__(self) -> None:
        """Read no settings: it is created on import."""


_django = _Django()


class Redaction(SessionBase):
    """Session methods whose frames show neither values nor defaults in error reports."""

    if TYPE_CHECKING:  # Missing in Django's stubs.

        def _get_session(self, no_load: bool = False) -> dict[str, Any]: ...

        async def _aget_session(self, no_load: bool = False) -> dict[str, Any]: ...

    def __setitem__(self, key: str, value: Any) -> None:
        __traceback_hide__ = True
        self._get_session()
        super().__setitem__(key, value)

    def get(self, key: str, default: Any = None) -> Any:
        __traceback_hide__ = True
        return self._get_session().get(key, default)

    def pop(self, *args: Any, **kwargs: Any) -> Any:
        __traceback_hide__ = True
        self._get_session()
        return super().pop(*args, **kwargs)

    def setdefault(self, key: str, value: Any) -> Any:  # type: ignore[override]  # as Django's
        __traceback_hide__ = True
        self._get_session()
        return super().setdefault(key, value)

    def update(self, dict_: Mapping[str, Any]) -> None:  # type: ignore[override]  # as Django's
        __traceback_hide__ = True
        self._get_session()
        super().update(dict_)

    async def aset(self, key: str, value: Any) -> None:
        __traceback_hide__ = True
        await self._aget_session()
        await super().aset(key, value)

    async def aget(self, key: str, default: Any = None) -> Any:
        __traceback_hide__ = True
        return (await self._aget_session()).get(key, default)

    async def apop(self, *args: Any, **kwargs: Any) -> Any:
        __traceback_hide__ = True
        await self._aget_session()
        return await super().apop(*args, **kwargs)

    async def asetdefault(self, key: str, value: Any) -> Any:
        __traceback_hide__ = True
        await self._aget_session()
        return await super().asetdefault(key, value)

    async def aupdate(self, dict_: Mapping[str, Any]) -> None:  # type: ignore[override]  # as Django's
        __traceback_hide__ = True
        await self._aget_session()
        await super().aupdate(dict_)


def _log_failure(error: BaseException) -> None:
    logger.error("A session write of a cancelled request failed: %s", type(error).__name__)


def _get_busy_error() -> StoreUnavailable:
    return StoreUnavailable("Too many wait for the session store.")


_writes = Finisher(WRITES_MAX, on_error=_log_failure, busy=_get_busy_error)
