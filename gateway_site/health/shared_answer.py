"""What is asked of something that may be down, once for however many ask.

A probe enters; a future of true or false leaves. Knows nothing of requests.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

logger = logging.getLogger(__name__)

LIVENESS = "/livez"
HEALTH = "/healthz"
READINESS = "/readyz"
PATHS = frozenset({LIVENESS, HEALTH, READINESS})
MAX_AGE = 5.0  # seconds for which an answer is given again


class Health:
    """The last answer of a probe, renewed in a thread of its own when it is old."""

    def __init__(
        self,
        name: str,
        probe: Callable[[], None],
        max_age: float = MAX_AGE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._probe = probe
        self._max_age = max_age
        self._clock = clock
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"health-{name}")
        self._answer: Future[bool] | None = None
        self._answered_at = 0.0

    def answer(self) -> Future[bool]:
        """Return the present answer, or the one under way; a waiter costs no thread."""
        with self._lock:
            answer = self._answer
            if answer is None or (answer.done() and self._age() >= self._max_age):
                answer = self._answer = self._executor.submit(self._ask)
            return answer

    def close(self) -> None:
        """End the thread."""
        self._executor.shutdown(wait=True)

    def _age(self) -> float:
        return self._clock() - self._answered_at

    def _ask(self) -> bool:
        try:
            self._probe()
        except Exception as error:  # noqa: BLE001  (whatever fails, it is not well)
            # The kind alone: a message may repeat what a service answered.
            logger.warning("Health check of %s failed: %s.", self._name, type(error).__name__)
            well = False
        else:
            well = True
        self._answered_at = self._clock()
        return well
