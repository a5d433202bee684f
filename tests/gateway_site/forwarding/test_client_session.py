"""The middleware that gives a client's call its session: the key of a grant is never a cookie."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Never, cast

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.contrib.auth import get_user
from django.contrib.auth.models import User
from django.core.exceptions import SynchronousOnlyOperation
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from pytest_django import Settings

from gateway_site.forwarding.admission import ORIGINAL_SCOPE, admit
from gateway_site.forwarding.client_session import ClientSessionMiddleware
from gateway_site.forwarding.middleware_run import renew_session_cookie
from gateway_site.forwarding.upstream_call import (
    CHALLENGE,
    GRANT_ENDING_CODES,
    ClientGrant,
    UpstreamCall,
    mark_client_request,
    settle_problem,
)
from gateway_site.rules import problems
from gateway_site.rules.problems import Problem
from oauth.clients.consent import Consent
from oauth.clients.grants import grants
from oauth.clients.server import AuthorizationServer
from oauth.provider.token_set import TokenSet
from oauth.sign_in import session_user
from oauth.sign_in.authentication import AuthenticationMiddleware
from oauth.sign_in.openid_adapter import code_challenge
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import TableUnavailable
from sessions_kms.outages import Outage
from tests.oauth.support.grants import ASKED
from tests.sessions_kms.support.stacks import Stack
from tests.support.clock import FakeClock

VERIFIER = "v" * 43


@pytest.fixture
def token(store: Stack, settings: Settings) -> str:
    """Have a client allowed to call an upstream; return its access token."""
    settings.AUTHORIZATION_SERVER = AuthorizationServer(
        issuer="http://testserver", upstreams={"tools": "corp"}
    )
    resource = "http://testserver/gateway/tools"
    consent = Consent(
        "c", "C", None, "http://127.0.0.1/", "tools", resource, "tools", code_challenge(VERIFIER)
    )
    held = TokenSet(access_token="t", token_type="Bearer", scope=(), subject="1", client_id="g")
    user = User.objects.create_user("ada")
    backend = django_settings.AUTHENTICATION_BACKENDS[0]
    code = run_sync(grants().allow(user, consent, "corp", held, backend=backend)).code
    asked = ASKED | {"client_id": "c", "redirect_uri": None, "arrived_at": store.clock()}
    issued = run_sync(grants().redeem(code, verifier=VERIFIER, **asked))
    return issued.access_token


def called(token: str, view: Callable[[HttpRequest], HttpResponse]) -> HttpResponse:
    request = RequestFactory().post(
        "/gateway/tools/x", headers={"authorization": f"Bearer {token}"}
    )
    response = ClientSessionMiddleware(view)(request)
    assert isinstance(response, HttpResponse)
    return response


def admitted(token: str) -> HttpResponse:
    """Return how a call is answered that an upstream would get if it were admitted."""

    def view(request: HttpRequest) -> HttpResponse:
        path = b"/gateway/tools/x"
        scope = {"raw_path": path, "query_string": b"", "method": "POST", "headers": []}
        request.scope = {ORIGINAL_SCOPE: scope}  # type: ignore[attr-defined]  # as under ASGI
        return admit(request, "tools/x")

    return called(token, AuthenticationMiddleware(view))  # type: ignore[arg-type]  # it is sync


def test_process_that_lacks_a_newer_key_of_djangos_has_a_program_try_again(
    token: str, store: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a 401 programs give up their tokens, or open a browser."""
    monkeypatch.setattr(session_user, "started_at", 0.0)
    before = store.items()
    settings.SECRET_KEY = "another-" + settings.SECRET_KEY
    answer = admitted(token)
    assert (answer.status_code, answer["X-Gateway-Problem"]) == (503, "key_missing")
    assert int(answer["Retry-After"]) > 0
    assert CHALLENGE not in answer
    monkeypatch.setattr(session_user, "started_at", time.time() + 1)
    answer = admitted(token)
    assert (answer.status_code, answer["X-Gateway-Problem"]) == (401, "signed_out")
    assert answer[CHALLENGE].startswith("Bearer")
    assert store.items() == before


def test_what_changed_in_a_grant_is_saved_and_its_key_never_a_cookie(token: str) -> None:
    """Django changes a session when the secret key was rotated, say."""

    def change(request: HttpRequest) -> HttpResponse:
        request.session["changed"] = True
        response = HttpResponse()
        async_to_sync(renew_session_cookie)(
            request, response
        )  # as after a refresh while forwarding
        return response

    response = called(token, change)
    assert not response.cookies
    stored = run_sync(grants().session(token, upstream="tools"))
    assert stored is not None
    assert stored["changed"]


def test_grant_that_ended_meanwhile_is_not_stored_again(token: str) -> None:
    def end(request: HttpRequest) -> HttpResponse:
        request.session["changed"] = True
        request.session.delete()
        return HttpResponse()

    assert not called(token, end).cookies
    assert run_sync(grants().session(token, upstream="tools")) is None


def test_person_who_is_refused_later_is_challenged_as_well(token: str) -> None:
    response = called(token, lambda _: HttpResponse(status=401))
    assert response["WWW-Authenticate"].startswith('Bearer error="invalid_token", ')


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Outage:
    outage = Outage(logging.getLogger("database"), "database", "The database", FakeClock())
    monkeypatch.setattr(problems, "database_outage", outage)
    return outage


def test_who_shows_nothing_in_an_outage_of_the_database_is_led_to_no_sign_in(
    token: str, database: Outage
) -> None:
    """It would not end; a client whose refresh was answered 503 keeps what it has."""

    def with_nothing() -> HttpResponse:
        request = RequestFactory().post("/gateway/tools/x")
        response = ClientSessionMiddleware(lambda _: HttpResponse())(request)
        assert isinstance(response, HttpResponse)
        return response

    assert with_nothing().status_code == 401
    database.refused(OperationalError("no server"))
    answer = with_nothing()
    assert (answer.status_code, answer["X-Gateway-Problem"]) == (503, "database_unavailable")
    assert "WWW-Authenticate" not in answer
    database.served()
    assert with_nothing().status_code == 401


@pytest.mark.parametrize("code", sorted(GRANT_ENDING_CODES))
async def test_grant_of_no_use_that_cannot_be_ended_now_is_an_outage(code: str) -> None:
    """A 401 would have its client refresh, which works, and ask again for ever."""

    async def fail(*_: object) -> Never:
        raise TableUnavailable

    request = RequestFactory().post("/gateway/tools/x")
    mark_client_request(request, ClientGrant(end=fail, demand_scopes=fail))
    call = cast("UpstreamCall", SimpleNamespace(request=request))
    problem = await settle_problem(call, Problem(401, code, "Sign in."))
    assert (problem.status, problem.code) == (503, "store_unavailable")
    assert CHALLENGE not in problem.headers


async def test_token_is_looked_for_in_a_thread_only(token: str) -> None:
    with pytest.raises(SynchronousOnlyOperation):
        called(token, lambda _: HttpResponse())


def test_grant_that_a_new_password_ends_leaves_nothing_behind(token: str, store: Stack) -> None:
    def ask(request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=401 if get_user(request).is_anonymous else 200)

    User.objects.update(password="another")
    assert called(token, ask).status_code == 401
    assert [each for each in store.items() if "#" not in each] == []
