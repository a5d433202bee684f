"""How each engine treats a session's row, its sealed record and its mark."""

from collections.abc import Callable, Iterator
from functools import partial, wraps
from itertools import count
from typing import Any, TypeVar

import pytest
from django.conf import settings
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore

from sessions_kms import moving_in, moving_out
from sessions_kms.aws.table_client import BotoRequest
from sessions_kms.backend import SessionStore
from sessions_kms.operations import ending
from sessions_kms.operations.old_engines import DatabaseEngine, load_engine
from sessions_kms.operations.session_import import Importer, mark_id, new_mark
from sessions_kms.services import id_of, services
from tests.sessions_kms.support import old_engine
from tests.sessions_kms.support.old_engine import ENGINE, save_content
from tests.sessions_kms.support.stacks import Stack

T = TypeVar("T")


class Killed(BaseException):
    """The process was killed here: nothing handles this."""


def die() -> None:
    raise Killed


class Calls:
    """Counts calls of some methods, and runs a function before or after one of them."""

    def __init__(self) -> None:
        self._left = 0
        self._after = self._running = self.reached = False
        self._do: Callable[[], object] = die

    def each(self, do: Callable[[], object] = die) -> Iterator[None]:
        """Run it before the first call, after it, before the second, ..., and finally never."""
        self._do = do
        for number in count():
            for after in (False, True):
                self._left, self._after, self.reached = number, after, False
                yield
                if not self.reached:
                    assert number > 0, "nothing was called"
                    return

    def run(self, request: Callable[[], T]) -> T:
        """Run a request whose calls are counted."""
        self._running = True
        try:
            return request()
        finally:
            self._running = False

    def make_call(self, call: Callable[[], T]) -> T:
        if not self._running or self.reached:
            return call()
        self._left -= 1
        if self._left >= 0:
            return call()
        self.reached = True
        if not self._after:
            self._do()
        response = call()
        if self._after:
            self._do()
        return response


def count_calls(monkeypatch: pytest.MonkeyPatch, *methods: tuple[type, str]) -> Calls:
    """Count the calls of these methods."""
    calls = Calls()
    for owner, name in methods:
        monkeypatch.setattr(owner, name, _count(calls, getattr(owner, name)))
    return calls


