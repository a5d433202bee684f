"""An account that is connected again while it is disconnected: no live token that nobody holds.

Rows of the adversaries: the person with two tabs, a session that tokens have filled. Each test puts
one request between two steps of the other.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from allauth.socialaccount.internal.flows import login
from pytest_django import Settings

from oauth.provider.token_set import TokenSet
from oauth.sign_in import rights
from oauth.tokens import vault
from sessions_kms import SessionStore, SessionTooLarge
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.services import services
from tests.oauth.support.fixtures import BOB, Visitor, configure, environment
from tests.oauth.support.logout_fixtures import (
    disconnect,
    revoked_tokens,
    sign_out,
    wait_until_settled,
)
from tests.oauth.support.logout_provider import LogoutProvider
from tests.oauth.support.requests import stored_tokens


def act_before(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, act: Callable[[], Any]
) -> None:
    """Let another request act before the first call of a function."""
    function, acts = getattr(module, name), [act]

    def act_first(*arguments: Any) -> Any:
        while acts:
            acts.pop()()
        return function(*arguments)

    monkeypatch.setattr(module, name, act_first)


def test_connection_that_is_completed_during_the_disconnect_is_revoked_too(
    second: LogoutProvider, at_both: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    response = at_both.callback_address(second, "other", process="connect")
    stored: list[TokenSet] = []

    def complete() -> None:
        at_both.client.get(response)
        stored.append(stored_tokens(at_both, "other"))

    act_before(monkeypatch, vault, "drop_token_set", complete)
    disconnect(at_both, "other")
    assert at_both.load_tokens("other") is None
    assert revoked_tokens(second) == [stored[0].refresh_token]


def test_connection_that_is_completed_after_the_disconnect_is_revoked_too(
    second: LogoutProvider, at_both: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    response = at_both.callback_address(second, "other", process="connect")
    act_before(monkeypatch, rights, "update_rights", lambda: disconnect(at_both, "other"))
    page = at_both.client.get(response, follow=True).content.decode()
    assert "Other was disconnected meanwhile, and stays disconnected." in page
    assert at_both.load_tokens("other") is None
    wait_until_settled()
    assert second.refresh_tokens == set()


def test_connection_that_is_completed_after_the_sign_out_is_revoked_too(
    second: LogoutProvider, at_both: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    response = at_both.callback_address(second, "other", process="connect")
    act_before(monkeypatch, rights, "update_rights", lambda: sign_out(at_both))
    assert at_both.client.get(response).status_code == 400
    wait_until_settled()
    assert second.refresh_tokens == set()


@pytest.mark.parametrize("is_first", [True, False])
def test_connection_for_which_the_session_has_no_room_is_revoked_unless_it_replaces_another(
    second: LogoutProvider, at_idp: Visitor, monkeypatch: pytest.MonkeyPatch, *, is_first: bool
) -> None:
    if not is_first:
        at_idp.connect(second)
    before = set(second.refresh_tokens)
    response = at_idp.callback_address(second, "other", process="connect")

    def reject(self: SessionStore) -> None:
        raise SessionTooLarge(400_001, 400_000)

    monkeypatch.setattr(SessionStore, "save", reject)
    at_idp.client.raise_request_exception = False
    assert at_idp.client.get(response).status_code == 409
    wait_until_settled()
    assert bool(second.refresh_tokens) is not is_first
    assert before <= second.refresh_tokens


def test_account_that_is_disconnected_during_another_sign_in_stays_disconnected(
    idp: LogoutProvider, at_both: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sign-in takes the other accounts' tokens along, from the session that it ends."""
    response = at_both.callback_address(idp)
    tab = Visitor()
    tab.client.cookies = copy.deepcopy(at_both.client.cookies)
    act_before(monkeypatch, login, "_authenticate", lambda: disconnect(tab, "other"))
    assert at_both.client.get(response).status_code == 302
    assert at_both.load_tokens() is not None
    assert at_both.load_tokens("other") is None


def test_account_that_is_connected_again_during_another_sign_in_keeps_its_new_tokens(
    idp: LogoutProvider,
    second: LogoutProvider,
    at_both: Visitor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    again, response = (
        at_both.callback_address(second, "other", process="connect"),
        at_both.callback_address(idp),
    )
    tab, stored = Visitor(), list[TokenSet]()
    tab.client.cookies = copy.deepcopy(at_both.client.cookies)

    def connect_again() -> None:
        tab.client.get(again)
        stored.append(stored_tokens(tab, "other"))

    act_before(monkeypatch, login, "_authenticate", connect_again)
    at_both.client.get(response)
    assert stored_tokens(at_both, "other") == stored[0]


def test_another_account_that_is_connected_while_one_is_rejected_stays(
    second: LogoutProvider, at_both: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refresh has shown that the first one may no longer be used here."""
    second.person = BOB
    response = at_both.callback_address(second, "other", process="connect")
    session = SessionStore(at_both.session.session_key)
    act_before(monkeypatch, vault, "drop_token_set", lambda: at_both.client.get(response))
    run_sync(vault.TokenRepository(services(), session, "other").end("1001"))
    assert stored_tokens(at_both, "other").subject == BOB["sub"]


def test_rejected_sign_in_revokes_what_was_connected_meanwhile(
    second: LogoutProvider,
    at_both: Visitor,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    idp: LogoutProvider,
) -> None:
    again, response = (
        at_both.callback_address(second, "other", process="connect") for _ in range(2)
    )
    stored: list[TokenSet] = []

    def connect_again() -> None:
        configure(settings, allow_domains(idp, second, ""))
        at_both.client.get(again)
        stored.append(stored_tokens(at_both, "other"))

    configure(settings, allow_domains(idp, second, "example.org"))
    act_before(monkeypatch, vault, "drop_token_set", connect_again)
    assert at_both.client.get(response).status_code == 403
    assert at_both.load_tokens("other") is None
    assert stored[0].refresh_token in revoked_tokens(second)


def allow_domains(idp: LogoutProvider, second: LogoutProvider, domains: str) -> dict[str, str]:
    corp = environment("corp", idp, CLIENT_ID=idp.client_id)
    return corp | environment("other", second, ALLOWED_DOMAINS=domains)
