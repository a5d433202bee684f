"""However many threads, tasks and processes call a server: one exchange, one token."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

import oauth
from oauth.exceptions import AssertionRefused, OAuthError, ReauthenticationRequired
from oauth.mcp.servers import find_server
from oauth.provider.config import find_provider
from oauth.provider.refresh_lease import RefreshLease
from oauth.provider.token_set import TokenSet
from oauth.tokens.asserted_token import AssertedToken, make_placeholder
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.services import services
from tests.oauth.support.asserting import AssertionServer
from tests.oauth.support.fixtures import Visitor, sign_in_at
from tests.oauth.support.full_session import fill_to_the_last_byte
from tests.oauth.support.id_jag_provider import IdJagProvider
from tests.oauth.support.requests import (
    assert_no_token,
    drop_tokens,
    get_token,
    request_in_threads,
    request_of,
    stored_tokens,
)
from tests.sessions_kms.support.stacks import Stack

MANY = 32


def call_of_another_process(visitor: Visitor) -> AssertedToken:
    """Return a call that does not share this process's queues."""
    server, corp = find_server("notes"), find_provider("corp")
    assert server is not None
    assert corp is not None
    return AssertedToken(services(), SessionStore(visitor.session.session_key), server, corp)


def in_processes(visitor: Visitor, count: int) -> list[TokenSet | OAuthError]:
    calls = [call_of_another_process(visitor) for _ in range(count)]
    barrier = threading.Barrier(count)

    def call(each: AssertedToken) -> TokenSet | OAuthError:
        barrier.wait(timeout=30)
        try:
            return run_sync(each.refresh(patient=True)).token_set
        except OAuthError as exc:
            return exc
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, calls))


@pytest.mark.parametrize("away", [0, 4000])
def test_processes_share_one_exchange(
    signed_in: Visitor, corp: IdJagProvider, server: AssertionServer, store: Stack, away: int
) -> None:
    get_token(signed_in, "notes")
    store.clock.advance(away)
    if not away:  # as before the first call
        drop_tokens(signed_in, "notes")
    responses = in_processes(signed_in, 4)
    assert responses == [stored_tokens(signed_in, "notes")] * 4
    assert len(corp.exchanges) == len(server.forms) == 2
    assert len(corp.refreshes) == bool(away)


def test_processes_share_one_refusal(
    signed_in: Visitor, corp: IdJagProvider, server: AssertionServer
) -> None:
    server.error = "invalid_grant"
    responses = in_processes(signed_in, 4)
    assert {type(each) for each in responses} == {AssertionRefused}
    assert len(server.forms) == 1


def test_processes_share_one_refresh_that_brings_no_id_token(
    signed_in: Visitor, corp: IdJagProvider, server: AssertionServer, store: Stack
) -> None:
    corp.renews_id_token = False
    store.clock.advance(61)
    responses = in_processes(signed_in, 4)
    assert all(isinstance(each, ReauthenticationRequired) for each in responses)
    assert (len(corp.refreshes), corp.exchanges) == (1, [])


def test_process_that_comes_when_a_refused_one_leaves_makes_no_attempt(
    signed_in: Visitor, server: AssertionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = RefreshLease.release
    late: list[TokenSet | OAuthError] = []

    async def release_and_race(lease: RefreshLease) -> None:
        await release(lease)
        if not late:
            late.extend([AssertionRefused()])
            late[:] = in_processes(signed_in, 1)

    monkeypatch.setattr(RefreshLease, "release", release_and_race)
    server.error = "invalid_grant"
    assert_no_token(signed_in, AssertionRefused, "notes")
    assert [type(each) for each in late] == [AssertionRefused]
    assert len(server.forms) == 1


def test_full_session_waits_after_a_refusal_in_all_processes(
    signed_in: Visitor, corp: IdJagProvider, server: AssertionServer, store: Stack
) -> None:
    """It has no room to note the refusal, but neither side is asked again for five minutes."""
    fill_to_the_last_byte(signed_in.session)
    server.error = "invalid_grant"
    for _ in range(3):
        assert_no_token(signed_in, AssertionRefused, "notes")
        store.clock.advance(19)
    assert "oauth_assertion_failed:notes" not in signed_in.session
    assert {type(each) for each in in_processes(signed_in, 4)} == {AssertionRefused}
    assert len(corp.exchanges) == len(server.forms) == 1
    store.clock.advance(243)
    assert_no_token(signed_in, AssertionRefused, "notes")
    assert len(corp.exchanges) == len(server.forms) == 2


def test_threads_share_one_exchange(signed_in: Visitor, server: AssertionServer) -> None:
    responses = request_in_threads(lambda each: get_token(each, "notes"), [signed_in] * MANY)
    assert responses == [stored_tokens(signed_in, "notes")] * MANY
    assert len(server.forms) == 1


def test_tasks_share_one_exchange(signed_in: Visitor, server: AssertionServer) -> None:
    requests = [request_of(signed_in) for _ in range(MANY)]

    async def in_tasks() -> list[TokenSet]:
        return await asyncio.gather(*(oauth.aget_token(each, "notes") for each in requests))

    responses = asyncio.run(in_tasks())
    assert responses == [stored_tokens(signed_in, "notes")] * MANY
    assert len(server.forms) == 1


def test_process_that_died_is_waited_for_no_longer_than_its_lease(
    signed_in: Visitor, server: AssertionServer, store: Stack
) -> None:
    declared = find_server("notes")
    assert declared is not None
    session = SessionStore(signed_in.session.session_key)
    held = make_placeholder(session, declared, "corp", str(signed_in.user_id))
    run_sync(RefreshLease(services(), held).claim(0))
    store.clock.advance(21)
    assert get_token(signed_in, "notes") == stored_tokens(signed_in, "notes")


def test_other_browser_has_its_own_token(
    signed_in: Visitor, corp: IdJagProvider, server: AssertionServer
) -> None:
    other = sign_in_at(corp)
    tokens = {get_token(each, "notes").access_token for each in (signed_in, other)}
    assert len(tokens) == len(server.forms) == 2
