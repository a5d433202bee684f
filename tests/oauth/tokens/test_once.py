"""Many at once in one process: one refresh, one outcome, nobody blocked for nothing."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from dataclasses import replace
from typing import Any

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpRequest

import oauth
from oauth.exceptions import OAuthError
from oauth.network.concurrency import THREADS_PER_PROVIDER
from oauth.provider.refresh_lease import LEASE_SECONDS
from oauth.provider.token_set import TokenSet
from oauth.tokens import refresh_coordinator, refresh_queue, vault
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.sealed_items.leases import Leases
from sessions_kms.services import services
from tests.oauth.support.fake_provider import FakeProvider, Response
from tests.oauth.support.fixtures import BOB, Visitor
from tests.oauth.support.provider_failures import NONSENSE, respond_with, stall
from tests.oauth.support.requests import (
    Successor,
    get_token,
    request_of,
    stored_tokens,
    successor_of,
)
from tests.sessions_kms.support.stacks import Stack, install

MANY = 50


def in_threads(visitor: Visitor, count: int = MANY) -> list[TokenSet | Exception]:
    """Ask at one moment, each request with a session object of its own."""
    requests = [request_of(visitor) for _ in range(count)]
    barrier = threading.Barrier(count)

    def ask(request: HttpRequest) -> TokenSet | Exception:
        barrier.wait(timeout=30)
        try:
            return oauth.get_token(request, "corp")
        except OAuthError as exc:
            return exc

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(ask, requests))


async def in_tasks(requests: list[HttpRequest]) -> list[Any]:
    return await asyncio.gather(
        *(oauth.aget_token(request, "corp") for request in requests), return_exceptions=True
    )


def test_threads_share_one_refresh(corp: FakeProvider, expired: Visitor) -> None:
    responses = in_threads(expired)
    assert responses == [stored_tokens(expired)] * MANY
    assert len(corp.refreshes) == 1
    assert not corp.reused


def test_tasks_share_one_refresh(corp: FakeProvider, expired: Visitor) -> None:
    requests = [request_of(expired) for _ in range(MANY)]
    responses = asyncio.run(in_tasks(requests))
    assert responses == [stored_tokens(expired)] * MANY
    assert len(corp.refreshes) == 1
    assert {vault.load_token_set(request.session, "corp") for request in requests} == {
        stored_tokens(expired)
    }


def test_tasks_of_one_request_share_one_refresh(corp: FakeProvider, expired: Visitor) -> None:
    responses = asyncio.run(in_tasks([request_of(expired)] * MANY))
    assert responses == [stored_tokens(expired)] * MANY
    assert len(corp.refreshes) == 1


def test_threads_and_tasks_share_one_refresh(corp: FakeProvider, expired: Visitor) -> None:
    requests = [request_of(expired) for _ in range(MANY)]
    with ThreadPoolExecutor(1) as pool:
        threads = pool.submit(in_threads, expired)
        tasks = asyncio.run(in_tasks(requests))
    assert [*threads.result(), *tasks] == [stored_tokens(expired)] * (2 * MANY)
    assert len(corp.refreshes) == 1


def test_rejected_token_is_refreshed_once(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    store.clock.advance(60)
    refused = get_token(signed_in)
    requests = [request_of(signed_in) for _ in range(MANY)]

    async def ask() -> list[TokenSet]:
        return await asyncio.gather(
            *(oauth.aget_token(request, "corp", refused) for request in requests)
        )

    assert set(asyncio.run(ask())) == {stored_tokens(signed_in)}
    assert len(corp.refreshes) == 1


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (NONSENSE["server error"], oauth.ProviderUnavailable),
        (respond_with(400, b'{"error": "invalid_grant"}'), oauth.ReauthenticationRequired),
    ],
)
def test_failure_is_shared(
    corp: FakeProvider, expired: Visitor, response: Any, error: type[Exception]
) -> None:
    asked: list[int] = []
    corp.hooks["/token"] = lambda: asked.append(1)
    corp.failing["/token"] = response
    responses = in_threads(expired)
    responses += asyncio.run(in_tasks([request_of(expired) for _ in range(MANY)]))
    assert {type(response) for response in responses} == {error}
    assert len(asked) == 1


def test_valid_token_is_returned_while_another_request_refreshes(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    before = stored_tokens(signed_in)
    store.clock.now = (before.expires_at or 0) - 30
    asked, go_on = stall(corp, "/token")
    with ThreadPoolExecutor(1) as pool:
        winner = pool.submit(get_token, signed_in)
        assert asked.wait(30)
        try:
            assert get_token(signed_in) == before
            (found,) = asyncio.run(in_tasks([request_of(signed_in)]))
            assert found == before
        finally:
            go_on.set()
    assert winner.result() == stored_tokens(signed_in) != before
    assert len(corp.refreshes) == 1


def test_valid_token_is_returned_while_a_task_of_the_same_loop_refreshes(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    before = stored_tokens(signed_in)
    store.clock.now = (before.expires_at or 0) - 30
    asked, go_on = stall(corp, "/token")

    async def ask_beside_a_refresh() -> tuple[TokenSet, TokenSet]:
        refreshing = asyncio.ensure_future(oauth.aget_token(request_of(signed_in), "corp"))
        assert await asyncio.to_thread(asked.wait, 30)
        try:
            beside = await asyncio.wait_for(oauth.aget_token(request_of(signed_in), "corp"), 20)
        finally:
            go_on.set()
        return beside, await refreshing

    assert asyncio.run(ask_beside_a_refresh()) == (before, stored_tokens(signed_in))


def test_sync_call_in_an_event_loop_is_an_error(expired: Visitor) -> None:
    request = request_of(expired)

    async def ask() -> None:
        oauth.get_token(request, "corp")

    with pytest.raises(SynchronousOnlyOperation, match="aget_token"):
        asyncio.run(ask())


def test_refresh_of_a_cancelled_request_is_finished(corp: FakeProvider, expired: Visitor) -> None:
    request = request_of(expired)
    asked, go_on = stall(corp, "/token")

    async def ask_and_leave() -> None:
        task = asyncio.ensure_future(oauth.aget_token(request, "corp"))
        await asyncio.to_thread(asked.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        async with asyncio.timeout(30):
            while refresh_queue._refreshes:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.001)

    asyncio.run(ask_and_leave())
    assert stored_tokens(expired).refresh_token in corp.refresh_tokens
    assert len(corp.refreshes) == 1


def test_task_that_is_cancelled_while_waiting_leaves_the_queue(expired: Visitor) -> None:
    async def leave() -> None:
        async with refresh_queue._grant_queues.turn("a secret", max_wait=60) as turn:
            waiting = refresh_queue.QueuedRefresh(
                "a secret", ("corp", "1"), 60, lambda: pytest.fail("not its turn")
            )
            other = asyncio.Task(waiting.suspend(), context=Context())
            while not turn._waiting:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0)
            other.cancel()
            await asyncio.wait([other])
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not turn._waiting
        assert len(refresh_queue._grant_queues) == len(refresh_queue._refreshes) == 0

    asyncio.run(leave())


@pytest.mark.slow
def test_one_account_does_not_occupy_all_threads_of_a_slow_provider(
    corp: FakeProvider, store: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a provider slows down one account: all of its refreshes would take all threads."""
    grants = [Visitor() for _ in range(THREADS_PER_PROVIDER + 1)]
    for each in grants:
        each.sign_in(corp)
    theirs, ada = set(corp.refresh_tokens), corp.person
    corp.person = BOB
    (another := Visitor()).sign_in(corp)
    store.clock.advance(4000)
    go_on, lock, response = threading.Event(), threading.Lock(), corp.token
    asked: list[bool] = []

    def slow(form: dict[str, str], authorization: str, **more: Any) -> Response:
        is_theirs = form["refresh_token"] in theirs
        asked.append(is_theirs)
        assert not is_theirs or go_on.wait(30)
        with lock:
            corp.person = ada if is_theirs else BOB
            return response(form, authorization, **more)

    monkeypatch.setattr(corp, "token", slow)

    def waiting_for_others() -> int:
        return sum(len(lock._waiting) for lock, _ in refresh_queue._account_queues._locks.values())

    async def ask() -> tuple[TokenSet, int, list[TokenSet]]:
        many = [
            asyncio.ensure_future(oauth.aget_token(request_of(each), "corp")) for each in grants
        ]
        while not asked or len(asked) + waiting_for_others() < len(grants):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        beside = await asyncio.wait_for(oauth.aget_token(request_of(another), "corp"), 20)
        waiting = sum(not each.done() for each in many)
        go_on.set()
        return beside, waiting, await asyncio.gather(*many)

    try:
        beside, waiting, found = asyncio.run(asyncio.wait_for(ask(), 30))
    finally:
        go_on.set()
    assert (beside, waiting) == (stored_tokens(another), len(grants))
    assert found == [stored_tokens(each) for each in grants]
    assert len(refresh_queue._grant_queues) == len(refresh_queue._account_queues) == 0


