"""Programs keep their tokens while processes have different SECRET_KEYs."""

from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User

from tests.oauth.clients.support.app import App, WayBack
from tests.oauth.clients.support.consent import allow
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.key_states import NEW, OLD, KeyProcess
from tests.sessions_kms.support.stacks import Stack

ONLY_OLD = KeyProcess(OLD)
SWAPPED = KeyProcess(NEW, (OLD,), started=100)
ONLY_NEW = KeyProcess(NEW, started=5000)


@pytest.fixture
def code(app: App, corp: FakeProvider) -> str:
    """Have a client allowed by a process that has the new key."""
    visitor = Visitor()
    SWAPPED.does(partial(visitor.sign_in, corp), at=150)
    app.register()
    with SWAPPED.serving(at=200):
        return WayBack.of(allow(visitor, app, corp)).response["code"]


def assert_not_now(response: Any) -> None:
    assert response.status_code == 503
    assert response.json()["error"] == "temporarily_unavailable"
    assert int(response["Retry-After"]) > 0
    assert response["Access-Control-Allow-Origin"] == "*"


def test_process_without_the_newer_key_spends_no_token(store: Stack, app: App, code: str) -> None:
    before = store.items()
    assert_not_now(ONLY_OLD.does(partial(app.redeem, code), at=210))
    assert store.items() == before
    first = SWAPPED.does(partial(app.redeem, code), at=220).json()
    before = store.items()
    assert_not_now(ONLY_OLD.does(partial(app.refresh, first["refresh_token"]), at=230))
    assert store.items() == before
    second = SWAPPED.does(partial(app.refresh, first["refresh_token"]), at=240)
    assert second.status_code == 200
    # The second response needs the user as well.
    assert_not_now(ONLY_OLD.does(partial(app.refresh, first["refresh_token"]), at=250))


def test_retired_key_causes_no_wait_and_ends_no_grant(store: Stack, app: App, code: str) -> None:
    """Who comes back to the former key has lost no grant; meanwhile clients ask for consent."""
    first = SWAPPED.does(partial(app.redeem, code), at=210).json()
    before = store.items()
    for process, at in ((KeyProcess("x" * 50, started=5000), 5010), (ONLY_OLD, 7000)):
        response = process.does(partial(app.refresh, first["refresh_token"]), at=at)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")
    assert store.items() == before
    assert ONLY_NEW.does(partial(app.refresh, first["refresh_token"]), at=7010).status_code == 200


def test_grant_ends_with_the_password_whatever_keys_a_process_has(
    store: Stack, app: App, code: str
) -> None:
    first = SWAPPED.does(partial(app.redeem, code), at=210).json()
    for user in User.objects.all():
        user.set_password("another")
        user.save()
    assert len(store.sessions()) == 2
    response = ONLY_OLD.does(partial(app.refresh, first["refresh_token"]), at=220)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")
    assert len(store.sessions()) == 1, "the browser's, which nobody has come back with"
    response = SWAPPED.does(partial(app.refresh, first["refresh_token"]), at=230)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")
