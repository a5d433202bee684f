"""The session that a client's call gets by its token: the key of a grant is never a cookie."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, Never, cast

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import HASH_SESSION_KEY
from django.contrib.auth.models import User
from django.db import OperationalError
from django.http import HttpResponse
from django.test import RequestFactory
from pytest_django import Settings

from gateway_site.forwarding.asgi import gateway
from gateway_site.forwarding.calls import caller as who_calls
from gateway_site.forwarding.calls import calls
from gateway_site.forwarding.calls.caller import CHALLENGE, Caller, ClientGrant
from gateway_site.forwarding.calls.response_headers import renew_session_cookie
from gateway_site.forwarding.calls.upstream_call import UpstreamCall
from gateway_site.forwarding.calls.upstream_token import GRANT_ENDING_CODES, settle_problem
from gateway_site.forwarding.calls.user_cache import user_cache
from gateway_site.rules import problems
from gateway_site.rules.problems import Problem
from gateway_site.rules.upstream import read_upstreams
from oauth.clients.consent import Consent
from oauth.clients.grants import Grants, grants
from oauth.clients.server import AuthorizationServer
from oauth.formats import hash_text
from oauth.provider.token_set import TokenSet
from oauth.sign_in import session_user
from sessions_kms import GrantStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import TableUnavailable
from sessions_kms.outages import Outage
from tests.gateway_site.support.gateways import upstream_variables
from tests.gateway_site.support.in_process import (
    Response,
    ask,
    forward_call,
    in_a_new_loop,
)
from tests.oauth.support.grants import ASKED
from tests.sessions_kms.support.stacks import Stack
from tests.support.clock import FakeClock

# The user is queried in a thread, which sees what is committed.
pytestmark = pytest.mark.django_db(transaction=True)

VERIFIER = "v" * 43


@pytest.fixture
def token(store: Stack, settings: Settings) -> str:
    """Have a client allowed to call an upstream; return its access token."""
    settings.AUTHORIZATION_SERVER = AuthorizationServer(
        issuer="http://testserver", upstreams={"tools": "corp"}
    )
    settings.UPSTREAMS = read_upstreams(upstream_variables("TOOLS", 9))
    user_cache.cache_clear()
    resource = "http://testserver/gateway/tools"
    consent = Consent(
        "c", "C", None, "http://127.0.0.1/", "tools", resource, "tools", hash_text(VERIFIER)
    )
    held = TokenSet(access_token="t", token_type="Bearer", scope=(), subject="1", client_id="g")
    user = User.objects.create_user("ada")
    backend = django_settings.AUTHENTICATION_BACKENDS[0]
    code = run_sync(grants().allow(user, consent, "corp", held, backend=backend)).code
    asked = ASKED | {"client_id": "c", "redirect_uri": None, "arrived_at": store.clock()}
    issued = run_sync(grants().redeem(code, verifier=VERIFIER, **asked))
    return issued.access_token


Forward = Callable[[UpstreamCall], Awaitable[Problem | None]]


async def not_forwarded(call: UpstreamCall) -> Problem | None:
    return Problem(418, "admitted", "It would be forwarded.")


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Response]:
    """Return a function that calls with a token; `forward` is what admitted calls do."""

    def call(token: str, forward: Forward = not_forwarded) -> Response:
        async def instead(call: UpstreamCall, *_: object) -> Problem | None:
            return await forward(call)

        monkeypatch.setattr(calls, "make_call", instead)
        handler = gateway()
        response: Response = in_a_new_loop(
            lambda: ask(handler, "/gateway/tools/x", method="POST", token=token)
        )
        return response

    return call


def header(response: Response, name: bytes) -> str | None:
    found = [value.decode() for each, value in response[2] if each.lower() == name]
    return found[0] if found else None


def code_of(response: Response) -> tuple[int, str]:
    return response[0], json.loads(response[1])["code"]


def test_process_that_lacks_a_newer_key_of_djangos_has_a_program_try_again(
    token: str,
    called: Callable[..., Response],
    store: Stack,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At a 401 programs give up their tokens, or open a browser."""
    monkeypatch.setattr(session_user, "started_at", 0.0)
    before = store.items()
    settings.SECRET_KEY = "another-" + settings.SECRET_KEY
    response = called(token)
    assert code_of(response) == (503, "key_missing")
    assert int(header(response, b"retry-after") or "") > 0
    assert header(response, b"www-authenticate") is None
    monkeypatch.setattr(session_user, "started_at", time.time() + 1)
    response = called(token)
    assert code_of(response) == (401, "signed_out")
    assert (header(response, b"www-authenticate") or "").startswith("Bearer")
    assert store.items() == before


