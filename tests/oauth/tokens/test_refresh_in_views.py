"""A refresh inside a view, with Django's middleware around it, and a table that fails."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient
from django.urls import path
from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter
from pytest_django import Settings

import oauth
from oauth.provider.refresh_lease import LEASE_SECONDS
from oauth.provider.token_set import TokenSet
from oauth.tokens import refresh_queue, vault
from oauth.tokens.refresh_coordinator import _back_off
from sessions_kms.backend import SessionStore
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.format.item_types import session_id
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.provider_failures import NONSENSE, respond_with
from tests.oauth.support.requests import request_of, stored_tokens
from tests.sessions_kms.support.faults import apply_and, drop_connection, error
from tests.sessions_kms.support.faulty import FaultyStack, behind_proxies
from tests.sessions_kms.support.memory_dynamodb import refuse_write
from tests.sessions_kms.support.stacks import Stack, aws_stack
from tests.support.clock import FakeClock
from tests.support.local_kms import LocalKMS


def failing(request: HttpRequest) -> HttpResponse:
    request.session["half"] = "done"
    oauth.get_token(request, "corp")
    raise RuntimeError("The view fails after the refresh.")


async def afailing(request: HttpRequest) -> HttpResponse:
    await request.session.aset("half", "done")
    await oauth.aget_token(request, "corp")
    return HttpResponse(status=502)


def changing(request: HttpRequest) -> HttpResponse:
    request.session["whole"] = "done"
    oauth.get_token(request, "corp")
    return HttpResponse()


urlpatterns = [
    path("failing/", failing),
    path("afailing/", afailing),
    path("changing/", changing),
]


@pytest.fixture
def expired(expired: Visitor, settings: Settings) -> Visitor:
    settings.ROOT_URLCONF = __name__
    expired.client.raise_request_exception = False
    return expired


def test_refreshed_token_survives_an_error_of_the_view(
    corp: FakeProvider, expired: Visitor
) -> None:
    assert expired.client.get("/failing/").status_code == 500
    assert stored_tokens(expired).refresh_token in corp.refresh_tokens
    assert "half" not in expired.session


def test_refreshed_token_survives_a_5xx_response_of_an_async_view(
    corp: FakeProvider, expired: Visitor
) -> None:
    client = AsyncClient()
    client.cookies = expired.client.cookies

    async def get() -> int:
        response = await client.get("/afailing/")
        return int(response.status_code)

    assert asyncio.run(get()) == 502
    assert stored_tokens(expired).refresh_token in corp.refresh_tokens
    assert "half" not in expired.session


def test_refreshed_token_and_another_change_are_both_saved(
    corp: FakeProvider, expired: Visitor
) -> None:
    assert expired.client.get("/changing/").status_code == 200
    assert stored_tokens(expired).refresh_token in corp.refresh_tokens
    assert expired.session["whole"] == "done"


def test_event_loop_is_not_blocked_by_a_refresh(corp: FakeProvider, expired: Visitor) -> None:
    beats = 0
    request = request_of(expired)

    async def refresh() -> None:
        nonlocal beats
        waiting = asyncio.Event()
        loop = asyncio.get_running_loop()
        release = asyncio.Event()

        def hold() -> None:
            loop.call_soon_threadsafe(waiting.set)
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result(30)

        corp.hooks["/token"] = hold
        task = asyncio.ensure_future(oauth.aget_token(request, "corp"))
        await waiting.wait()
        for _ in range(10):
            await asyncio.sleep(0)
            beats += 1
        release.set()
        await task

    asyncio.run(refresh())
    assert beats == 10
    assert len(refresh_queue._refreshes) == len(refresh_queue._grant_queues) == 0


# A table that fails


@pytest.fixture
def faulty(
    corp: FakeProvider,
    local_kms: LocalKMS,
    roto_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[FaultyStack]:
    """Serve the session from real servers, DynamoDB behind a proxy that fails as told."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", local_kms.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", roto_url)
    stack = aws_stack("servers", FakeClock())
    with behind_proxies(stack, roto_url, local_kms.url, monkeypatch) as behind:
        yield behind


def expired_session(corp: FakeProvider, faulty: FaultyStack) -> Any:
    """Return a request of a session that was made without a browser."""
    refresh_token = corp._secret()
    corp.refresh_tokens.add(refresh_token)
    session = SessionStore()
    vault.store_token_set(
        session,
        "corp",
        TokenSet(
            access_token=corp._secret(),
            refresh_token=refresh_token,
            token_type="Bearer",
            scope=("openid",),
            subject="1001",
            client_id=corp.client_id,
            expires_at=int(faulty.stack.clock.now) - 1,
        ),
    )
    session.save()
    request = request_of_key(session.session_key)
    request.session.get("x")
    return request


