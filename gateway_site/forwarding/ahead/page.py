"""What a page shows, read in the event loop before Django asks for it.

A view is marked with what it reads, each under a name (`reads_ahead`). Who asks and what was read
are left in the ASGI scope, errors too, and nowhere else: no other request comes upon them. The
view takes each once (`taken`); where nothing was left it reads for itself, in a thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, Protocol, TypeVar

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import close_old_connections
from django.http import HttpRequest, QueryDict
from django.http.response import HttpResponseBase

from gateway_site.edge import own_cookies
from gateway_site.forwarding.passage import wait_in_thread, without_io
from gateway_site.forwarding.people import FOUND, people

KEY = "gateway.page"  # in the scope
ATTRIBUTE = "_gateway_reads"  # the view's
METHODS = frozenset({"GET", "HEAD"})
WHO = "who"

T = TypeVar("T")
View = Callable[..., HttpResponseBase]


class InThread(Protocol):
    """Does blocking work in a thread, and returns its result."""

    async def __call__(self, work: Callable[[], T], /) -> T: ...


@dataclass(frozen=True)
class Asked:
    """Who asks for a page, and how. ``database`` does in a thread what asks the database."""

    user: AbstractBaseUser
    session_key: str = field(repr=False)
    query: QueryDict = field(repr=False)
    database: InThread = field(repr=False)


Read = Callable[[Asked], Awaitable[Any]]


class PageAhead:
    """What was read for one page, of one session; each outcome for one taking."""

    def __init__(self, session_key: str) -> None:
        self._session_key = session_key
        self._outcomes: dict[str, Future[Any]] = {}

    async def read(self, name: str, reading: Awaitable[T]) -> T | None:
        """Read; what goes wrong is raised to who takes it, and None returned."""
        __traceback_hide__ = True
        outcome: Future[T] = Future()
        self._outcomes[name] = outcome
        try:
            found = await reading
        except Exception as error:  # noqa: BLE001 - whoever takes it gets it
            outcome.set_exception(error)
            return None
        outcome.set_result(found)
        return found

    def has(self, name: str, session_key: str | None) -> bool:
        """Tell whether something is there for a session; its key may have changed since."""
        __traceback_hide__ = True
        return name in self._outcomes and self._session_key == session_key

    def taken(self, name: str) -> Any:
        """Return what was read, or raise its error."""
        __traceback_hide__ = True
        return self._outcomes.pop(name).result()


def reads_ahead(**reads: Read) -> Callable[[View], View]:
    """Mark a view by what it takes; else it waits for nothing but the session and who has it."""

    def mark(view: View) -> View:
        @wraps(view)
        def reading(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            _introduce(request)
            return view(request, *args, **kwargs)

        setattr(reading, ATTRIBUTE, reads)
        return without_io(reading)

    return mark


def reads_of(view: Callable[..., object], method: str) -> Mapping[str, Read] | None:
    """Return what a view of this method reads ahead; None where it cannot run in the loop."""
    found: Mapping[str, Read] | None = getattr(view, ATTRIBUTE, None)
    return found if method in METHODS else None


async def read(
    scope: dict[str, Any],
    content: Mapping[str, Any],
    reads: Mapping[str, Read],
    in_thread: InThread,
) -> None:
    """Leave in a scope who has a session of this content, and what is read for them.

    Nothing, where nobody is signed in, or where Django must find out by itself who is.
    """
    __traceback_hide__ = True
    session_key = own_cookies.believed(scope).get(settings.SESSION_COOKIE_NAME)
    if session_key is None or content.get(SESSION_KEY) is None:
        return
    left = scope[KEY] = PageAhead(session_key)
    database = _of_database(in_thread)
    if (user := await left.read(WHO, _who(content, database))) is None:
        return
    asked = Asked(user, session_key, QueryDict(scope["query_string"]), database)
    for name, of in reads.items():
        await left.read(name, of(asked))


def taken(request: HttpRequest, name: str, otherwise: Callable[[], T]) -> T:
    """Return what was read ahead under a name, once, or raise its error; read it otherwise."""
    if (left := _left(request, name)) is not None:
        found: T = left.taken(name)
        return found
    wait_in_thread(request)
    return otherwise()


def _introduce(request: HttpRequest) -> None:
    """Have Django find who was read ahead, or raise what asking raised."""
    request.session.get(SESSION_KEY)  # It is loaded then, and has the key that it will keep.
    if (left := _left(request, WHO)) is not None and (user := left.taken(WHO)) is not None:
        setattr(request, FOUND, user)
        request.user = user  # itself: asking Django's stand-in is slow


def _left(request: HttpRequest, name: str) -> PageAhead | None:
    """Return what was left for the session of a request, if there is anything of this name."""
    left: PageAhead | None = getattr(request, "scope", {}).get(KEY)
    return left if left is not None and left.has(name, request.session.session_key) else None


async def _who(content: Mapping[str, Any], database: InThread) -> AbstractBaseUser | None:
    __traceback_hide__ = True
    return people().at_hand(content) or await database(partial(people().found, content))


def _of_database(in_thread: InThread) -> InThread:
    async def database(work: Callable[[], T], /) -> T:
        return await in_thread(partial(_connected, work))

    return database


def _connected(work: Callable[[], T]) -> T:
    """Do what asks the database; the thread gives its connection back, as after a request."""
    close_old_connections()
    try:
        return work()
    finally:
        close_old_connections()
