"""The steps of a refresh: the same in a thread and in an event loop, and ended at any of them."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, cast

import pytest
from django.http import HttpRequest

import oauth
from oauth.tokens import refresh_coordinator
from oauth.tokens.fresh_token import FreshToken
from oauth.tokens.refresh_queue import QueuedRefresh
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import Pause, Wait, run_sync
from sessions_kms.sealed_items.leases import Leases
from sessions_kms.services import services
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.requests import get_token, request_of, stored_tokens
from tests.sessions_kms.support.stacks import Stack
from tests.sessions_kms.support.stepping import resume, with_waits


def turn_of(request: HttpRequest) -> QueuedRefresh:
    """Go as far as the turn, which is to be waited for next."""
    steps = FreshToken(services(), cast("SessionStore", request.session), "corp").get()
    wait: Wait = resume(steps)
    while not isinstance(wait, QueuedRefresh):
        wait = resume(steps, wait.block())
    return wait


class Cancelled(Wait):
    """A wait that is cancelled instead."""

    def block(self) -> Any:
        raise asyncio.CancelledError

    async def suspend(self) -> Any:
        raise asyncio.CancelledError


def was_cancelled(steps: Coroutine[Any, Any, Any], number: int) -> bool:
    """Do the steps, cancelled in the wait of this number; False where there are fewer."""
    try:
        run_sync(with_waits(steps, lambda at, wait: Cancelled() if at == number - 1 else wait))
    except asyncio.CancelledError:
        return True
    return False


def test_refresh_works_in_an_event_loop(
    corp: FakeProvider, expired: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def without_a_thread(turn: QueuedRefresh) -> Any:
        return await turn.work()

    monkeypatch.setattr(QueuedRefresh, "suspend", without_a_thread)
    new = asyncio.run(oauth.aget_token(request_of(expired), "corp"))
    assert new == stored_tokens(expired)
    assert len(corp.refreshes) == 1


def test_slow_response_is_waited_for_in_an_event_loop(
    corp: FakeProvider, expired: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh_coordinator, "RENEW_EVERY", 0.01)
    monkeypatch.setattr(refresh_coordinator, "WORK_MAX", 1000.0)
    renewals: list[str] = []
    go_on = threading.Event()

    async def renew(*_: object, **__: object) -> bool:
        await Pause(0)
        renewals.append("renewed")
        if len(renewals) == 2:
            go_on.set()
        return True

    def hold() -> None:
        assert go_on.wait(30)

    monkeypatch.setattr(Leases, "renew", renew)
    corp.hooks["/token"] = hold
    asyncio.run(turn_of(request_of(expired)).work())
    assert stored_tokens(expired).refresh_token in corp.refresh_tokens


def test_cancelled_refresh_spends_no_token_twice_and_keeps_no_lease(
    corp: FakeProvider, expired: Visitor, store: Stack
) -> None:
    number = 1
    while was_cancelled(turn_of(request_of(expired)).work(), number):
        assert get_token(expired) == stored_tokens(expired)
        assert stored_tokens(expired).refresh_token in corp.refresh_tokens
        assert not corp.reused
        store.clock.advance(4000)
        number += 1
    assert number > 10