# The lease


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_lease_is_renewed_while_the_provider_is_slow(
    corp: FakeProvider, expired: Visitor, store: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh_coordinator, "RENEW_EVERY", 0.02)
    monkeypatch.setattr(refresh_coordinator, "WORK_MAX", 1000.0)
    renewals: list[bool] = []
    renew = Leases.renew

    async def count(self: Leases, secret: str, holder: str, *, seconds: int) -> bool:
        store.clock.advance(seconds - 1)
        renewals.append(await renew(self, secret, holder, seconds=seconds))
        return renewals[-1]

    monkeypatch.setattr(Leases, "renew", count)
    corp.hooks["/token"] = lambda: until(lambda: len(renewals) >= 3)
    assert get_token(expired).refresh_token in corp.refresh_tokens
    assert renewals[:3] == [True] * 3  # One more may find that the refresh has ended.


def test_lease_of_a_dead_process_is_taken_over(
    corp: FakeProvider, expired: Visitor, store: Stack
) -> None:
    install(replace(store.services, sleep=lambda _: None))  # There is nobody to wait for.
    held = stored_tokens(expired)
    run_sync(Leases(services()).claim(held.grant_secret, "of the dead", seconds=LEASE_SECONDS))
    with pytest.raises(oauth.ProviderUnavailable, match="does not finish"):
        get_token(expired)
    with pytest.raises(oauth.ProviderUnavailable, match="a moment ago"):
        get_token(expired)  # Nobody waits so long once more for what may be dead.
    refresh_coordinator._back_off._until.clear()
    store.clock.advance(LEASE_SECONDS + 6)
    assert get_token(expired).refresh_token in corp.refresh_tokens


