"""Two threads of a request with one session: one acts between any two lines of the other.

Each ends as it would alone, or is told that the session ended or moved: what is read of the
session twice may be another thing the second time.
"""

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted

from sessions_kms import backend
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency import waits
from sessions_kms.exceptions import SessionMoved, StoreUnavailable
from tests.sessions_kms.support.sessions import save_session

pytestmark = pytest.mark.long
SWEPT = {backend.__file__, waits.__file__}
BLOCKED = 0.02  # seconds after which the other one counts as waiting for the first
WITHIN = 20  # seconds, after which a thread counts as hung
LINES_MIN = 10  # that each goes through: else nothing was swept
TOLD = (UpdateError, SessionInterrupted, SessionMoved, StoreUnavailable)

Act = Callable[[SessionStore], object]
Made = Callable[[], SessionStore]


def stored_session() -> SessionStore:
    session = save_session(a=1)
    return SessionStore(session.session_key)


def load_session() -> SessionStore:
    session = stored_session()
    assert session["a"] == 1
    return session


def sets_and_saves(session: SessionStore) -> None:
    session["b"] = 2
    session.save()


SESSIONS: dict[str, Made] = {
    "new": SessionStore,
    "ended": lambda: SessionStore("e" * 32),
    "stored": stored_session,
    "loaded": load_session,
}
FIRST: dict[str, Act] = {
    "saves": lambda session: session.save(),
    "sets and saves": sets_and_saves,
    "changes its key": lambda session: session.cycle_key(),
}
OTHER: dict[str, Act] = {
    "reads": lambda session: session.get("a"),
    "loads": lambda session: session.load(),
    "flushes": lambda session: session.flush(),
}


class Meanwhile:
    """Has another thread act before the line of so high a number that the first one comes to."""

    def __init__(self, at: int, act: Callable[[], object]) -> None:
        self.is_reached = False
        self.errors: list[Exception] = []
        self._left = at
        self._other = threading.Thread(target=self._catch, args=(act,), daemon=True)

    def around(self, act: Callable[[], object]) -> None:
        first = threading.Thread(target=self._trace, args=(act,), daemon=True)
        first.start()
        first.join(WITHIN)
        if self.is_reached:
            self._other.join(WITHIN)
        assert not first.is_alive()
        assert not self._other.is_alive()

    def _trace(self, act: Callable[[], object]) -> None:
        sys.settrace(self._call)
        try:
            self._catch(act)
        finally:
            sys.settrace(None)

    def _catch(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as exc:  # noqa: BLE001 - which they are is looked at below
            self.errors.append(exc)

    def _call(self, frame: FrameType, event: str, arg: object) -> Any:
        return self._line if frame.f_code.co_filename in SWEPT else None

    def _line(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "line" and not self.is_reached:
            self._left -= 1
            if self._left < 0:
                self.is_reached = True
                self._other.start()
                self._other.join(BLOCKED)
        return self._line


@pytest.mark.parametrize("other", OTHER)
@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("state", SESSIONS)
def test_threads_do_not_disturb_each_other(
    make_fake: Callable[..., Any], state: str, first: str, other: str
) -> None:
    make_fake()
    for at in range(1000):
        session = SESSIONS[state]()
        meanwhile = Meanwhile(at, lambda session=session: OTHER[other](session))  # type: ignore[misc]
        meanwhile.around(lambda session=session: FIRST[first](session))  # type: ignore[misc]
        assert [exc for exc in meanwhile.errors if not isinstance(exc, TOLD)] == []
        assert not session._loading_lock.is_locked
        if not meanwhile.is_reached:
            break
    assert at > LINES_MIN
