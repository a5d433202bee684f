"""The tokens are in the session, sealed, and nowhere else."""

import base64
import copy
import logging
import pickle
import sqlite3
import traceback
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from oauth.provider.token_set import TokenSet
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.sessions_kms.support.stacks import Stack

pytestmark = pytest.mark.django_db(transaction=True)


def database_bytes() -> bytes:
    """Return the whole SQLite file, as it would lie on disk."""
    connection.ensure_connection()
    database: sqlite3.Connection = connection.connection
    return database.serialize()


def test_no_token_is_in_the_database(
    corp: FakeProvider, other: FakeProvider, visitor: Visitor
) -> None:
    visitor.sign_in(corp)
    visitor.connect(other)
    visitor.sign_in(corp)

    content = database_bytes()
    key = visitor.session.session_key

    assert b"ada@example.com" in content  # the scan sees what is there
    assert len(corp.secrets) > 6
    assert key is not None
    for secret in [*corp.secrets, *other.secrets, key]:
        assert secret.encode() not in content
        assert base64.b64encode(secret.encode()).rstrip(b"=")[:-1] not in content


def test_no_token_of_an_unfinished_sign_up_is_in_the_database_or_the_table(
    corp: FakeProvider, other: FakeProvider, visitor: Visitor, store: Stack, settings: Settings
) -> None:
    Visitor().sign_in(corp)
    settings.SOCIALACCOUNT_AUTO_SIGNUP = False
    visitor.sign_in(other, "other")

    content = database_bytes() + repr(store.items()).encode()
    assert visitor.session["socialaccount_sociallogin"]
    for secret in [*corp.secrets, *other.secrets]:
        assert secret.encode() not in content


def test_no_token_is_in_the_logs_at_debug(
    corp: FakeProvider, other: FakeProvider, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        visitor.sign_in(corp)
        visitor.connect(other)
        visitor.client.get("/")
        visitor.client.post("/accounts/logout/")

    logged = "\n".join([caplog.text, *(repr(vars(record)) for record in caplog.records)])
    assert any(record.levelno == logging.DEBUG for record in caplog.records)
    for secret in [*corp.secrets, *other.secrets]:
        assert secret not in logged


def test_no_token_is_on_a_page(corp: FakeProvider, other: FakeProvider, visitor: Visitor) -> None:
    visitor.sign_in(corp)
    visitor.connect(other)
    for path in ("/", "/accounts/3rdparty/", "/accounts/logout/", "/nothing-here"):
        page = visitor.client.get(path).content.decode()
        for secret in [*corp.secrets, *other.secrets]:
            assert secret not in page, path


def test_repr_shows_presence_only() -> None:
    token_set = TokenSet(
        access_token="canary-access",
        refresh_token="canary-refresh",
        id_token=None,
        token_type="Bearer",
        scope=("openid",),
        subject="1001",
        client_id="gateway",
    )
    assert "canary" not in f"{token_set!r} {token_set} {[token_set]}"
    assert "access_token=<set>" in repr(token_set)
    assert "id_token=<none>" in repr(token_set)


@pytest.mark.parametrize("take", [pickle.dumps, copy.deepcopy])
def test_token_set_cannot_be_pickled(take: Any) -> None:
    token_set = TokenSet(
        access_token="canary", token_type="Bearer", scope=(), subject="1", client_id="c"
    )
    with pytest.raises(TypeError, match="cannot be pickled"):
        take(token_set)


def test_error_of_a_malformed_response_does_not_repeat_it() -> None:
    canary = "".join(["can", "ary"])  # the traceback shows this line too
    response = {"access_token": canary, "expires_in": canary}
    with pytest.raises(ValueError, match="not a number") as caught:
        TokenSet.from_response(
            response, subject="1", client_id="c", requested_scope=(), now=0, source="corp"
        )
    assert canary not in "".join(traceback.format_exception(caught.value))
