"""Providers that are slow, and processes that died: no refresh token is spent twice for it."""

import asyncio
import threading
import time
from dataclasses import replace

import pytest
from pytest_django import Settings

import oauth
from oauth.network import concurrency
from oauth.provider import metadata
from oauth.provider.config import find_provider
from oauth.provider.token_set import new_grant_secret
from oauth.tokens import vault
from oauth.tokens.refresh_coordinator import KEPT
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.requests import (
    get_token,
    refresh_of,
    request_of,
    stored_tokens,
    successor_of,
)
from tests.sessions_kms.support.stacks import Stack, install

DAY = 24 * 3600


@pytest.mark.long
def test_slow_response_is_waited_for(corp: FakeProvider, expired: Visitor) -> None:
    corp.hooks["/token"] = lambda: time.sleep(6)  # longer than other responses are waited for
    get_token(expired)
    assert len(corp.refreshes) == 1
    assert not corp.reused


@pytest.mark.parametrize("away", [KEPT - 1, KEPT + 1, 6 * DAY])
def test_result_of_a_process_that_died_before_its_save_is_found_while_the_session_lives(
    corp: FakeProvider, expired: Visitor, store: Stack, away: int
) -> None:
    assert successor_of(stored_tokens(expired)).made
    store.clock.advance(away)
    get_token(expired)
    assert not corp.reused
    assert len(corp.refreshes) == len(set(corp.refreshes)) == 2


def test_result_that_was_saved_is_kept_for_an_hour(expired: Visitor, store: Stack) -> None:
    get_token(expired)
    ends = [int(item["ttl"]["N"]) for name, item in store.items().items() if "lease#" in name]
    assert ends == [int(store.clock.now) + KEPT]


def test_failure_to_shorten_the_result_does_not_delay_the_session(
    expired: Visitor, store: Stack
) -> None:
    """The hour is only thrift: without it the result lies there as long as a session may."""
    refresh = refresh_of(stored_tokens(expired))
    assert run_sync(refresh.find(patient=True)) is None
    successor = run_sync(refresh.perform())
    store.dynamodb.unavailable = True
    run_sync(refresh.shorten_result(successor))
    store.dynamodb.unavailable = False
    (end,) = [int(item["ttl"]["N"]) for name, item in store.items().items() if "lease#" in name]
    assert end == int(store.clock.now) + 7 * DAY


def test_unsaved_result_is_kept_for_the_longest_lifetime_of_a_grant(
    expired: Visitor, store: Stack
) -> None:
    config = replace(store.services.config, grant_timeout=30 * DAY)
    install(replace(store.services, config=config))
    assert successor_of(stored_tokens(expired)).made
    (end,) = [int(item["ttl"]["N"]) for name, item in store.items().items() if "lease#" in name]
    assert end == int(store.clock.now) + 30 * DAY


def test_result_is_kept_no_longer_than_a_session_may_live(signed_in: Visitor, store: Stack) -> None:
    config = replace(store.services.config, absolute_timeout=KEPT // 2)
    install(replace(store.services, config=config))
    get_token(signed_in, rejected=stored_tokens(signed_in))
    store.clock.advance(40)  # an access token younger than half a minute is returned unchanged
    get_token(signed_in, rejected=stored_tokens(signed_in))
    (end,) = [int(item["ttl"]["N"]) for name, item in store.items().items() if "lease#" in name]
    assert end == int(store.clock.now) + KEPT // 2


def test_silent_provider_does_not_block_another(
    corp: FakeProvider, other: FakeProvider, connected: Visitor, store: Stack
) -> None:
    held = vault.load_token_set(connected.session, "corp")
    assert held is not None
    keys = []
    for _ in range(40):
        session = SessionStore()
        vault.store_token_set(session, "corp", replace(held, grant_secret=new_grant_secret()))
        session.save()
        keys.append(session.session_key)
    go_on = threading.Event()

    def keep_silent() -> None:
        go_on.wait(30)

    corp.hooks["/token"] = keep_silent
    store.clock.advance(4000)

    async def run() -> bool:
        slow = [
            asyncio.ensure_future(oauth.aget_token(request_of(connected, key), "corp"))
            for key in keys
        ]
        await asyncio.sleep(0.1)
        await asyncio.wait_for(oauth.aget_token(request_of(connected), "other"), 20)
        waiting = not any(task.done() for task in slow)
        go_on.set()
        await asyncio.gather(*slow, return_exceptions=True)
        return waiting

    assert asyncio.run(run())


def test_single_logout_happens_while_revocations_hang(
    corp: FakeProvider, visitor: Visitor, settings: Settings
) -> None:
    configure(settings, environment("corp", corp, SINGLE_LOGOUT="1"))
    corp.more_of_metadata = {"end_session_endpoint": f"{corp.issuer}/end"}
    visitor.sign_in(corp)
    configured = find_provider("corp")
    assert configured is not None
    assert metadata.load_metadata(configured).end_session_endpoint
    go_on = threading.Event()
    for _ in range(concurrency.BACKGROUND_THREADS):
        concurrency.run_in_background(lambda: go_on.wait(30))
    try:
        response = visitor.client.post("/accounts/logout/")
    finally:
        go_on.set()
    assert f"{corp.issuer}/end" in response.content.decode()
