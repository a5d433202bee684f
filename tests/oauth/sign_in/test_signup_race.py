"""Requests that bring the same new account at the same moment: one saves it, all are signed in."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from allauth.socialaccount.signals import pre_social_login
from django.contrib.auth import get_user_model
from django.db import IntegrityError

from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import BOB, Visitor
from tests.oauth.support.requests import Ask, request_in_threads, stored_tokens
from tests.support.signals import connect_receiver

AT_ONCE = 4


@contextmanager
def meeting(count: int) -> Iterator[None]:
    """Let so many sign-ins find that their account is new before one of them saves it."""
    barrier, met = threading.Barrier(count), threading.local()

    def wait(**_: Any) -> None:
        if not hasattr(met, "already"):
            met.already = True
            barrier.wait(30)

    with connect_receiver(pre_social_login, wait):
        yield


def all_at_once(ask: Ask, visitors: list[Visitor]) -> list[Any]:
    with meeting(len(visitors)):
        return request_in_threads(ask, visitors)


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


def test_first_sign_ins_of_one_person_at_once_all_succeed(
    corp: FakeProvider, database_file: Path
) -> None:
    visitors = [Visitor() for _ in range(AT_ONCE)]

    responses = all_at_once(lambda visitor: visitor.sign_in(corp), visitors)

    assert [response.status_code for response in responses] == [302] * AT_ONCE
    assert rows(database_file, "SELECT uid FROM socialaccount_socialaccount") == [("1001",)]
    ((user_id,),) = rows(database_file, "SELECT id FROM auth_user")
    held = [visitor.load_tokens() for visitor in visitors]
    assert {visitor.user_id for visitor in visitors} == {str(user_id)}
    assert len({each.access_token for each in held if each}) == AT_ONCE


def test_first_sign_in_overtaken_by_another_needs_no_sign_up_form(
    corp: FakeProvider, visitor: Visitor
) -> None:
    ahead = [first := Visitor()]

    def overtake(**_: Any) -> None:
        if ahead:
            ahead.pop().sign_in(corp)

    with connect_receiver(pre_social_login, overtake):
        response = visitor.sign_in(corp)
    assert response["Location"] == "/"
    assert visitor.user_id == first.user_id
    assert visitor.load_tokens()
    assert "socialaccount_sociallogin" not in visitor.session


def test_people_with_one_name_who_sign_in_at_once_stay_different(
    corp: FakeProvider, other: FakeProvider, database_file: Path
) -> None:
    corp.person = BOB | {"preferred_username": "bob"}
    other.person = {"sub": "3003", "email": "robert@example.com", "preferred_username": "bob"}
    places = {"corp": corp, "other": other}
    visitors = {name: Visitor() for name in places}

    def sign_in(visitor: Visitor) -> Any:
        name = next(name for name, each in visitors.items() if each is visitor)
        return visitor.sign_in(places[name], name)

    responses = all_at_once(sign_in, list(visitors.values()))

    assert [response.status_code for response in responses] == [302] * 2
    assert len({visitor.user_id for visitor in visitors.values()}) == 2
    for name, visitor in visitors.items():
        held = stored_tokens(visitor, name)
        assert held.access_token in places[name].secrets


def test_connections_of_one_account_at_once_all_succeed(
    corp: FakeProvider, other: FakeProvider, database_file: Path
) -> None:
    visitors = [Visitor() for _ in range(2)]
    for visitor in visitors:
        request_in_threads(lambda each: each.sign_in(corp), [visitor])

    responses = all_at_once(lambda visitor: visitor.connect(other), visitors)

    assert [response["Location"] for response in responses] == ["/"] * 2
    assert all(visitor.load_tokens("other") for visitor in visitors)


def test_failed_sign_up_leaves_no_user(
    corp: FakeProvider, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise IntegrityError("the database refuses")

    monkeypatch.setattr(EmailAddress, "save", refuse)
    with pytest.raises(IntegrityError):
        visitor.sign_in(corp)

    assert not get_user_model().objects.exists()
    assert not SocialAccount.objects.exists()
