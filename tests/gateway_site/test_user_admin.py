"""Users in the admin: the accounts that they sign in with stand beside the names they chose."""

import re
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User
from django.test import Client

from tests.sessions_kms.support.stacks import Stack

USERS = "/admin/auth/user/"


@pytest.fixture
def root(store: Stack) -> Client:
    client = Client()
    client.force_login(User.objects.create(username="root", is_staff=True, is_superuser=True))
    return client


def user(name: str, *accounts: tuple[str, str]) -> User:
    made = User.objects.create(username=name)
    for provider, subject in accounts:
        SocialAccount.objects.create(user=made, provider=provider, uid=subject)
    return made


def page(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return re.sub(r"<[^>]*>", "|", response.content.decode())


def row(client: Client, name: str, query: str = "") -> str:
    [found] = [line for line in page(client, USERS + query).splitlines() if f"|{name}|" in line]
    return found


def test_list_shows_accounts_beside_names(root: Client) -> None:
    user("ada", ("google", "10976"), ("github", "77"))
    user("ada7", ("other", "1001"))
    user("nobody")
    assert "|google 10976, github 77|" in row(root, "ada")
    assert "|other 1001|" in row(root, "ada7")
    assert "none: nobody can sign in as this user" in row(root, "nobody")


def test_page_of_a_user_shows_them_first(root: Client) -> None:
    made = user("ada", ("google", "10976"))
    shown = page(root, f"{USERS}{made.pk}/change/")
    assert shown.index("google 10976") < shown.index("Personal info")


def test_user_is_found_by_subject(root: Client) -> None:
    user("ada", ("google", "10976"))
    user("eve", ("google", "20000"))
    assert "|ada|" in row(root, "ada", "?q=10976")
    assert "|eve|" not in page(root, f"{USERS}?q=10976")


def test_list_loads_all_accounts_at_once(root: Client, django_assert_max_num_queries: Any) -> None:
    for number in range(30):
        user(f"user{number}", ("google", str(number)))
    with django_assert_max_num_queries(10):
        page(root, USERS)


def test_what_providers_call_people_is_escaped(root: Client) -> None:
    made = user("ada", ("google", "<script>alert(1)</script>"))
    for address in (USERS, f"{USERS}{made.pk}/change/"):
        content = root.get(address).content.decode()
        assert "<script>alert" not in content
        assert "&lt;script&gt;alert(1)" in content


def test_user_can_still_be_added_and_changed(root: Client) -> None:
    assert root.get(f"{USERS}add/").status_code == 200
    made = user("ada", ("google", "1"))
    form = {"username": "countess", "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    assert root.post(f"{USERS}{made.pk}/change/", form).status_code == 302
    assert User.objects.get(pk=made.pk).username == "countess"
    assert SocialAccount.objects.get().uid == "1"
