"""One job at a time beside the requests, in a thread of its own.

Knows nothing about what is done; a job tells of its own failures.
"""

import threading
from collections.abc import Callable

from sessions_kms.exceptions import SessionsKMSError

Job = Callable[[], object]


def start_thread(job: Callable[[], None]) -> None:
    """Run a job in a thread that does not keep the process alive. Raises RuntimeError."""
    threading.Thread(target=job, name="sessions_kms-renewal", daemon=True).start()


class Background:
    """Where jobs are done; none at all without a way to start threads."""

    def __init__(self, start: Callable[[Callable[[], None]], None] | None) -> None:
        self._start = start
        self._busy = threading.Lock()  # taken, never waited for, by the job under way

    def run(self, find: Callable[[], Job | None]) -> bool:
        """Start the job that is found to be due, unless one is under way.

        False where no thread can be started (the process is ending, say).
        """
        if self._start is None:
            return False
        if not self._busy.acquire(blocking=False):
            return True
        started = False
        try:
            if job := find():
                self._start(lambda: self._do(job))
                started = True
        except RuntimeError:
            return False
        finally:
            if not started:
                self._busy.release()
        return True

    def _do(self, job: Job) -> None:
        try:
            job()
        except SessionsKMSError:
            pass  # It is in the log by now.
        finally:
            self._busy.release()