@pytest.fixture
def changed_key(token: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change the secret key, so that Django changes each session that it loads."""
    monkeypatch.setattr(session_user, "started_at", time.time() + 1)  # the hash is not new
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-" + settings.SECRET_KEY


def test_what_changed_in_a_grant_is_saved_and_its_key_never_a_cookie(
    token: str, called: Callable[..., Response], changed_key: None
) -> None:
    before = run_sync(grants().open(token, upstream="tools"))

    async def change(call: UpstreamCall) -> Problem:
        response = HttpResponse()
        call.caller.session.modified = True
        await renew_session_cookie(
            call.request, call.caller, response
        )  # as after a refresh while forwarding
        assert not response.cookies
        return Problem(418, "admitted", "It would be forwarded.")

    response = called(token, change)
    assert code_of(response) == (418, "admitted")
    assert header(response, b"set-cookie") is None
    stored = run_sync(grants().open(token, upstream="tools"))
    assert stored is not None
    assert before is not None
    assert stored.session[HASH_SESSION_KEY] != before.session[HASH_SESSION_KEY]


def test_grant_that_ended_meanwhile_is_not_stored_again(
    token: str, called: Callable[..., Response], changed_key: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = GrantStore.asave

    async def end(self: GrantStore) -> None:
        await GrantStore(self.session_key).adelete()
        await save(self)

    monkeypatch.setattr(GrantStore, "asave", end)
    assert header(called(token), b"set-cookie") is None
    assert run_sync(grants().open(token, upstream="tools")) is None


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Outage:
    outage = Outage(logging.getLogger("database"), "database", "The database", FakeClock())
    monkeypatch.setattr(problems, "database_outage", outage)
    return outage


async def test_who_shows_nothing_in_an_outage_of_the_database_is_led_to_no_sign_in(
    token: str, database: Outage
) -> None:
    """It would not end; a client whose refresh was answered 503 keeps what it has."""

    async def refuse() -> Problem:
        with pytest.raises(Problem) as found:
            await who_calls.find_caller(RequestFactory().post("/gateway/tools/x"))
        return found.value

    assert (await refuse()).status == 401
    database.refused(OperationalError("no server"))
    problem = await refuse()
    assert (problem.status, problem.code) == (503, "database_unavailable")
    assert CHALLENGE not in problem.headers
    database.served()
    assert (await refuse()).status == 401


@pytest.mark.parametrize("code", sorted(GRANT_ENDING_CODES))
async def test_grant_of_no_use_that_cannot_be_ended_now_is_an_outage(code: str) -> None:
    """A 401 would have its client refresh, which works, and ask again, forever."""

    async def fail(*_: object) -> Never:
        raise TableUnavailable

    request = RequestFactory().post("/gateway/tools/x")
    caller = Caller(GrantStore(), ClientGrant(end=fail, demand_scopes=fail, client_id="own"))
    call = cast("UpstreamCall", SimpleNamespace(request=request, caller=caller))
    problem = await settle_problem(call, Problem(401, code, "Sign in."))
    assert (problem.status, problem.code) == (503, "store_unavailable")
    assert CHALLENGE not in problem.headers


def test_grant_that_a_new_password_ends_leaves_nothing_behind(
    token: str, called: Callable[..., Response], store: Stack
) -> None:
    User.objects.update(password="another")
    response = called(token)
    assert response[0] == 401
    assert (header(response, b"www-authenticate") or "").startswith(
        'Bearer error="invalid_token", '
    )
    assert [each for each in store.items() if "#" not in each] == []


def test_calls_that_interleave_have_each_its_own_session(
    token: str, called: Callable[..., Response], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that opens nothing does not get what another has just opened."""
    monkeypatch.setattr(calls, "make_call", forward_call)
    handler = gateway()
    read = Grants.open

    async def both() -> list[int]:
        waits, go_on = asyncio.Event(), asyncio.Event()

        async def slowly(self: Grants, shown: str, **more: Any) -> Any:
            found = await read(self, shown, **more)
            if shown == token and not waits.is_set():
                waits.set()
                await go_on.wait()
            return found

        monkeypatch.setattr(Grants, "open", slowly)
        slow = asyncio.create_task(ask(handler, "/gateway/tools/x", token=token))
        await waits.wait()
        made_up = (await ask(handler, "/gateway/tools/x", token="gwa_" + "a" * 32))[0]
        go_on.set()
        return [made_up, (await slow)[0]]

    assert in_a_new_loop(both) == [401, 200]
