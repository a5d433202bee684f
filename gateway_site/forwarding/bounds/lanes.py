"""The threads that Django runs in, and the lines of the requests that wait for one."""

from __future__ import annotations

from asyncio import get_running_loop
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from django.conf import settings
from django.http.response import HttpResponseBase

from gateway_site.edge.client import Client, Scope
from gateway_site.forwarding.bounds.gate import PATIENCE, Gate, Place
from oauth import EXCHANGES_MAX
from oauth.provider import config
from sessions_kms.concurrency.executors import in_thread

# For calls, and as many for pages: the database's pool has a connection for each.
THREADS = 16
# What waits for a provider holds none of the database's connections.
PROVIDER_THREADS = 32
# Seconds: a person waits longer for a sign-in than a program for a call. A provider that takes
# 4 seconds gets through 60 sign-ins in that time, so many at once as may be exchanged.
PROVIDER_PATIENCE = 15.0

# Threads of OAuth clients and their people, whose addresses have names that begin so. A client's
# document may be slow, and anybody may name one: those who wait for it hold up no client that
# refreshes its tokens, and no other consent.
CLIENTS = "oauth_clients_"
CLIENT_THREADS = 16
CONSENT_THREADS = 16
DOCUMENT_THREADS = 8  # as many as documents are fetched at once
WAITS_FOR_DOCUMENT = "waits_for_document"  # of a view: takes method, query and Sec-Fetch-Site

Work = Callable[[], HttpResponseBase]
T = TypeVar("T")
View = TypeVar("View", bound=Callable[..., HttpResponseBase])

ATTRIBUTE = "_provider_asked"


def asks(provider: Callable[[], str | None]) -> Callable[[View], View]:
    """Mark a page that asks a provider, whose name is found out at each request (None: not now)."""

    def mark(view: View) -> View:
        setattr(view, ATTRIBUTE, provider)
        return view

    return mark


def provider_asked_by(view: Callable[..., object]) -> str | None:
    """Return the provider that a page asks at this moment, if it is marked."""
    provider: Callable[[], str | None] | None = getattr(view, ATTRIBUTE, None)
    return None if provider is None else provider()


class Lane:
    """So many threads, and a line in front of them."""

    def __init__(self, name: str, threads: int, patience: float = PATIENCE) -> None:
        self._gate = Gate(threads, patience)
        # Threads that stay: the event loop would wait for the end of one made for each request.
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, client: Client, work: Work) -> HttpResponseBase:
        """Return what the work does. Raises Busy and ClientGone before it has begun."""
        async with self.place(client):
            client.start_work()
            return await self.in_thread(work)

    def place(self, client: Client) -> Place:
        """Return a place to hold within a block, which leaves a thread for `in_thread`."""
        return self._gate.place(client)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do work of who has a place, in a thread; return its result."""
        return await in_thread(self._threads, work)

    async def apart(self, work: Callable[[], T]) -> T:
        """Do the same, for work that sees the context of this task and leaves nothing in it."""
        __traceback_hide__ = True
        seen = copy_context()
        return await get_running_loop().run_in_executor(self._threads, seen.run, work)


class ProviderLane:
    """Threads for what asks a provider, of which no single provider can take all."""

    def __init__(self) -> None:
        self._lane = Lane("gateway-providers", PROVIDER_THREADS, PROVIDER_PATIENCE)
        self._gates: defaultdict[str, Gate] = defaultdict(
            lambda: Gate(EXCHANGES_MAX, PROVIDER_PATIENCE)
        )

    async def run(self, client: Client, work: Work, *, provider: str) -> HttpResponseBase:
        """Return what the work does. Raises Busy and ClientGone before it has begun."""
        # Anybody can make names up: they share one line.
        name = provider if config.provider(provider) is not None else ""
        async with self._gates[name].place(client):
            return await self._lane.run(client, work)


class ClientLanes:
    """Threads for OAuth clients: for programs, for consents, and for waiting for a document."""

    def __init__(self) -> None:
        self._programs = Lane("gateway-clients", CLIENT_THREADS, PROVIDER_PATIENCE)
        self._consents = Lane("gateway-consents", CONSENT_THREADS, PROVIDER_PATIENCE)
        self._documents = Lane("gateway-documents", DOCUMENT_THREADS, PROVIDER_PATIENCE)

    def choose(self, view: Callable[..., object], scope: Scope) -> Lane:
        """Return the lane of a request; nothing is fetched for a browser without a session."""
        waits: Callable[[str, str, str], bool] | None = getattr(view, WAITS_FOR_DOCUMENT, None)
        if waits is None:
            return self._programs
        query, site = scope["query_string"].decode("latin-1"), _header(scope, b"sec-fetch-site")
        if settings.SESSION_COOKIE_NAME not in _header(scope, b"cookie"):
            return self._consents
        return self._documents if waits(scope["method"], query, site) else self._consents


def _header(scope: Scope, name: bytes) -> str:
    """Return the values of a header field as Django joins them."""
    return b",".join(value for each, value in scope["headers"] if each == name).decode("latin-1")
