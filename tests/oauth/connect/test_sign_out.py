"""A sign-out revokes what the session's connections hold, and never fails because of a server."""

import threading
from concurrent.futures import Future
from typing import Any, NoReturn

import pytest
from django.contrib.auth import get_user
from django.contrib.auth.signals import user_logged_out
from django.contrib.sessions.exceptions import SessionInterrupted
from pytest_django import Settings

from oauth.connect import flow
from oauth.logout import deferred_revocation
from oauth.mcp.servers import find_server
from oauth.network import concurrency
from oauth.tokens import providers, revocation
from tests.oauth.support.connecting import Connecting, declare, query_of
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.logout_fixtures import sign_out, wait_until_settled
from tests.oauth.support.requests import request_of
from tests.support.signals import connect_receiver


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Return the outcomes that are counted, with the servers' names."""
    found: list[tuple[str, str]] = []
    for module in (deferred_revocation, revocation):
        monkeypatch.setattr(
            module, "count_revocation", lambda name, outcome: found.append((name, outcome))
        )
    monkeypatch.setattr(concurrency, "run_in_background", not_now)  # of the sign-in's provider
    return found


def not_now(call: object, account: str | None = None) -> Future[Any]:
    return Future()


def test_response_comes_after_everything_is_revoked(
    notes: Connecting, files: Connecting, counted: list[tuple[str, str]]
) -> None:
    notes.connect()
    files.connect()
    held = [notes.held, files.held]
    sign_out(notes.visitor)
    revoked = [
        form["token"] for each in (notes, files) for form in each.resource.authorization.revocations
    ]
    assert revoked == [token for each in held for token in (each.refresh_token, each.access_token)]
    assert sorted(counted) == [("files", "revoked"), ("notes", "revoked")]


@pytest.mark.parametrize(
    ("choice", "number", "text"),
    [
        ("", 0, "revoked unless you have other sessions or apps that may use the server"),
        ("always", 2, "Your other sessions and apps may lose the server too."),
        ("never", 0, "deleted from this session, but not revoked."),
    ],
)
def test_setting_decides_whether_other_browsers_lose_a_server(  # noqa: PLR0917 - fixtures
    notes: Connecting,
    corp: FakeProvider,
    settings: Settings,
    counted: list[tuple[str, str]],
    choice: str,
    number: int,
    text: str,
) -> None:
    """A server may keep one grant for each person and client, as workers-oauth-provider does."""
    variables = {"UPSTREAM_NOTES_REVOCATION": choice} if choice else {}
    declare(settings, variables, notes=notes.resource.url)
    notes.connect()
    phone = Connecting(Visitor(), notes.resource)
    phone.visitor.sign_in(corp)
    phone.connect()
    page = notes.visitor.client.get(f"{notes.path}disconnect/").content.decode()
    assert text in page
    notes.visitor.client.post(f"{notes.path}disconnect/")
    wait_until_settled()
    revocations = notes.resource.authorization.revocations
    assert len(revocations) == number
    sign_out(phone.visitor)
    wait_until_settled()
    assert len(revocations) == 2 * number
    sign_out(notes.visitor)
    assert {outcome for _, outcome in counted} == {"revoked" if number else "kept"}


def test_disconnecting_the_last_session_revokes(notes: Connecting) -> None:
    notes.connect()
    notes.visitor.client.post(f"{notes.path}disconnect/")
    wait_until_settled()
    assert len(notes.resource.authorization.revocations) == 2


def test_silent_server_delays_a_sign_out_for_a_bounded_time_only(
    notes: Connecting,
    files: Connecting,
    counted: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert deferred_revocation.CONNECTIONS_WAIT == 3.0
    monkeypatch.setattr(deferred_revocation, "CONNECTIONS_WAIT", 0.2)
    notes.connect()
    files.connect()
    may_response = threading.Event()

    def hang() -> None:
        may_response.wait(20)

    notes.resource.authorization.hooks["/revoke"] = hang
    response: Any = sign_out(notes.visitor)
    assert response["Location"] == "/"
    assert notes.visitor.user_id is None
    assert ("notes", "late") in counted
    assert "A connection to notes is not revoked yet: late." in caplog.text
    may_response.set()
    wait_until_settled()  # It continues in the background.
    assert len(notes.resource.authorization.revocations) == 2


@pytest.mark.parametrize(("status", "outcome"), [(400, "refused"), (None, "unsupported")])
def test_what_cannot_be_revoked_is_counted_and_logged(
    notes: Connecting,
    counted: list[tuple[str, str]],
    caplog: pytest.LogCaptureFixture,
    status: int | None,
    outcome: str,
) -> None:
    server = notes.resource.authorization
    if status is None:
        server.more_of_metadata = {"revocation_endpoint": None}
    else:
        server.failing["/revoke"] = lambda: (status, "text/plain", b"canary")
    notes.connect()
    sign_out(notes.visitor)
    assert notes.visitor.user_id is None
    assert counted == [("notes", outcome)]
    assert f"A connection to notes is not revoked yet: {outcome}." in caplog.text
    assert "canary" not in caplog.text


def test_tokens_that_arrive_after_the_sign_out_are_revoked(notes: Connecting) -> None:
    server = notes.resource.authorization
    location = server.consent(notes.begin())
    callback = request_of(notes.visitor, query=query_of(location))
    callback.user = get_user(callback)  # This loads the session before it ends.
    sign_out(notes.visitor)
    declared = find_server(notes.name)
    assert declared is not None
    with pytest.raises(SessionInterrupted):
        flow.complete(callback, declared)
    wait_until_settled()
    assert len(server.forms) == 1
    assert len(server.revocations) == 2


@pytest.mark.parametrize("is_connected", [True, False])
def test_tokens_that_arrive_during_the_sign_out_are_revoked(
    notes: Connecting, is_connected: bool
) -> None:
    """Another tab stores them after the sign-out has loaded the session, before it ends that."""
    server = notes.resource.authorization
    if is_connected:
        notes.connect()
    location = server.consent(notes.begin())

    def complete(**_: object) -> None:
        assert notes.back(location)["Location"] == "/"

    with connect_receiver(user_logged_out, complete):
        sign_out(notes.visitor)
    wait_until_settled()
    assert notes.visitor.user_id is None
    assert (server.people_of_tokens, server.refresh_tokens) == ({}, set())
    assert len(server.revocations) == (4 if is_connected else 2)


def test_moved_server_gets_no_token_to_revoke(
    notes: Connecting, settings: Settings, counted: list[tuple[str, str]]
) -> None:
    notes.connect()
    declare(settings, notes="http://127.0.0.1:1/mcp")
    sign_out(notes.visitor)
    assert counted == [("notes", "failed")]
    assert notes.resource.authorization.revocations == []


def test_fault_of_the_revocation_itself_does_not_fail_the_sign_out(
    notes: Connecting,
    counted: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fault(*_: object) -> NoReturn:
        raise MemoryError("canary")

    notes.connect()
    monkeypatch.setattr(providers, "with_credentials", fault)
    response: Any = sign_out(notes.visitor)
    assert response["Location"] == "/"
    assert counted == [("notes", "failed")]
    assert "A grant of notes was not revoked: MemoryError" in caplog.text
    assert "canary" not in caplog.text
