"""Fetches clients' metadata documents and their keys, and caches them for a while.

Takes a URL and the person for whom it is fetched; returns a client, or its keys. Since the URLs
come from clients, only signed-in people and their grants can cause fetches, and only a limited
number. Documents are fetched like those of providers (`oauth.network.http`): without redirects,
from public addresses only, limited in size and time. Of a document's URLs only that of its keys is
fetched, when its client authenticates. Failures are not cached; a rejected
document also removes the cached one (draft-ietf-oauth-client-id-metadata-document, "Metadata
Caching").
"""

import logging
import os
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any, Generic, TypeAlias, TypeVar
from urllib.parse import urlsplit

from oauth import formats
from oauth.clients.rules.client import Client, read_document
from oauth.clients.rules.errors import UnknownClient
from oauth.clients.server import AuthorizationServer
from oauth.codes import Code
from oauth.exceptions import ProviderUnavailable
from oauth.network import http
from oauth.network.concurrency import release_sql_connections
from oauth.network.responses import ProviderResponse, is_shallow
from oauth.provider.signing_keys import KeySet, parse_keys
from sessions_kms.concurrency.threads import BoundedPool, Refused

logger = logging.getLogger(__name__)

SIZE_MAX = 16 * 1024  # bytes
KEYS_SIZE_MAX = 64 * 1024  # bytes
FETCH_TIMEOUT = 5.0  # seconds for one fetch, from the look-up to the last byte
WAIT_MAX = FETCH_TIMEOUT + 1  # seconds for a fetch that another request started
FETCHES_MAX = 8  # of one process
PERSON_PER_MINUTE = 6  # fetches that one person may cause in one process
PERSON_FETCHES_MAX = 2  # at once, so that three people cannot use all of FETCHES_MAX
CACHE_SECONDS_MIN, CACHE_SECONDS_MAX = 300, 3600  # seconds for which a document is cached
CONSENT_CACHE_SECONDS = 300  # maximum age of a document, in seconds, at the decision
CACHE_MAX = 256
PEOPLE_MAX = 10_000
JSON = re.compile(r"application/(?:[a-z0-9.-]+\+)?json")
MAX_AGE = re.compile(r"(?:^|[\s,])max-age=\"?([0-9]{1,9})", re.IGNORECASE)
FORBIDS = re.compile(r"(?:^|[\s,])no-(?:store|cache)(?:$|[\s,])", re.IGNORECASE)
REMEDY = "Clients' documents are fetched from the Internet only."
KEYS_PREFIX = "keys "

T = TypeVar("T")
Fetch: TypeAlias = Callable[[], tuple[T, ProviderResponse]]


class DocumentUnavailable(Exception):
    """The document is unavailable now; the message is a fixed sentence with the reason."""


class DocumentMissing(UnknownClient):
    """The response was none with a document: the client's site may have failed."""


@dataclass(frozen=True)
class Cached(Generic[T]):
    """A client or its keys, and when they were fetched and will expire, by the clock."""

    content: T
    since: float
    until: float


