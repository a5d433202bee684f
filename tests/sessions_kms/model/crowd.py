"""Threads of one process that write one session at once, in a reproducible order."""

from collections.abc import Callable
from threading import Thread
from time import monotonic, sleep

from sessions_kms.services import Services

HUNG = 60  # seconds


class Crowd:
    """Threads of one process that write one session; all but one wait."""

    def __init__(self, process: Services) -> None:
        self._queues = process.write_queues
        self._threads: list[Thread] = []
        self._failed: list[BaseException] = []

    def send(self, work: Callable[[], None]) -> None:
        """Start a thread with some work, and return when it is done or waits for another."""

        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - told by `wait`
                self._failed.append(error)

        before = self._waiting()
        thread = Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()
        until = monotonic() + HUNG
        while thread.is_alive() and self._waiting() == before:
            assert monotonic() < until, "hung"
            sleep(0.0005)

    def wait(self) -> None:
        for thread in self._threads:
            thread.join(HUNG)
            assert not thread.is_alive(), "hung"
        for error in self._failed:
            raise error
        assert len(self._queues) == 0, "kept, though nobody writes"

    def _waiting(self) -> int:
        return sum(len(lane.waiting()) for lane in list(self._queues._queues.values()))
