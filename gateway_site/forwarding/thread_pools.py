"""The threads that Django runs in, and the fair queues in front of them.

A request waits for its turn, and is answered 503 if that takes too long: a response that comes
after its client has given up helps nobody and delays all others. Waiting requests are served in
rotation by address and credentials (`Client.key`), so that nobody fills the queue.
"""

import asyncio
import logging
from asyncio import FIRST_COMPLETED, get_running_loop
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar
from weakref import WeakValueDictionary

from django.conf import settings
from django.http.response import HttpResponseBase

from gateway_site.edge.client import Client, ClientGone, Scope
from gateway_site.edge.reports import Tally
from gateway_site.transport.places import FairQueue
from oauth import EXCHANGES_MAX
from oauth.mcp.servers import find_server
from oauth.provider import config
from sessions_kms.concurrency.threads import in_thread

QUEUE_TIMEOUT = 2.0  # seconds
UNAVAILABLE = "The service is temporarily unavailable. Please try again in a few seconds."
BUSY = "Too many requests are waiting. Try again in a few seconds."

logger = logging.getLogger(__name__)
shed = Tally(logger, "%d requests were answered 503: they had waited too long for their turn.")


class QueueTimeout(Exception):
    """All permits were taken for too long."""


class FairSemaphore:
    """A number of permits with a fair queue in front of them. For one event loop."""

    def __init__(self, permits: int, timeout: float = QUEUE_TIMEOUT) -> None:
        self._free = permits
        self._timeout = timeout
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()

    def permit(self, client: Client) -> "Permit":
        """Return a permit to hold within a block."""
        return Permit(self, client)

    async def acquire(self, client: Client) -> None:
        """Take a permit. Raises QueueTimeout, and ClientGone if the client disconnects."""
        if not self.try_acquire():
            await self._wait(client)

    def try_acquire(self) -> bool:
        """Take a permit if one is free."""
        if not self._free:
            return False
        self._free -= 1
        return True

    async def _wait(self, client: Client) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter, client.key())
        gone = asyncio.ensure_future(client.wait_gone())
        is_next = False
        try:
            await asyncio.wait({waiter, gone}, timeout=self._timeout, return_when=FIRST_COMPLETED)
            has_gone = gone.done()
            is_next = waiter.done() and not has_gone
        finally:  # cancelled, too
            gone.cancel()
            if not is_next:
                self._give_up(waiter)
        if has_gone:
            raise ClientGone
        if not is_next:
            raise QueueTimeout

    def _give_up(self, waiter: asyncio.Future[None]) -> None:
        if waiter.done():
            self.release()
        else:
            self._waiting.discard(waiter)

    def release(self) -> None:
        """Pass the permit to the next in the queue, or free it."""
        if self._waiting:
            self._waiting.pop().set_result(None)
        else:
            self._free += 1


class Permit:
    """One permit, held within a block or until it is released earlier."""

    def __init__(self, semaphore: FairSemaphore, client: Client) -> None:
        self._semaphore = semaphore
        self._client = client
        self._is_held = False

    async def __aenter__(self) -> "Permit":
        if not self.try_acquire():
            await self._semaphore.acquire(self._client)
            self._is_held = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()

    def try_acquire(self) -> bool:
        """Take the permit if one is free; return whether it was."""
        self._is_held = self._semaphore.try_acquire()
        return self._is_held

    def release(self) -> None:
        """Give the permit back. Calling this again has no effect."""
        if self._is_held:
            self._is_held = False
            self._semaphore.release()


class UserSemaphores:
    """A semaphore for each person, who may have many sessions, tabs and addresses."""

    def __init__(self, permits: int, timeout: float = QUEUE_TIMEOUT) -> None:
        self._places = permits
        self._timeout = timeout
        # Its permits keep a semaphore.
        self._semaphores: WeakValueDictionary[str, FairSemaphore] = WeakValueDictionary()

    def permit(self, person: str | None, client: Client) -> Permit:
        """Return a permit of a person; if nobody is signed in, one that is always free."""
        semaphore = None if person is None else self._semaphores.get(person)
        if semaphore is None:
            semaphore = FairSemaphore(self._places, self._timeout)
            if person is not None:
                self._semaphores[person] = semaphore
        return semaphore.permit(client)

    def __len__(self) -> int:
        return len(self._semaphores)


# For calls, and as many for pages: the database's pool has a connection for each.
THREADS = 16
# For the sign-in page, so that slow lists never delay a sign-in. The calls' connections suffice for
# these: a call holds one only for a query.
SIGN_IN_THREADS = 4
# Requests that wait for a provider hold no database connection.
PROVIDER_THREADS = 32
# Seconds: a person waits longer for a sign-in than a program for a call. A provider that takes
# 4 seconds completes 60 sign-ins in that time, given the number that may run at once.
PROVIDER_QUEUE_TIMEOUT = 15.0