def _count(calls: Calls, method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return calls.make_call(lambda: method(*args, **kwargs))

    return call


old = old_engine.in_use
pytestmark = pytest.mark.usefixtures("old")

KEY = "k" * 32
ROW, SEALED = {"is": "row", USER_ID: "7"}, {"is": "sealed", USER_ID: "7"}
Store = type[SessionStore] | type[moving_out.SessionStore]
ENGINES: dict[str, Store] = {"in": moving_in.SessionStore, "out": moving_out.SessionStore}

# Each state, by what there is of (r)ow, (s)ealed record and (m)ark: what the session is, the
# state that moving_in and import_sessions leave, and the one that moving_out leaves.
STATES: dict[str, tuple[dict[str, str], str, str]] = {
    "": ({}, "", ""),
    "r": (ROW, "rsm", "r"),
    "s": (SEALED, "s", "r"),
    "sm": (SEALED, "sm", "r"),
    "rsm": (SEALED, "rsm", "r"),
    "rm": ({}, "rm", "m"),
    "m": ({}, "m", "m"),
}


def bring_about(stack: Stack, state: str) -> None:
    if "r" in state:
        put_row()
    if "s" in state:
        ours = SessionStore(KEY)
        ours._session_cache = dict(SEALED)
        ours.save(must_create=True)
    if "m" in state:
        ends_at = int(stack.clock.now) + 1000
        stack.put_item(new_mark(stack.services, id_of(KEY), row_ends_at=ends_at))


def put_row() -> None:
    row = DatabaseStore(KEY)
    row.update(ROW)
    row._session_key = KEY  # Loading it found none.
    row.save(must_create=True)


def state_of(stack: Stack, key: str) -> str:
    items = stack.items()
    here = {
        "r": old_engine.is_there(key),
        "s": id_of(key) in items,
        "m": mark_id(stack.services, id_of(key)) in items,
    }
    return "".join(letter for letter, is_there in here.items() if is_there)


def visit(engine: Store, key: str, **changes: Any) -> dict[str, Any]:
    """Send a request that changes something; return what it found."""
    session = engine(key)
    found = dict(session.items())
    if changes:
        session.update(changes)
        session.save()
    return found


def sign_out(engine: Store, key: str) -> None:
    session = engine(key)
    session.load()
    session.flush()


def end_unread(engine: Store, key: str) -> None:
    engine().delete(key)


@pytest.mark.parametrize("state", STATES)
def test_engine_that_moves_in_finds_the_session(stack: Stack, state: str) -> None:
    session, left, _ = STATES[state]
    bring_about(stack, state)
    assert visit(moving_in.SessionStore, KEY) == session
    assert state_of(stack, KEY) == left
    assert visit(moving_in.SessionStore, KEY) == session


@pytest.mark.parametrize("state", STATES)
def test_import_leaves_the_session_what_it_is(stack: Stack, state: str) -> None:
    session, left, _ = STATES[state]
    bring_about(stack, state)
    list(Importer(stack.services, load_engine(ENGINE)).import_all())
    assert state_of(stack, KEY) == left
    assert visit(SessionStore, KEY) == session


@pytest.mark.parametrize("state", STATES)
def test_engine_that_moves_out_makes_the_session_a_row(stack: Stack, state: str) -> None:
    session, _, left = STATES[state]
    bring_about(stack, state)
    assert visit(moving_out.SessionStore, KEY) == session
    assert state_of(stack, KEY) == left
    assert old_engine.content(KEY) == session


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("state", STATES)
def test_missing_session_has_no_key(fake: Stack, state: str, engine: str) -> None:
    bring_about(fake, state)
    session = ENGINES[engine](KEY)
    is_one = session.load() != {}
    assert session.session_key == (KEY if is_one else None)


@pytest.mark.parametrize("end", [sign_out, end_unread])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("state", STATES)
def test_ended_session_is_missing_in_both_engines(
    fake: Stack, state: str, engine: str, end: Callable[[Store, str], None]
) -> None:
    bring_about(fake, state)
    end(ENGINES[engine], KEY)
    for store in ENGINES.values():
        assert visit(store, KEY) == {}
    if "r" in state:  # A process of the old release, or a slow request, puts the row once more.
        put_row()
        for store in ENGINES.values():
            assert visit(store, KEY) == {}


@pytest.mark.parametrize("engine", ENGINES)
def test_mark_outlives_the_row_by_90_days(fake: Stack, engine: str) -> None:
    put_row()
    end_unread(ENGINES[engine], KEY)
    ends_at = fake.clock.now + (settings.SESSION_COOKIE_AGE or 0) + 90 * 24 * 3600
    marked = fake.items()[mark_id(fake.services, id_of(KEY))]
    assert abs(int(marked["ttl"]["N"]) - ends_at) <= 2


@pytest.mark.parametrize("engine", ENGINES)
def test_ending_an_unknown_session_stores_nothing(fake: Stack, engine: str) -> None:
    end_unread(ENGINES[engine], KEY)
    end_unread(ENGINES[engine], "not a key")
    assert fake.items() == {}


# There, back and there again, with a process killed between any two calls

TABLE_CALLS = [
    (BotoRequest, "block"),
]
ROW_CALLS = [
    (DatabaseStore, "load"),
    (DatabaseStore, "save"),
    (DatabaseStore, "delete"),
    (DatabaseEngine, "find"),
    (DatabaseEngine, "end"),
]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return count_calls(monkeypatch, *TABLE_CALLS, *ROW_CALLS)


def repeat_request(calls: Calls, request: Callable[[], Any]) -> Any:
    """Send a request, and once more if the process was killed."""
    try:
        return calls.run(request)
    except Killed:
        return calls.run(request)


def begin_anew(stack: Stack) -> None:
    old_engine.empty()
    stack.delete_item(id_of(KEY))
    stack.delete_item(mark_id(stack.services, id_of(KEY)))


@pytest.mark.slow
@pytest.mark.parametrize("emptied", [False, True])
def test_visitor_stays_signed_in_while_moving_in_out_and_in_again(
    fake: Stack, calls: Calls, *, emptied: bool
) -> None:
    for _ in calls.each():
        key, expected = save_content(a=0), {"a": 0}
        for number, engine in enumerate([*ENGINES.values()] * 2):
            change = {f"change {number}": number}
            request = partial(visit, engine, key, **change)
            found = repeat_request(calls, request)
            assert expected.items() <= found.items() <= (expected | change).items()
            expected |= change
            if emptied and engine is moving_in.SessionStore:
                old_engine.empty()
        assert visit(moving_out.SessionStore, key) == expected
        assert state_of(fake, key) == "r"


@pytest.mark.parametrize("end", [sign_out, end_unread])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("state", ["r", "s", "rsm"])
def test_sign_out_that_a_killed_process_left_undone_is_done_by_the_next(
    fake: Stack, calls: Calls, state: str, engine: str, end: Callable[[Store, str], None]
) -> None:
    for _ in calls.each():
        begin_anew(fake)
        bring_about(fake, state)
        repeat_request(calls, partial(end, ENGINES[engine], KEY))
        for store in ENGINES.values():
            assert visit(store, KEY) == {}
        moving_out.SessionStore.clear_expired()
        assert old_engine.content(KEY) == {}


# One request in the midst of another of the same visitor


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Count what a request does one after the other; that a row is put is one step."""
    put = (moving_out.MovingOut, "_put")
    return count_calls(
        monkeypatch, *TABLE_CALLS, put, (DatabaseStore, "load"), (DatabaseEngine, "find")
    )


@pytest.mark.parametrize(
    ("engine", "state"), [("in", "r"), ("in", "rsm"), ("out", "s"), ("out", "rsm"), ("out", "r")]
)
def test_what_another_request_changed_stays(
    fake: Stack, steps: Calls, engine: str, state: str
) -> None:
    store = ENGINES[engine]
    for _ in steps.each(partial(visit, store, KEY, changed=True)):
        begin_anew(fake)
        bring_about(fake, state)
        session = STATES[state][0]
        changed = session | {"changed": True}
        assert steps.run(partial(visit, store, KEY)) in (session, changed)
        assert visit(store, KEY) == (changed if steps.reached else session)


each_state = pytest.mark.parametrize(
    ("engine", "state"), [("in", "r"), ("in", "rsm"), ("out", "s"), ("out", "rsm"), ("out", "r")]
)


@pytest.mark.parametrize("end", [sign_out, end_unread])
@each_state
def test_session_that_another_request_ended_stays_ended(
    fake: Stack, steps: Calls, engine: str, state: str, end: Callable[[Store, str], None]
) -> None:
    store = ENGINES[engine]
    for _ in steps.each(partial(end, store, KEY)):
        begin_anew(fake)
        bring_about(fake, state)
        steps.run(partial(visit, store, KEY))
        for each in ENGINES.values():
            assert visit(each, KEY) == ({} if steps.reached else STATES[state][0])


@pytest.mark.parametrize("end", [sign_out, end_unread])
@each_state
def test_session_that_another_request_reads_while_it_is_ended_stays_ended(
    fake: Stack, steps: Calls, engine: str, state: str, end: Callable[[Store, str], None]
) -> None:
    store = ENGINES[engine]
    for _ in steps.each(partial(visit, store, KEY)):
        begin_anew(fake)
        bring_about(fake, state)
        steps.run(partial(end, store, KEY))
        for each in ENGINES.values():
            assert visit(each, KEY) == {}


@pytest.mark.parametrize("state", ["s", "rsm"])
def test_session_that_an_operator_ended_before_it_was_back_stays_ended(
    fake: Stack, steps: Calls, state: str
) -> None:
    ended: list[int] = []
    for _ in steps.each(lambda: ended.append(ending.end_sessions_of(services(), "7"))):
        begin_anew(fake)
        bring_about(fake, state)
        ended.clear()
        steps.run(partial(visit, moving_out.SessionStore, KEY))
        assert visit(moving_out.SessionStore, KEY) == ({} if ended == [1] else SEALED)


def test_session_exists_while_another_request_takes_it_over(fake: Stack, steps: Calls) -> None:
    for _ in steps.each(partial(visit, moving_in.SessionStore, KEY)):
        begin_anew(fake)
        put_row()
        assert steps.run(partial(moving_in.SessionStore().exists, KEY))