def request_of_key(key: str | None) -> Any:
    return request_of(Visitor(), key)


def id_of(faulty: FaultyStack, request: Any) -> bytes:
    return session_id(faulty.stack.config.namespace, request.session.session_key).encode()


@pytest.mark.parametrize(
    "fault", [error("InternalServerError", 500), error("AccessDeniedException"), drop_connection]
)
def test_table_failure_between_refresh_and_save_loses_no_token(
    corp: FakeProvider, faulty: FaultyStack, fault: Any
) -> None:
    request = expired_session(corp, faulty)
    faulty.table.on("PutItem", fault, matching=id_of(faulty, request))
    with pytest.raises(StoreUnavailable):
        oauth.get_token(request, "corp")
    assert len(corp.refreshes) == 1

    faulty.table.heal()
    again = request_of_key(request.session.session_key)
    new = oauth.get_token(again, "corp")

    assert new.refresh_token in corp.refresh_tokens
    assert len(corp.refreshes) == 1
    assert vault.load_token_set(SessionStore(request.session.session_key), "corp") == new


def test_lost_responses_of_the_table_cause_no_second_refresh(
    corp: FakeProvider, faulty: FaultyStack
) -> None:
    request = expired_session(corp, faulty)
    faulty.table.on("PutItem", apply_and(drop_connection), times=4)
    for _ in range(5):
        with suppress(StoreUnavailable):
            oauth.get_token(request_of_key(request.session.session_key), "corp")
        faulty.stack.clock.advance(
            LEASE_SECONDS + 6
        )  # One that was taken without knowing it lapses.
        _back_off._until.clear()
    new = oauth.get_token(request_of_key(request.session.session_key), "corp")
    assert new.refresh_token in corp.refresh_tokens
    assert len(corp.refreshes) == 1


def test_table_failure_before_the_lease_spends_no_token(
    corp: FakeProvider, faulty: FaultyStack
) -> None:
    request = expired_session(corp, faulty)
    faulty.table.on("PutItem", error("InternalServerError", 500), matching=b"lease#")
    with pytest.raises(StoreUnavailable):
        oauth.get_token(request, "corp")
    assert corp.refreshes == []


# Leaks


FAILURES: dict[str, Any] = {
    "fine": None,
    "server error": NONSENSE["server error"],
    "no json": NONSENSE["no json"],
    "dead grant": respond_with(400, b'{"error": "invalid_grant"}'),
}


@pytest.mark.parametrize("what", FAILURES)
def test_no_secret_is_in_the_logs_or_in_the_report_of_an_error(
    corp: FakeProvider, expired: Visitor, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    held = stored_tokens(expired)
    if FAILURES[what] is not None:
        corp.failing["/token"] = FAILURES[what]
    caught: list[Exception] = []
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "httpcore2"):
        try:
            oauth.get_token(request_of(expired), "corp")
        except oauth.OAuthError as exc:
            caught.append(exc)
    assert bool(caught) is (what != "fine")

    seen = "\n".join([caplog.text, *(repr(vars(record)) for record in caplog.records)])
    seen += "".join(report(exc) for exc in caught)
    assert "httpcore2" in seen
    for secret in [*corp.secrets, held.grant_secret, stored_tokens(expired).grant_secret]:
        assert secret not in seen


@pytest.mark.parametrize(
    "operation", ["GetItem session", "GetItem lease", "PutItem lease", "PutItem session"]
)
def test_no_secret_is_in_the_report_of_a_store_that_fails(
    corp: FakeProvider, expired: Visitor, store: Stack, operation: str
) -> None:
    held = stored_tokens(expired)
    request = request_of(expired)
    request.session.get("x")
    key = request.session.session_key
    store.dynamodb.on(operation, refuse_write)
    with pytest.raises(StoreUnavailable) as caught:
        oauth.get_token(request, "corp")
    seen = report(caught.value)
    for secret in [*corp.secrets, held.grant_secret, key or ""]:
        assert secret not in seen


def report(error: BaseException) -> str:
    """Return Django's page about an error, without the project's filter that hides all values."""
    ours = error.__traceback__ and error.__traceback__.tb_next  # without the test's own frame
    error = error.with_traceback(ours)  # which Django looks at where there is a cause
    reporter = ExceptionReporter(None, type(error), error, ours)
    reporter.filter = SafeExceptionReporterFilter()
    return reporter.get_traceback_html() + reporter.get_traceback_text()
