"""What a page shows, read in the event loop before Django's own code runs there.

A view is marked with what it reads, each under a name (`prefetches`). The user and all results,
errors too, are left in the ASGI scope. The view takes each once (`take_prefetched`); what was not
prefetched it reads itself, in a thread. A prefetch that finds that its page requires a thread
raises RequiresThread, before more is read.
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
from gateway_site.forwarding.middleware_run import require_thread, without_io
from gateway_site.forwarding.user_cache import USER_ATTRIBUTE, user_cache

PAGE_KEY = "gateway.page"  # in the scope
PREFETCHES = "_gateway_reads"  # the view's
SAFE_METHODS = frozenset({"GET", "HEAD"})
USER = "who"

T = TypeVar("T")
View = Callable[..., HttpResponseBase]


class InThread(Protocol):
    """Runs blocking work in a thread, and returns its result."""

    async def __call__(self, work: Callable[[], T], /) -> T: ...


@dataclass(frozen=True)
class PageRequest:
    """Who requests a page, and how. `database` runs database queries in a thread."""

    user: AbstractBaseUser
    session: Mapping[str, Any] = field(repr=False)  # what it holds
    session_key: str = field(repr=False)
    query_string: bytes = field(repr=False)
    database: InThread = field(repr=False)

    def query(self) -> QueryDict:
        """Return the query's parameters. Raises TooManyFieldsSent, as Django's own does."""
        return QueryDict(self.query_string)


Prefetch = Callable[[PageRequest], Awaitable[Any]]


class PrefetchedPage:
    """What was read for one page of one session; each result can be taken once."""

    def __init__(self, session_key: str) -> None:
        self._session_key = session_key
        self._found: dict[str, Any] = {}
        self._errors: dict[str, Exception] = {}

    async def read(self, name: str, reading: Awaitable[T]) -> T | None:
        """Await a result and store it; an error is raised to the taker, and None returned."""
        __traceback_hide__ = True
        try:
            found = self._found[name] = await reading
        except Exception as error:  # noqa: BLE001 - raised again by take()
            self._errors[name] = error
            return None
        return found

    def has(self, name: str, session_key: str | None) -> bool:
        """Return True if there is a result for a session; its key may have changed since."""
        __traceback_hide__ = True
        is_there = name in self._found or name in self._errors
        return is_there and self._session_key == session_key

    def take(self, name: str) -> Any:
        """Return a result, or raise its error."""
        __traceback_hide__ = True
        error = self._errors.pop(name, None)
        try:
            if error is not None:
                raise error
            return self._found.pop(name)
        finally:
            error = None  # Its traceback has this frame: each would keep the other.

    def drop(self) -> None:
        """Drop all results: the traceback of an error refers back to this object."""
        self._found.clear()
        self._errors.clear()


def prefetches(**reads: Prefetch) -> Callable[[View], View]:
    """Mark a view by what it takes; besides that it waits only for the session and its user."""

    def mark(view: View) -> View:
        @wraps(view)
        def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            _set_user(request)
            return view(request, *args, **kwargs)

        setattr(wrapper, PREFETCHES, reads)
        return without_io(wrapper)

    return mark


def is_personal(view: Callable[..., object], method: str) -> bool:
    """Return True if a page's duration depends on its person's data: it shows or changes it."""
    return hasattr(view, PREFETCHES) or method not in SAFE_METHODS


def prefetches_of(view: Callable[..., object], method: str) -> Mapping[str, Prefetch] | None:
    """Return the prefetches of a view; None if it cannot run in the event loop.

    An operator's own templates may query anything, and a template's condition treats every error as
    false: nobody would notice that it requires a thread.
    """
    found: Mapping[str, Prefetch] | None = getattr(view, PREFETCHES, None)
    has_own_templates = any(engine["DIRS"] for engine in settings.TEMPLATES)
    return found if method in SAFE_METHODS and not has_own_templates else None


async def prefetch_page(
    scope: dict[str, Any],
    content: Mapping[str, Any],
    reads: Mapping[str, Prefetch],
    in_thread: InThread,
) -> None:
    """Leave the user of a session with this content in the scope, and all results for them.

    Nothing, if nobody is signed in or Django has to look the user up; and nothing after a failed
    read, where the page may end. Raises RequiresThread.
    """
    __traceback_hide__ = True
    session_key = own_cookies.cookies_of(scope).get(settings.SESSION_COOKIE_NAME)
    if session_key is None or content.get(SESSION_KEY) is None:
        return
    left = scope[PAGE_KEY] = PrefetchedPage(session_key)
    database = with_connection(in_thread)
    if (user := await left.read(USER, find_user(content, database))) is None:
        return
    page_request = PageRequest(user, content, session_key, scope.get("query_string", b""), database)
    for name, load in reads.items():
        if await left.read(name, load(page_request)) is None:
            return


async def find_user(content: Mapping[str, Any], database: InThread) -> AbstractBaseUser | None:
    """Return the active user of a session. Raises django.db.OperationalError."""
    __traceback_hide__ = True
    return user_cache().cached_user(content) or await database(
        partial(user_cache().load_user, content)
    )


def drop_prefetched(scope: Mapping[str, Any]) -> None:
    """Drop the results in a scope that were not taken."""
    if (left := scope.get(PAGE_KEY)) is not None:
        left.drop()


def take_prefetched(request: HttpRequest, name: str, otherwise: Callable[[], T]) -> T:
    """Return a prefetched result once, or raise its error; read it otherwise."""
    if (left := _prefetched(request, name)) is not None:
        found: T = left.take(name)
        return found
    require_thread(request)
    return otherwise()


def _set_user(request: HttpRequest) -> None:
    """Set the prefetched user, or raise the error of looking them up."""
    if PAGE_KEY not in getattr(request, "scope", {}):
        return
    request.session.get(SESSION_KEY)  # It is loaded then, and has the key that it will keep.
    if (left := _prefetched(request, USER)) is not None and (user := left.take(USER)) is not None:
        setattr(request, USER_ATTRIBUTE, user)
        request.user = user  # itself: asking Django's stand-in is slow


def _prefetched(request: HttpRequest, name: str) -> PrefetchedPage | None:
    """Return the results for a request's session, if there is one of this name."""
    left: PrefetchedPage | None = getattr(request, "scope", {}).get(PAGE_KEY)
    return left if left is not None and left.has(name, request.session.session_key) else None


def with_connection(in_thread: InThread) -> InThread:
    """Return a runner of database queries that gives the connection back."""

    async def database(work: Callable[[], T], /) -> T:
        __traceback_hide__ = True
        return await in_thread(partial(_run_with_connection, work))

    return database


def _run_with_connection(work: Callable[[], T]) -> T:
    """Run database queries like a request of its own: the connection is given back."""
    __traceback_hide__ = True
    reset_queries()
    close_old_connections()
    try:
        return work()
    finally:
        close_old_connections()
