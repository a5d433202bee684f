"""Scans of the whole table, page by page, with a few threads that work on each page.

A scan keeps no state between pages: after a kill it starts again. A call that fails temporarily,
for example because it is throttled, is retried with pauses.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import KMSUnavailable, StoreUnavailable
from sessions_kms.format.attributes import Item
from sessions_kms.services import Services
from sessions_kms.storage.queries import Page

THREADS = 8  # calls at once: some hundred writes a second
ITEMS = 1000  # on a page, which has at most 1 MB
PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds between attempts

T = TypeVar("T")
R = TypeVar("R")


class TableScan:
    """Reads the table, and runs a function for each item of a page. Use it as a context manager."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="sessions_kms-scan")

    def __enter__(self) -> "TableScan":
        """Return the scan."""
        return self

    def __exit__(self, *_: object) -> None:
        """Finish the running calls and cancel the others."""
        self._pool.shutdown(cancel_futures=True)

    def pages(self, *, consistent: bool = False, whole: bool = False) -> Iterator[list[Item]]:
        """Yield all items of the table, without their ciphertext unless ``whole``.

        Raises TableUnavailable.
        """
        start: Item | None = None
        while True:
            page = self._retry(partial(self._page, start, consistent=consistent, whole=whole))
            yield page.items
            if page.next is None:
                return
            start = page.next

    def _page(self, start: Item | None, *, consistent: bool, whole: bool) -> Page:
        read = self._services.queries.scan(start, limit=ITEMS, consistent=consistent, whole=whole)
        return run_sync(read)

    def each(self, work: Callable[[T], R], things: Iterable[T]) -> list[R]:
        """Call a function with each thing, several at once; return the results in order.

        Raises StoreUnavailable after some seconds of retries.
        """
        return list(self._pool.map(lambda thing: self._retry(lambda: work(thing)), things))

    def _retry(self, call: Callable[[], R]) -> R:
        for pause in PAUSES:
            try:
                return call()
            except StoreUnavailable as exc:
                if isinstance(exc, KMSUnavailable) and exc.refused_key:
                    raise
            self._services.sleep(pause)
        return call()
