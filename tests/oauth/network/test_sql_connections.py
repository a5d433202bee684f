"""No SQL connection is held while a provider is asked, or a turn is waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, transaction

from oauth.network import http
from oauth.network.concurrency import release_sql_connections
from oauth.tokens.fresh_token import FreshToken
from tests.oauth.sign_in.test_signup_race import in_threads
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.requests import get_token
from tests.sessions_kms.support.stacks import Stack


@contextmanager
def noted(module: Any, name: str) -> Iterator[list[bool]]:
    """Note whether this thread holds a connection whenever something is called."""
    held: list[bool] = []
    real: Callable[..., Any] = getattr(module, name)

    def noting(*arguments: Any, **more: Any) -> Any:
        held.append(connection.connection is not None)
        return real(*arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, noting)
        yield held


def test_sign_in_holds_none_while_the_provider_is_asked(
    corp: FakeProvider, visitor: Visitor, database_file: Path
) -> None:
    with noted(http, "_run") as held:
        in_threads(lambda each: each.sign_in(corp), [visitor])
        in_threads(lambda each: each.sign_in(corp), [visitor])  # signed in, asked for first
    assert len(held) >= 5  # metadata; the code and the person, twice
    assert not any(held)


def test_sign_in_by_requests_holds_none_either(
    github: FakeProvider, visitor: Visitor, database_file: Path
) -> None:
    with noted(http, "_run") as held:
        in_threads(lambda each: each.sign_in(github, "github"), [visitor])
    assert held
    assert not any(held)


def test_refresh_in_a_view_holds_none(
    corp: FakeProvider, visitor: Visitor, store: Stack, database_file: Path
) -> None:
    def use(visitor: Visitor) -> None:
        connection.ensure_connection()
        get_token(visitor)

    in_threads(lambda each: each.sign_in(corp), [visitor])
    store.clock.advance(4000)
    with noted(FreshToken, "_refresh_if_possible") as held:
        in_threads(use, [visitor])
    assert held == [False]


@pytest.mark.django_db(transaction=True)
def test_transaction_keeps_its_connection(database_file: Path) -> None:
    def use(_: Visitor) -> Any:
        with transaction.atomic():
            get_user_model().objects.create(username="half")
            release_sql_connections()
            return get_user_model().objects.exists()

    assert in_threads(use, [Visitor()]) == [True]
