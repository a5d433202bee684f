"""A project's own `SessionStore`: Django's methods call each other, overridden or not."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sessions_kms.backend import SessionStore
from tests.sessions_kms.support.sessions import (
    asave_session,
    save_changes,
    save_session,
    stored_item,
)
from tests.sessions_kms.support.stacks import Stack, another_process


class Telling(SessionStore):
    """A project's own, which notes what is called."""

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        self.called: list[str] = []

    def create(self) -> None:
        self.called.append("create")
        super().create()

    def save(self, must_create: bool = False) -> None:
        self.called.append(f"save {must_create}")
        super().save(must_create)


class TellingAsync(SessionStore):
    """One that notes the async methods, and leaves the others as they are."""

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        self.called: list[str] = []

    async def acreate(self) -> None:
        self.called.append("acreate")
        await super().acreate()

    async def asave(self, must_create: bool = False) -> None:
        self.called.append(f"asave {must_create}")
        await super().asave(must_create)


class TellingBoth(Telling, TellingAsync):
    """One that notes both."""


class Adding(SessionStore):
    """One that adds to what is stored when it is loaded."""

    def load(self) -> dict[str, Any]:
        return super().load() | {"added": threading.get_ident()}


class AddingAsync(SessionStore):
    async def aload(self) -> dict[str, Any]:
        return await super().aload() | {"added": threading.get_ident()}

    def load(self) -> dict[str, Any]:
        raise AssertionError


def test_saving_a_new_session_creates_it_as_the_project_does(stack: Stack) -> None:
    session = Telling()
    session["a"] = 1
    session.save()
    assert session.called == ["save False", "create", "save True"]


def test_changing_the_key_of_a_new_session_creates_it_as_the_project_does(stack: Stack) -> None:
    session = Telling()
    session["a"] = 1
    session.cycle_key()
    assert session.called == ["create", "save True"]


@pytest.mark.parametrize(
    ("of", "called"),
    [
        (Telling, ["save False", "create", "save True"]),
        (TellingAsync, ["asave False", "acreate", "asave True"]),
        (TellingBoth, ["asave False", "acreate", "asave True"]),
    ],
)
async def test_so_does_an_asynchronous_view(
    fake: Stack, of: type[Telling | TellingAsync], called: list[str]
) -> None:
    session = of()
    await session.aset("a", 1)
    await session.asave()
    assert session.called == called
    assert await asyncio.to_thread(stored_item, session.session_key) == {"a": 1}


def test_overridden_async_methods_are_not_called_in_a_thread(fake: Stack) -> None:
    session = TellingAsync()
    session["a"] = 1
    session.save()
    assert session.called == []


async def test_overridden_create_without_a_twin_saves_in_its_thread(fake: Stack) -> None:
    class OneTwin(Telling):
        async def asave(self, must_create: bool = False) -> None:
            self.called.append(f"asave {must_create}")
            await super().asave(must_create)

    session = OneTwin()
    await session.aset("a", 1)
    await session.asave()
    assert session.called == ["asave False", "create", "save True"]


ASYNC: list[tuple[str, Callable[[SessionStore], Awaitable[object]]]] = [
    ("load", lambda session: session.aload()),
    ("load", lambda session: session.aget("a")),
    ("exists", lambda session: session.aexists(str(session.session_key))),
    ("create", lambda session: session.acreate()),
    ("save", lambda session: session.asave()),
    ("cycle_key", lambda session: session.acycle_key()),
    ("delete", lambda session: session.adelete()),
    ("delete", lambda session: session.aflush()),
]


@pytest.mark.parametrize(("verb", "ask"), ASYNC)
async def test_overridden_method_is_called_in_a_thread_by_its_async_twin(
    fake: Stack, verb: str, ask: Callable[[SessionStore], Awaitable[object]]
) -> None:
    key = (await asave_session(a=1)).session_key
    threads: list[int] = []

    def own(self: SessionStore, *args: Any) -> Any:
        threads.append(threading.get_ident())
        return getattr(SessionStore, verb)(self, *args)

    session: SessionStore = type("Own", (SessionStore,), {verb: own})(key)
    await ask(session)
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


@pytest.mark.parametrize("driver", ["thread", "loop"])
def test_content_of_an_overridden_load_is_merged(fake: Stack, driver: str) -> None:
    key = save_session(a=1, b=1).session_key
    session = Adding(key)
    if driver == "loop":
        assert asyncio.run(session.aget("a")) == 1
    assert session["a"] == 1
    added = session["added"]
    assert (added == threading.get_ident()) is (driver == "thread")
    with another_process():
        save_changes(key, b=2)
    session["c"] = 3
    if driver == "loop":
        asyncio.run(session.asave())
    else:
        session.save()
    assert stored_item(key) == {"a": 1, "b": 2, "c": 3, "added": added}


async def test_load_of_the_event_loop_is_the_projects_own(fake: Stack) -> None:
    session = AddingAsync((await asave_session(a=1)).session_key)
    assert await session.aget("added") == threading.get_ident()


def test_overridden_load_leaves_no_earlier_baseline(fake: Stack) -> None:
    class Alone(SessionStore):
        def load(self) -> dict[str, Any]:
            return {"own": True}

    key = save_session(a=1).session_key
    session = Alone(key)
    assert dict(session.items()) == {"own": True}
    session.save()
    assert stored_item(key) == {"own": True}
