"""A client's session that is read ahead: for one request, its token, its upstream, one taking."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.urls import path
from pytest_django import Settings

from gateway_site.forwarding.client_session import (
    GRANT_KEY,
    PrefetchedGrant,
    prefetch_grant,
    prefetched_grant,
)
from gateway_site.forwarding.handler import GatewayHandler
from gateway_site.forwarding.middleware_run import without_io
from gateway_site.forwarding.user_cache import UserCache
from oauth.clients.consent import Consent
from oauth.clients.grants import grants
from oauth.clients.server import AuthorizationServer
from oauth.provider.token_set import TokenSet
from oauth.sign_in.openid_adapter import code_challenge
from sessions_kms import StoreUnavailable
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.services import services
from tests.gateway_site.forwarding.test_middleware_run import here, in_a_new_loop
from tests.oauth.support.grants import ASKED
from tests.sessions_kms.support.stacks import Stack

VERIFIER = "v" * 43
MIDDLEWARE = "gateway_site.forwarding.client_session.ClientSessionMiddleware"


@without_io
def whose(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{request.session.get('_auth_user_id')} {here()}")


def whose_in_a_thread(request: HttpRequest) -> HttpResponse:
    return whose(request)


urlpatterns = [
    path("gateway/tools/x", whose),
    path("gateway/tools/waits", whose_in_a_thread),
    path("gateway/others/x", whose),
]


@pytest.fixture(autouse=True)
def project(store: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ROOT_URLCONF = "tests.gateway_site.forwarding.test_prefetched_grant"
    settings.AUTHORIZATION_SERVER = AuthorizationServer(
        issuer="http://testserver", upstreams={"tools": "corp", "others": "corp"}
    )
    settings.MIDDLEWARE = [
        MIDDLEWARE if each.endswith("SessionMiddleware") else each for each in settings.MIDDLEWARE
    ]
    monkeypatch.setattr(UserCache, "is_cached", lambda *_: True)


def allowed(user: User) -> str:
    """Return an access token of somebody's for the tools."""
    resource = "http://testserver/gateway/tools"
    consent = Consent(
        "c", "C", None, "http://127.0.0.1/", "tools", resource, "tools", code_challenge(VERIFIER)
    )
    held = TokenSet(access_token="t", token_type="Bearer", scope=(), subject="1", client_id="g")
    backend = django_settings.AUTHENTICATION_BACKENDS[0]
    code = run_sync(grants().allow(user, consent, "corp", held, backend=backend)).code
    asked = ASKED | {"client_id": "c", "redirect_uri": None, "arrived_at": services().clock()}
    issued = run_sync(grants().redeem(code, verifier=VERIFIER, **asked))
    return issued.access_token


def tokens() -> dict[str, str]:
    """Return a token by the id of the person whose it is."""
    users = [User.objects.create_user(name) for name in ("ada", "grace")]
    return {str(user.pk): allowed(user) for user in users}


def scope_of(token: str, address: str = "/gateway/tools/x") -> dict[str, Any]:
    headers = [(b"host", b"testserver"), (b"authorization", f"Bearer {token}".encode())]
    return {
        "type": "http",
        "method": "GET",
        "path": address,
        "raw_path": address.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": headers,
    }


async def asked(handler: GatewayHandler, scope: dict[str, Any]) -> str:
    told: list[dict[str, Any]] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        told.append(message)

    await asyncio.create_task(handler(scope, receive, send))
    return b"".join(each.get("body", b"") for each in told).decode()


def reads(store: Stack) -> int:
    return sum(call.startswith("GetItem") for call in store.dynamodb.calls)


def test_calls_that_interleave_have_each_its_own_session(monkeypatch: pytest.MonkeyPatch) -> None:
    (slow, slow_token), (fast, fast_token) = tokens().items()
    handler = GatewayHandler()
    read = PrefetchedGrant.__aenter__

    async def interleaved() -> list[str]:
        waits, goes_on, has_read = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def slowly(self: PrefetchedGrant) -> Any:
            found = await read(self)
            if self.is_of(slow_token, "tools") and not has_read.is_set():
                has_read.set()
                waits.set()
                await goes_on.wait()
            return found

        monkeypatch.setattr(PrefetchedGrant, "__aenter__", slowly)
        first = asyncio.create_task(asked(handler, scope_of(slow_token)))
        await waits.wait()
        between = [await asked(handler, scope_of(each)) for each in (fast_token, slow_token)]
        goes_on.set()
        return [await first, *between]

    assert in_a_new_loop(interleaved) == [f"{slow} loop", f"{fast} loop", f"{slow} loop"]


def test_thread_after_the_event_loop_reads_again(store: Stack) -> None:
    """What was read is taken by then, and may have been changed."""
    person, token = next(iter(tokens().items()))
    handler = GatewayHandler()
    for address, expected, count in (
        ("/gateway/tools/x", f"{person} loop", 1),
        ("/gateway/tools/waits", f"{person} thread", 2),
    ):
        scope = scope_of(token, address)
        in_a_new_loop(partial(asked, handler, scope))  # the key is known then
        before = reads(store)
        assert in_a_new_loop(partial(asked, handler, scope)) == expected
        assert reads(store) - before == count


def opened_ahead(token: str, upstream: str) -> dict[str, Any]:
    """Return a scope in which a session was left."""
    address = f"/gateway/{upstream}/x"
    scope = scope_of(token, address)

    async def reading() -> None:
        block = prefetch_grant(scope, address)
        assert block is not None
        async with block:
            pass

    async_to_sync(reading)()
    return scope


def request_of(scope: dict[str, Any]) -> HttpRequest:
    request = RequestFactory().get("/")
    request.scope = scope  # type: ignore[attr-defined]  # as an ASGI request has it
    return request


def test_what_was_read_is_for_its_token_and_upstream_and_once() -> None:
    mine, another = tokens().values()
    scope = opened_ahead(mine, "tools")
    request = request_of(scope)
    assert prefetched_grant(request, another, "tools") is None
    assert prefetched_grant(request, mine, "others") is None
    assert prefetched_grant(request_of(scope_of(mine)), mine, "tools") is None
    found = prefetched_grant(request, mine, "tools")
    assert found is not None
    assert found.take() is not None
    assert prefetched_grant(request, mine, "tools") is None


def test_token_of_another_upstream_opens_nothing() -> None:
    token = next(iter(tokens().values()))
    found = prefetched_grant(request_of(opened_ahead(token, "others")), token, "others")
    assert found is not None
    assert found.take() is None


def test_outage_is_raised_when_the_grant_is_taken(store: Stack) -> None:
    token = next(iter(tokens().values()))
    store.dynamodb.unavailable = True
    found = prefetched_grant(request_of(opened_ahead(token, "tools")), token, "tools")
    assert found is not None
    with pytest.raises(StoreUnavailable):
        found.take()


def test_nothing_is_read_without_a_token_or_where_no_client_may_call() -> None:
    token = next(iter(tokens().values()))
    unsent = {**scope_of(token), "headers": [(b"host", b"testserver")]}
    assert prefetch_grant(unsent, "/gateway/tools/x") is None
    scope = scope_of(token)
    for address in ("/gateway/absent/x", "/sessions/"):
        assert prefetch_grant(scope, address) is None
    assert GRANT_KEY not in unsent | scope


def test_no_token_remains_after_the_request() -> None:
    token = next(iter(tokens().values()))
    assert token not in repr(opened_ahead(token, "tools")[GRANT_KEY])