class DocumentFetcher:
    """Fetches and caches the documents of one process."""

    def __init__(
        self,
        get: Callable[..., ProviderResponse] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._get = get or _get
        self._clock = clock
        self._lock = Lock()
        self._pool: BoundedPool[Cached[Any]] = BoundedPool(FETCHES_MAX)
        self._kept: dict[str, Cached[Any]] = {}  # by address, of keys with `KEYS_PREFIX`
        self._fetches: dict[str, deque[float]] = {}  # of each person, in the last minute
        self._waiting: Counter[str] = Counter()  # of each person, for a fetch

    def cached(self, address: str, max_age: float = CACHE_SECONDS_MAX) -> Client | None:
        """Return the cached client of a URL; None if it would have to be fetched."""
        kept = self._find(address, max_age)
        return None if kept is None else kept.content

    def now(self) -> float:
        """Return the time by the clock of the cache."""
        return self._clock()

    def load_client(
        self,
        server: AuthorizationServer,
        address: str,
        person: str,
        max_age: float = CACHE_SECONDS_MAX,
    ) -> Client:
        """Return the client of a URL; ``max_age`` is that of its document in seconds.

        Raises UnknownClient, DocumentUnavailable.
        """
        return self.load_document(server, address, person, max_age).content

    def load_document(
        self, server: AuthorizationServer, address: str, person: str, max_age: float
    ) -> Cached[Client]:
        """Return the same with the time of the fetch."""

        def fetch() -> tuple[Client, ProviderResponse]:
            response = self._get(address)
            return _read_client(server, address, response), response

        return self._load(address, person, max_age, fetch)

    def load_keys(self, address: str, person: str, max_age: float) -> Cached[KeySet]:
        """Return the keys of a `jwks_uri`. Raises DocumentUnavailable."""

        def fetch() -> tuple[KeySet, ProviderResponse]:
            response = self._get(address, KEYS_SIZE_MAX)
            return _read_keys(response), response

        return self._load(KEYS_PREFIX + address, person, max_age, fetch)

    def _load(self, name: str, person: str, max_age: float, fetch: Fetch[T]) -> Cached[T]:
        found: Cached[T] | None = self._find(name, max_age)
        if found is not None:
            return found
        with self._slot(person):
            return self._wait(name, self._begin(name, max_age, fetch))

    def _find(self, name: str, max_age: float) -> Cached[Any] | None:
        kept, now = self._kept.get(name), self._clock()
        if kept is None or kept.until <= now or now - kept.since > max_age:
            return None
        return kept

    def _begin(self, name: str, max_age: float, fetch: Fetch[T]) -> Future[Cached[T]]:
        """Join the fetch of a URL, or start one."""
        try:
            return self._pool.begin(name, partial(self._fetch, name, max_age, fetch))
        except Refused:
            raise DocumentUnavailable("Too many clients' documents are fetched at once.") from None

    def _wait(self, name: str, fetch: Future[Cached[T]]) -> Cached[T]:
        release_sql_connections()  # No SQL connection is held during the wait.
        try:
            return fetch.result(WAIT_MAX)
        except UnknownClient as refused:  # a separate error for each thread
            raise type(refused)(refused.description, refused.supported) from None
        except (ProviderUnavailable, TimeoutError) as failure:
            logger.warning(
                "The document of a client at %s was not fetched: %s",
                urlsplit(name.removeprefix(KEYS_PREFIX)).hostname,
                str(failure) or "It took too long.",
            )
            raise DocumentUnavailable("The client's document cannot be fetched now.") from None

    def _fetch(self, name: str, max_age: float, fetch: Fetch[T]) -> Cached[T]:
        found: Cached[T] | None = self._find(name, max_age)
        if found is not None:  # fetched since the caller looked for it
            return found
        began = self._clock()
        try:
            content, response = fetch()
        except UnknownClient:
            with self._lock:
                self._kept.pop(name, None)
            raise
        kept = Cached(content, began, began + cache_seconds(response.cache_control))
        with self._lock:
            if len(self._kept) >= CACHE_MAX:
                self._kept.clear()
            self._kept[name] = kept
        return kept

    @contextmanager
    def _slot(self, person: str) -> Iterator[None]:
        """Count a person's fetch while it runs, and for a minute.

        Raises DocumentUnavailable if the person has too many.
        """
        with self._lock:
            if self._waiting[person] >= PERSON_FETCHES_MAX:
                raise DocumentUnavailable(
                    "You asked for too many clients at once. Please wait a moment."
                )
            self._count(person)
            self._waiting[person] += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting[person] -= 1
                if not self._waiting[person]:
                    del self._waiting[person]

    def _count(self, person: str) -> None:
        now = self._clock()
        if len(self._fetches) >= PEOPLE_MAX:
            self._fetches.clear()
        own = self._fetches.setdefault(person, deque(maxlen=PERSON_PER_MINUTE))
        if len(own) == PERSON_PER_MINUTE and now - own[0] < 60:
            raise DocumentUnavailable(
                "You asked for too many clients in a minute. Please wait a moment."
            )
        own.append(now)


def _read_client(server: AuthorizationServer, address: str, response: ProviderResponse) -> Client:
    """Return the client of a response. Raises UnknownClient, or ProviderUnavailable."""
    if response.is_overloaded:
        raise ProviderUnavailable("The client's site cannot answer now.", Code.UNREACHABLE)
    if response.status != 200 or not JSON.fullmatch(response.media_type):
        raise DocumentMissing("The client's address gives no document of JSON.")
    try:
        members = formats.parse_json(response.body)
    except formats.InvalidJSON:
        raise UnknownClient("The client's document is not valid JSON.") from None
    if not isinstance(members, dict) or not is_shallow(members):
        raise UnknownClient("The client's document is no JSON object, or is nested too deeply.")
    return read_document(address, members, server.redirect_uris, server.document_methods)


def _read_keys(response: ProviderResponse) -> KeySet:
    """Return the usable keys of a response. Raises ProviderUnavailable."""
    try:
        members = formats.parse_json(response.body) if response.status == 200 else None
    except formats.InvalidJSON:
        members = None
    if not isinstance(members, dict) or not isinstance(members.get("keys"), list):
        raise ProviderUnavailable("The client's keys cannot be read.", Code.UNREACHABLE)
    return parse_keys(members["keys"])


def cache_seconds(cache_control: str) -> int:
    """Return for how many seconds a response may be cached (RFC 9111 section 5.2.2)."""
    match = MAX_AGE.search(cache_control)
    if match is None or FORBIDS.search(cache_control):
        return CACHE_SECONDS_MIN
    return min(max(int(match[1]), CACHE_SECONDS_MIN), CACHE_SECONDS_MAX)


def _get(address: str, max_bytes: int = SIZE_MAX) -> ProviderResponse:
    return http.get(address, timeout=FETCH_TIMEOUT, max_bytes=max_bytes, remedy=REMEDY)


def document_fetcher() -> DocumentFetcher:
    """Return this process's fetcher."""
    return _fetcher


def reset_fetcher() -> None:
    """Replace the fetcher by one with empty cache and counters."""
    global _fetcher  # noqa: PLW0603 - a forked child has none of the threads, and tests none
    _fetcher = DocumentFetcher()


_fetcher = DocumentFetcher()
os.register_at_fork(after_in_child=reset_fetcher)
