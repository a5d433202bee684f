"""Passes over the whole table, page by page; the work on a page is shared by a few threads.

A pass keeps nothing between pages, so one that was killed is begun again. What fails
for a moment, such as a throttled call, is tried again with pauses.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import KMSUnavailable, StoreUnavailable
from sessions_kms.format.attributes import Item
from sessions_kms.services import Services
from sessions_kms.storage.table import Page

THREADS = 8  # calls at once: some hundred writes a second
ITEMS = 1000  # of a page, which is at most 1 MB
PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds between tries

T = TypeVar("T")
R = TypeVar("R")


class TableScan:
    """Reads the table and runs what its user does with a page. Close it, or use `with`."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="sessions_kms-scan")

    def __enter__(self) -> "TableScan":
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let the calls under way end, and begin no others."""
        self._pool.shutdown(cancel_futures=True)

    def pages(self, *, consistent: bool = False, whole: bool = False) -> Iterator[list[Item]]:
        """Yield all items of the table, without their ciphertext unless whole.

        Raises TableUnavailable.
        """
        start: Item | None = None
        while True:
            page = self._patiently(partial(self._page, start, consistent=consistent, whole=whole))
            yield page.items
            if page.next is None:
                return
            start = page.next

    def _page(self, start: Item | None, *, consistent: bool, whole: bool) -> Page:
        read = self._services.table.scan(start, limit=ITEMS, consistent=consistent, whole=whole)
        return run_sync(read)

    def each(self, work: Callable[[T], R], things: Iterable[T]) -> list[R]:
        """Do something with each thing, several at once; return the results in order.

        Raises StoreUnavailable once it was tried for some seconds.
        """
        return list(self._pool.map(lambda thing: self._patiently(lambda: work(thing)), things))

    def _patiently(self, call: Callable[[], R]) -> R:
        for pause in PAUSES:
            try:
                return call()
            except StoreUnavailable as exc:
                if isinstance(exc, KMSUnavailable) and exc.refused_key:
                    raise
            self._services.sleep(pause)
        return call()
