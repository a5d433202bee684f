"""Registrations: found, made once, replaced when they are dead, and never lost for their tokens."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pytest_django import Settings

from oauth.codes import Code
from oauth.exceptions import OAuthError, ProviderBusy, ProviderRefused, ProviderUnavailable
from oauth.mcp.discovery import Discovered
from oauth.mcp.provider import provider_of, with_credentials
from oauth.mcp.registration import Registration
from oauth.mcp.registrations import registration_for
from oauth.mcp.servers import McpServer
from oauth.mcp.stored_registrations import (
    Pause,
    StoredRegistrations,
    find_registration,
    load_registrations,
)
from oauth.network.concurrency import ConcurrencyLimit
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.sealed_items.documents import SealedDocuments
from tests.oauth.support import fake_provider
from tests.oauth.support.fake_provider import JSON, Response
from tests.oauth.support.mcp_server import AuthorizationServer
from tests.oauth.support.provider_failures import stall
from tests.oauth.support.registering import (
    CALLBACK,
    MANAGEMENT_TOKEN,
    RESOURCE,
    WIKI,
    Binding,
)
from tests.sessions_kms.support.stacks import Stack

DAY = 86_400
HOUR = 3600


@pytest.fixture
def idp(store: Stack, settings: Settings) -> Iterator[AuthorizationServer]:
    settings.OAUTH_MCP_SERVERS = {"wiki": {"url": RESOURCE}}
    settings.OAUTH_MCP_CLIENT = {"name": "Acme", "origin": "https://gateway.example"}
    with fake_provider.serving(AuthorizationServer) as server:
        yield server


def register_client(found: Discovered, **more: Any) -> Registration:
    return registration_for(found, CALLBACK, **more)


def code_of(found: Discovered) -> Code:
    with pytest.raises(OAuthError) as caught:
        register_client(found)
    assert isinstance(caught.value, ProviderUnavailable | ProviderRefused)
    return caught.value.code


def test_client_of_the_operator_comes_first(idp: AuthorizationServer) -> None:
    server = McpServer(
        name="wiki",
        url=RESOURCE,
        label="Wiki",
        client_id="ours",
        client_secret="s",
        issuer=idp.issuer,
    )
    found = register_client(idp.find(server=server, documents_supported=True))
    assert (found.client_id, found.client_secret, found.auth_method) == ("ours", "s", None)
    assert "'s'" not in repr(found)
    assert idp.registrations == []
    assert find_registration(server, idp.issuer, "ours") is not None
    assert find_registration(server, "https://other.example", "ours") is None


def test_one_registration_serves_all_connections(idp: AuthorizationServer) -> None:
    first = register_client(idp.find())
    assert register_client(idp.find()) == first
    assert len(idp.registrations) == 1
    assert idp.registrations[0] == {
        "client_name": "Acme",
        "client_uri": "https://gateway.example",
        "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "web",
    }
    assert (first.client_secret, first.auth_method) == ("", None)
    assert idp.forms == [], "it is young"


def test_another_issuer_or_redirect_uri_gets_its_own(idp: AuthorizationServer) -> None:
    first = register_client(idp.find())
    with fake_provider.serving(AuthorizationServer) as another:
        second = register_client(another.find())
        assert (second.issuer, len(another.registrations)) == (another.issuer, 1)
    third = registration_for(idp.find(), CALLBACK.replace("gateway", "moved"))
    assert third.client_id != first.client_id
    assert register_client(idp.find()) == first


@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.parametrize("error", ["invalid_client", "unauthorized_client"])
def test_registration_that_was_deleted_is_found_before_anybody_is_sent_there(
    idp: AuthorizationServer, store: Stack, status: int, error: str
) -> None:
    idp.unknown_client = (status, error)
    first = register_client(idp.find())
    idp.clients.clear()
    store.clock.advance(DAY)
    second = register_client(idp.find())
    assert second.client_id != first.client_id
    assert len(idp.registrations) == 2
    (probe,) = idp.forms
    assert probe["grant_type"] == "authorization_code"
    assert (probe["redirect_uri"], probe["resource"]) == (CALLBACK, RESOURCE)
    assert find_registration(WIKI, idp.issuer, first.client_id) == first, "for its tokens"


@pytest.mark.parametrize(
    "response", [(400, "invalid_grant"), (401, "invalid_grant"), (500, "server_error"), (400, "x")]
)
def test_registration_that_lives_stays(
    idp: AuthorizationServer, store: Stack, response: tuple[int, str]
) -> None:
    idp.unknown_code = response
    first = register_client(idp.find(auth_methods=("client_secret_basic",)))
    assert first.client_secret
    store.clock.advance(10 * DAY)
    for asked in (1, 1, 2):  # once a minute
        assert register_client(idp.find(auth_methods=("client_secret_basic",))) == first
        assert len(idp.forms) == asked
        store.clock.advance(59 if asked == 1 else 0)


def test_registration_stays_while_the_server_cannot_be_reached(
    idp: AuthorizationServer, store: Stack
) -> None:
    first = register_client(idp.find())
    store.clock.advance(2 * DAY)
    nowhere = "http://127.0.0.1:9/"
    gone = idp.find(token_endpoint=nowhere, registration_endpoint=nowhere)
    assert register_client(gone) == first


@pytest.mark.parametrize(
    ("age", "is_asked"), [(0, False), (-300, False), (-301, True), (DAY - 1, False), (DAY, True)]
)
def test_server_is_asked_about_what_is_old_or_of_a_clock_that_was_wrong(
    age: int, is_asked: bool
) -> None:
    made = Registration(
        client_id="c", issuer="i", redirect_uri=CALLBACK, source="dynamic", made_at=1_800_000_000
    )
    assert made.is_older_than_a_day(1_800_000_000 + age) is is_asked


def test_server_that_forgets_at_once_gets_one_registration_a_day(
    idp: AuthorizationServer, store: Stack
) -> None:
    """At most one an hour is allowed, and the next question comes after a day."""
    for _ in range(3):
        for _ in range(4):
            register_client(idp.find())
            idp.clients.clear()
            store.clock.advance(6 * HOUR)
    assert len(idp.registrations) == 3


def test_expired_secret_is_replaced_once_an_hour_at_most(
    idp: AuthorizationServer, store: Stack
) -> None:
    ends = store.clock() + 1200
    idp.change = lambda response: response | {"client_secret_expires_at": ends}
    found = idp.find(auth_methods=("client_secret_basic",))
    first = register_client(found)
    store.clock.advance(1000)
    assert code_of(found) is Code.REGISTRATION_PAUSED
    with pytest.raises(ProviderUnavailable) as caught:
        register_client(found)
    assert caught.value.retry_after == 2600
    store.clock.advance(2600)
    ends = store.clock() + 90 * DAY
    second = register_client(found)
    assert (second.client_id, len(idp.registrations)) == ("client-2", 2)
    assert find_registration(WIKI, idp.issuer, first.client_id) == first
    assert second.secret_expires_at == int(ends)


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uris": ["https://evil.example/"]},
        {"client_secret": "s", "client_secret_expires_at": 1, "token_endpoint_auth_method": None},
        {"token_endpoint_auth_method": "private_key_jwt"},
    ],
    ids=str,
)
def test_response_that_must_not_be_used_is_not_asked_for_again_within_the_hour(
    idp: AuthorizationServer, store: Stack, changes: dict[str, Any]
) -> None:
    idp.change = lambda response: response | changes
    assert code_of(idp.find()) is Code.REGISTRATION_UNUSABLE
    store.clock.advance(HOUR - 1)
    assert code_of(idp.find()) is Code.REGISTRATION_PAUSED
    assert load_registrations(store.services, "wiki").registrations == ()
    idp.change = lambda response: response
    store.clock.advance(1)
    assert register_client(idp.find()).client_id == "client-2"


@pytest.mark.parametrize("status", [400, 401, 302, 429, 503])
def test_server_that_registers_nobody_is_asked_once_a_minute(
    idp: AuthorizationServer, store: Stack, status: int
) -> None:
    idp.failing["/register"] = lambda: (status, JSON, b"{}")
    assert code_of(idp.find()) is Code.REGISTRATION_REFUSED
    store.clock.advance(59)
    assert code_of(idp.find()) is Code.REGISTRATION_PAUSED
    store.clock.advance(1)
    del idp.failing["/register"]
    assert register_client(idp.find()).client_id == "client-1"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"[" * 100_000, b'{"client_id": "' + b"x" * 70_000]
)
def test_odd_responses_are_rejected(idp: AuthorizationServer, body: bytes) -> None:
    idp.failing["/register"] = lambda: (201, JSON, body)
    assert code_of(idp.find()) in {Code.REGISTRATION_UNUSABLE, Code.ANSWER_TOO_LONG}


def test_server_that_does_not_answer_holds_up_few_threads_and_nobody_who_needs_no_response(
    idp: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = register_client(idp.find())
    arrived, is_over = stall(idp, "/register")
    monkeypatch.setattr("oauth.mcp.registrations.requests", ConcurrencyLimit(1))
    moved = CALLBACK.replace("gateway", "moved")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(registration_for, idp.find(), moved)
        assert arrived.wait(30)
        with pytest.raises(ProviderBusy):
            registration_for(idp.find(), moved)
        assert register_client(idp.find()) == made
        is_over.set()
        assert waiting.result(30).redirect_uri == moved


def test_server_without_registration_is_said_to_need_a_client(idp: AuthorizationServer) -> None:
    assert code_of(idp.find(registration_endpoint=None)) is Code.REGISTRATION_MISSING


@pytest.mark.parametrize(("until", "left"), [(0, 0), (1, 1), (3600, 3600), (3601, 0)])
def test_pause_of_a_clock_that_was_ahead_locks_nobody_out(until: int, left: int) -> None:
    stored = StoredRegistrations().pausing(Pause("i", CALLBACK, 1000 + until), 1000)
    assert stored.pause_left("i", CALLBACK, 1000.5) == left
    assert stored.pause_left("another", CALLBACK, 1000.5) == 0


def test_more_scopes_are_registered_because_some_servers_allow_no_others(
    idp: AuthorizationServer, store: Stack
) -> None:
    first = register_client(idp.find(scopes=("read",)))
    assert idp.registrations[0]["scope"] == "read"
    assert register_client(idp.find(scopes=("write", "read"))) == first, "not within the hour"
    store.clock.advance(HOUR)
    second = register_client(idp.find(scopes=("read",)), scopes={"write"})
    assert idp.registrations[1]["scope"] == "read write", "with those of before"
    assert register_client(idp.find(scopes=("read",))) == second


def test_all_scopes_of_the_server_are_registered_so_that_more_can_be_requested(
    idp: AuthorizationServer,
) -> None:
    first = register_client(idp.find(scopes=("read",), listed=("read", "write", "offline_access")))
    assert idp.registrations[0]["scope"] == "offline_access read write"
    assert register_client(idp.find(scopes=("read", "write"))) == first
    assert len(idp.registrations) == 1


@pytest.mark.parametrize("is_refused", [True, False])
def test_only_the_requested_scopes_are_registered_if_all_are_refused_or_too_many(
    idp: AuthorizationServer, is_refused: bool
) -> None:
    def refuse_once() -> Response:
        del idp.failing["/register"]
        return 400, JSON, b"{}"

    if is_refused:
        idp.failing["/register"] = refuse_once
    listed = ("read", "admin") if is_refused else tuple(f"scope-{n}" for n in range(50))
    assert register_client(idp.find(scopes=("read",), listed=listed)).scopes == ("read",)
    assert idp.registrations[-1]["scope"] == "read"


def test_management_token_and_secret_are_neither_in_the_table_nor_in_the_log(
    idp: AuthorizationServer, store: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    address = "https://wiki.example/register/client-1"
    more = {"registration_access_token": MANAGEMENT_TOKEN, "registration_client_uri": address}
    idp.change = lambda response: response | more
    made = register_client(idp.find(auth_methods=("client_secret_post",)))
    content = run_sync(SealedDocuments(store.services).load("registrations/wiki"))
    assert content is not None
    assert made.client_secret.encode() in content.content
    for secret in (MANAGEMENT_TOKEN, address):
        assert secret.encode() not in content.content
    shown = json.dumps(store.items(), default=repr) + caplog.text + repr(made)
    assert made.client_secret not in shown
    assert MANAGEMENT_TOKEN not in shown


def test_old_registrations_stay_until_there_are_twenty(
    idp: AuthorizationServer, store: Stack
) -> None:
    idp.change = lambda response: response | {"client_id": f"{response['client_id']}{'x' * 2000}"}
    made = []
    for _ in range(25):
        made.append(register_client(idp.find()))
        idp.clients.clear()
        store.clock.advance(DAY)
    known = [find_registration(WIKI, idp.issuer, each.client_id) for each in made]
    assert known == [*[None] * 5, *made[5:]]


def test_provider_of_tokens_is_made_of_what_they_belong_to(idp: AuthorizationServer) -> None:
    made = register_client(idp.find(auth_methods=("client_secret_basic",)))
    binding = Binding(made.client_id, idp.issuer, RESOURCE)
    provider = provider_of(WIKI, binding)
    assert (provider.client_id, provider.issuer) == (made.client_id, idp.issuer)
    assert (provider.resource, provider.client_secret) == (RESOURCE, "")
    whole = with_credentials(provider, binding)
    assert whole.client_secret == made.client_secret
    assert made.client_secret not in repr(whole)
    for other in (
        Binding(made.client_id, "https://evil.example", RESOURCE),
        Binding("another", idp.issuer, RESOURCE),
    ):
        assert with_credentials(provider_of(WIKI, other), other).client_secret == ""