# Prefix of the URL names that OAuth clients and their people call. A client's document may be slow,
# and anybody may name one: waiting for it must not delay clients that refresh tokens, or consents.
CLIENT_VIEWS = "oauth_clients_"
CLIENT_THREADS = 16
CONSENT_THREADS = 16
DOCUMENT_THREADS = 8  # as many as documents are fetched at once
WAITS_FOR_DOCUMENT = "waits_for_document"  # of a view: takes method, query and Sec-Fetch-Site
CONNECTED_SERVER = "connected_server"  # of a view: takes method and query, returns a name or None

Work = Callable[[], HttpResponseBase]
T = TypeVar("T")
View = TypeVar("View", bound=Callable[..., HttpResponseBase])

PROVIDER_ATTRIBUTE = "_provider_asked"
PERSONAL = "_gateway_personal"  # of a view
SAFE_METHODS = frozenset({"GET", "HEAD"})


def personal(view: View) -> View:
    """Mark a page whose duration depends on its person's data."""
    setattr(view, PERSONAL, True)
    return view


def is_personal(view: Callable[..., object], method: str) -> bool:
    """Return True if a page shows or changes its person's data."""
    return hasattr(view, PERSONAL) or method not in SAFE_METHODS


def calls_provider(provider: Callable[[], str | None]) -> Callable[[View], View]:
    """Mark a page that calls a provider; `provider` returns its name, or None for no call."""

    def mark(view: View) -> View:
        setattr(view, PROVIDER_ATTRIBUTE, provider)
        return view

    return mark


def provider_called_by(view: Callable[..., object]) -> str | None:
    """Return the provider that a marked page would call now."""
    provider: Callable[[], str | None] | None = getattr(view, PROVIDER_ATTRIBUTE, None)
    return None if provider is None else provider()


class ThreadPool:
    """A number of threads, and a fair queue in front of them."""

    def __init__(self, name: str, threads: int, timeout: float = QUEUE_TIMEOUT) -> None:
        self._semaphore = FairSemaphore(threads, timeout)
        # A permanent pool: with a thread per request the event loop would wait for each one's end.
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, client: Client, work: Work) -> HttpResponseBase:
        """Run work in a thread. Raises QueueTimeout and ClientGone before it has begun."""
        async with self.permit(client):
            client.start_work()
            return await self.in_thread(work)

    def permit(self, client: Client) -> Permit:
        """Return a permit to hold within a block, which keeps a thread for `in_thread`."""
        return self._semaphore.permit(client)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run work of a permit holder in a thread; return its result."""
        return await in_thread(self._threads, work)

    async def run_with_context(self, work: Callable[[], T]) -> T:
        """Like `in_thread`, with a copy of this task's context, which the work cannot change."""
        __traceback_hide__ = True
        seen = copy_context()
        return await get_running_loop().run_in_executor(self._threads, seen.run, work)


class ProviderThreadPool:
    """Threads for requests that call a provider. No single provider can take all of them."""

    def __init__(self) -> None:
        self._lane = ThreadPool("gateway-providers", PROVIDER_THREADS, PROVIDER_QUEUE_TIMEOUT)
        self._semaphores: defaultdict[str, FairSemaphore] = defaultdict(
            lambda: FairSemaphore(EXCHANGES_MAX, PROVIDER_QUEUE_TIMEOUT)
        )

    async def run(self, client: Client, work: Work, *, provider: str) -> HttpResponseBase:
        """Run work in a thread. Raises QueueTimeout and ClientGone before it has begun."""
        # Anybody can make names up: they share one queue.
        is_known = config.find_provider(provider) or find_server(provider)
        name = provider if is_known is not None else ""
        async with self._semaphores[name].permit(client):
            return await self._lane.run(client, work)


class ClientThreadPools:
    """Threads for OAuth clients: for programs, for consents, and for waiting for a document."""

    def __init__(self) -> None:
        self._programs = ThreadPool("gateway-clients", CLIENT_THREADS, PROVIDER_QUEUE_TIMEOUT)
        self._consents = ThreadPool("gateway-consents", CONSENT_THREADS, PROVIDER_QUEUE_TIMEOUT)
        self._documents = ThreadPool("gateway-documents", DOCUMENT_THREADS, PROVIDER_QUEUE_TIMEOUT)

    def choose(self, view: Callable[..., object], scope: Scope) -> ThreadPool:
        """Return the pool of a request. Nothing is fetched for a browser without a session."""
        waits: Callable[[str, str, str], bool] | None = getattr(view, WAITS_FOR_DOCUMENT, None)
        if waits is None:
            return self._programs
        query, site = (
            scope["query_string"].decode("latin-1"),
            _joined_header(scope, b"sec-fetch-site"),
        )
        if settings.SESSION_COOKIE_NAME not in _joined_header(scope, b"cookie"):
            return self._consents
        return self._documents if waits(scope["method"], query, site) else self._consents


def connected_server(view: Callable[..., object], scope: Scope) -> str | None:
    """Return the MCP server that a client's page may ask; "" for one of several, None for none."""
    asks: Callable[[str, str], str | None] | None = getattr(view, CONNECTED_SERVER, None)
    return None if asks is None else asks(scope["method"], scope["query_string"].decode("latin-1"))


def _joined_header(scope: Scope, name: bytes) -> str:
    """Return the values of a header, joined as Django joins them."""
    return b",".join(value for each, value in scope["headers"] if each == name).decode("latin-1")