def test_successor_made_by_another_process_is_saved_in_the_session(
    corp: FakeProvider, expired: Visitor
) -> None:
    found = successor_of(stored_tokens(expired))
    assert found.made
    assert get_token(expired) == found.token_set == stored_tokens(expired)
    assert len(corp.refreshes) == 1


def test_chain_of_successors_is_followed(
    corp: FakeProvider, expired: Visitor, store: Stack
) -> None:
    held = stored_tokens(expired)
    corp.expires_in = 600
    for _ in range(2):
        held = successor_of(held).token_set
        store.clock.advance(600)
    newest = get_token(expired)
    assert newest.refresh_token in corp.refresh_tokens
    assert not corp.reused


def test_sealing_is_retried_when_the_table_fails(
    expired: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = Leases.complete
    failures = iter([True, True, False])

    async def failing(self: Leases, *args: Any, **kwargs: Any) -> bytes | None:
        if next(failures):
            raise StoreUnavailable
        return await complete(self, *args, **kwargs)

    monkeypatch.setattr(Leases, "complete", failing)
    held = stored_tokens(expired)
    new = get_token(expired)
    assert successor_of(held) == Successor(new, made=False)


def test_response_that_cannot_be_sealed_is_still_saved_in_the_session(
    expired: Visitor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(self: Leases, *args: Any, **kwargs: Any) -> bool:
        raise StoreUnavailable

    monkeypatch.setattr(Leases, "complete", failing)
    old = stored_tokens(expired)
    assert get_token(expired) == stored_tokens(expired)
    assert "could not be sealed" in caplog.text
    claim = run_sync(Leases(services()).claim(old.grant_secret, "another", seconds=LEASE_SECONDS))
    assert not claim.held  # Whoever has an old copy does not spend the old refresh token at once.


def test_lease_item_shows_no_token_and_no_secret(
    corp: FakeProvider, expired: Visitor, store: Stack
) -> None:
    old = stored_tokens(expired)
    get_token(expired)
    items = repr(store.items())
    assert "lease#" in items
    for secret in (*corp.secrets, old.grant_secret, stored_tokens(expired).grant_secret):
        assert secret not in items


def test_refreshes_of_different_sessions_do_not_block_each_other(
    corp: FakeProvider, expired: Visitor, store: Stack
) -> None:
    slow, fast = expired, Visitor()
    store.clock.advance(-4000)
    corp.person = {**corp.person, "sub": "2002", "email": "bob@example.com"}
    fast.sign_in(corp)
    store.clock.advance(4000)
    asked, go_on = threading.Event(), threading.Event()

    def hold_the_first() -> None:
        del corp.hooks["/token"]
        asked.set()
        assert go_on.wait(30)

    corp.person = {**corp.person, "sub": "1001"}
    corp.hooks["/token"] = hold_the_first
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(get_token, slow)
        assert asked.wait(30)
        corp.person = {**corp.person, "sub": "2002"}
        try:
            assert get_token(fast) == stored_tokens(fast)
        finally:
            corp.person = {**corp.person, "sub": "1001"}
            go_on.set()
    assert first.result() == stored_tokens(slow)


def test_token_of_a_session_that_is_not_stored_yet_stays_in_it(expired: Visitor) -> None:
    request = request_of(expired)
    held = stored_tokens(expired)
    request.session = SessionStore()
    vault.store_token_set(request.session, "corp", held)
    new = oauth.get_token(request, "corp")
    assert vault.load_token_set(request.session, "corp") == new != held
    assert request.session.session_key is None
    assert request.session.modified
