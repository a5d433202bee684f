"""The contract of the async methods."""

import asyncio
import threading

import pytest
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.core.exceptions import SynchronousOnlyOperation

from sessions_kms import services
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency import threads
from tests.sessions_kms.support.memory_dynamodb import after
from tests.sessions_kms.support.sessions import again, asave_session
from tests.sessions_kms.support.stacks import Stack

pytestmark = pytest.mark.usefixtures("stack")


async def test_stored_values_are_read_back() -> None:
    session = again(await asave_session(cat=1))
    assert await session.aget("cat") == 1
    assert await session.ahas_key("cat")
    assert list(await session.aitems()) == [("cat", 1)]


async def test_set_pop_and_setdefault() -> None:
    session = SessionStore()
    await session.aset("cat", 1)
    assert await session.asetdefault("cat", 2) == 1
    assert await session.apop("cat") == 1
    assert session.modified


async def test_create_exists_and_delete() -> None:
    session = SessionStore()
    await session.acreate()
    key = session.session_key or ""
    assert await session.aexists(key)
    await session.adelete()
    assert not await session.aexists(key)


async def test_must_create_of_an_existing_key_raises_create_error() -> None:
    with pytest.raises(CreateError):
        await again(await asave_session(cat=1)).asave(must_create=True)


async def test_flush_and_cycle_key() -> None:
    session = await asave_session(cat=1)
    before = session.session_key or ""
    await session.acycle_key()
    assert session.session_key != before
    assert await again(session).aget("cat") == 1
    assert not await session.aexists(before)
    await session.aflush()
    assert session.session_key is None


async def test_save_does_not_resurrect() -> None:
    session = await asave_session(cat=1)
    mine = again(session)
    await mine.aset("cat", 2)
    await session.adelete()
    with pytest.raises(UpdateError):
        await mine.asave()


async def test_expiry_is_the_same_as_of_the_sync_methods(stack: Stack) -> None:
    session = await asave_session(cat=1)
    await session.aset_expiry(90)
    assert await session.aget_expiry_age() == 90
    assert (await session.aget_expiry_date()).timestamp() == stack.clock() + 90
    await session.aset_expiry(0)
    assert await session.aget_expire_at_browser_close()


async def test_sync_load_in_an_event_loop_is_an_error_not_a_blocked_loop() -> None:
    session = again(await asave_session(cat=1))
    with pytest.raises(SynchronousOnlyOperation):
        session.get("cat")
    for method in (session.save, session.create, session.delete, session.cycle_key, session.load):
        with pytest.raises(SynchronousOnlyOperation):
            method()


async def test_sync_access_while_another_task_loads_is_an_error_not_a_blocked_loop(
    fake: Stack,
) -> None:
    session = again(await asave_session(cat=1))
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        assert go_on.wait(10)

    fake.dynamodb.on("GetItem session", after(hold))
    task = asyncio.ensure_future(session.aget("cat"))
    assert await asyncio.to_thread(begun.wait, 10)
    for access in (lambda: session.get("cat"), lambda: session._get_session(no_load=True)):
        with pytest.raises(SynchronousOnlyOperation):
            access()
    go_on.set()
    assert await task == 1


@pytest.mark.parametrize("key", [None, "no session key"])
async def test_visitor_without_a_session_waits_for_no_thread(
    key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "sync_to_async", None)  # what nobody is to call
    services.reset()  # Nor are services made for it.
    session = SessionStore(key)
    assert await session.aget("cat") is None
    await session.aset("cat", 1)
    assert await session.aget("cat") == 1
    assert not services.are_made()


async def test_loaded_session_may_be_used_synchronously_in_an_event_loop() -> None:
    session = again(await asave_session(cat=1))
    await session.aget("cat")
    session["dog"] = 2
    assert session["cat"] == 1


async def test_concurrent_tasks_of_one_request_share_one_load() -> None:
    session = again(await asave_session(cat=1))
    await asyncio.gather(*(session.aset(f"key{number}", number) for number in range(20)))
    await session.asave()
    assert len(await again(session).akeys()) == 21


async def test_write_of_a_cancelled_request_is_finished(fake: Stack) -> None:
    session = await asave_session(cat=1)
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert go_on.wait(10)

    fake.dynamodb.on("PutItem session", after(wait))
    await session.aset("cat", 2)
    task = asyncio.ensure_future(session.asave())
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await asyncio.to_thread(_wait_for_value, session.session_key or "", 2)


def _wait_for_value(key: str, value: int) -> None:
    for _ in range(500):
        if SessionStore(key).get("cat") == value:
            return
        threading.Event().wait(0.01)
    pytest.fail("the write was lost")
