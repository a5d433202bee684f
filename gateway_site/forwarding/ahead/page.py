"""What a page shows, read in the event loop before Django asks for it.

A view is marked with what it reads, each under a name (`reads_ahead`). Who asks and what was read
are left in the ASGI scope, errors too, and nowhere else: no other request comes upon them. The
view takes each once (`taken`); where nothing was left it reads for itself, in a thread. A read that
sees that its page needs a thread raises NeedsThread, before more is read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, Protocol, TypeVar

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import close_old_connections, reset_queries
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
    session: Mapping[str, Any] = field(repr=False)  # what it holds
    session_key: str = field(repr=False)
    query_string: bytes = field(repr=False)
    database: InThread = field(repr=False)

    def query(self) -> QueryDict:
        """Return the parameters of the address. Raises TooManyFieldsSent, as Django's own does."""
        return QueryDict(self.query_string)


Read = Callable[[Asked], Awaitable[Any]]


class PageAhead:
    """What was read for one page, of one session; each outcome for one taking."""

    def __init__(self, session_key: str) -> None:
        self._session_key = session_key
        self._found: dict[str, Any] = {}
        self._errors: dict[str, Exception] = {}

    async def read(self, name: str, reading: Awaitable[T]) -> T | None:
        """Read; what goes wrong is raised to who takes it, and None returned."""
        __traceback_hide__ = True
        try:
            found = self._found[name] = await reading
        except Exception as error:  # noqa: BLE001 - whoever takes it gets it
            self._errors[name] = error
            return None
        return found

    def has(self, name: str, session_key: str | None) -> bool:
        """Tell whether something is there for a session; its key may have changed since."""
        __traceback_hide__ = True
        is_there = name in self._found or name in self._errors
        return is_there and self._session_key == session_key

    def taken(self, name: str) -> Any:
        """Return what was read, or raise its error."""
        __traceback_hide__ = True
        error = self._errors.pop(name, None)
        try:
            if error is not None:
                raise error
            return self._found.pop(name)
        finally:
            error = None  # Its traceback has this frame: each would keep the other.

    def drop(self) -> None:
        """Keep nothing: the traceback of an error that nobody took leads back to this."""
        self._found.clear()
        self._errors.clear()


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


def is_own(view: Callable[..., object], method: str) -> bool:
    """Return True if a page may take long by what its person has: it shows that, or changes it."""
    return hasattr(view, ATTRIBUTE) or method not in METHODS


def reads_of(view: Callable[..., object], method: str) -> Mapping[str, Read] | None:
    """Return what a view of this method reads ahead; None where it cannot run in the loop.

    An operator's own templates may ask for anything, and a condition of a template takes every
    error for a no: nobody would hear that it needs a thread.
    """
    found: Mapping[str, Read] | None = getattr(view, ATTRIBUTE, None)
    has_own_templates = any(engine["DIRS"] for engine in settings.TEMPLATES)
    return found if method in METHODS and not has_own_templates else None


async def read(
    scope: dict[str, Any],
    content: Mapping[str, Any],
    reads: Mapping[str, Read],
    in_thread: InThread,
) -> None:
    """Leave in a scope who has a session of this content, and what is read for them.

    Nothing, where nobody is signed in, or where Django must find out by itself who is; and nothing
    after what could not be read, where a page may end. Raises NeedsThread.
    """
    __traceback_hide__ = True
    session_key = own_cookies.believed(scope).get(settings.SESSION_COOKIE_NAME)
    if session_key is None or content.get(SESSION_KEY) is None:
        return
    left = scope[KEY] = PageAhead(session_key)
    database = of_database(in_thread)
    if (user := await left.read(WHO, who(content, database))) is None:
        return
    asked = Asked(user, content, session_key, scope.get("query_string", b""), database)
    for name, of in reads.items():
        if await left.read(name, of(asked)) is None:
            return


async def who(content: Mapping[str, Any], database: InThread) -> AbstractBaseUser | None:
    """Return the active person whose session holds this. Raises django.db.OperationalError."""
    __traceback_hide__ = True
    return people().at_hand(content) or await database(partial(people().found, content))


def drop(scope: Mapping[str, Any]) -> None:
    """Keep nothing of what was left in a scope and not taken."""
    if (left := scope.get(KEY)) is not None:
        left.drop()


def taken(request: HttpRequest, name: str, otherwise: Callable[[], T]) -> T:
    """Return what was read ahead under a name, once, or raise its error; read it otherwise."""
    if (left := _left(request, name)) is not None:
        found: T = left.taken(name)
        return found
    wait_in_thread(request)
    return otherwise()


def _introduce(request: HttpRequest) -> None:
    """Have Django find who was read ahead, or raise what asking raised."""
    if KEY not in getattr(request, "scope", {}):
        return
    request.session.get(SESSION_KEY)  # It is loaded then, and has the key that it will keep.
    if (left := _left(request, WHO)) is not None and (user := left.taken(WHO)) is not None:
        setattr(request, FOUND, user)
        request.user = user  # itself: asking Django's stand-in is slow


def _left(request: HttpRequest, name: str) -> PageAhead | None:
    """Return what was left for the session of a request, if there is anything of this name."""
    left: PageAhead | None = getattr(request, "scope", {}).get(KEY)
    return left if left is not None and left.has(name, request.session.session_key) else None


def of_database(in_thread: InThread) -> InThread:
    """Return what asks the database in a thread, and gives its connection back."""

    async def database(work: Callable[[], T], /) -> T:
        __traceback_hide__ = True
        return await in_thread(partial(_connected, work))

    return database


def _connected(work: Callable[[], T]) -> T:
    """Do what asks the database, as a request of its own: the connection is given back."""
    __traceback_hide__ = True
    reset_queries()
    close_old_connections()
    try:
        return work()
    finally:
        close_old_connections()
