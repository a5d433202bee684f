"""New users with the name or address of another user are admitted, without revealing that.

The newcomer is the adversary here: who has an account at any provider that is configured, says
there what pleases them, and looks at every response.
"""

import re
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth import get_user_model

from oauth.sign_in import accounts
from sessions_kms.operations import users
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, sign_in_at

ADA = {"sub": "1001", "email": "ada@example.com", "preferred_username": "ada"}

# What differs from page to page: CSRF tokens, ids, times that are signed or shown.
OF_ITS_TIME = r'(?s)value="(\w{64}|\d+|[\d.]+:[\w-]+)"|account=\d+|<time.*?</time>'


@pytest.fixture
def known(corp: FakeProvider, other: FakeProvider) -> Visitor:
    """Give somebody who is known here: ada, whose address the provider corp has verified."""
    corp.person = ADA | {"email_verified": True}
    return sign_in_at(corp)


def newcomer(other: FakeProvider, **person: Any) -> tuple[Visitor, Any]:
    """Sign in at the other provider as somebody new; give the response too."""
    other.person = {"sub": str(SocialAccount.objects.count()), **person}
    visitor = Visitor()
    return visitor, visitor.sign_in(other, "other")


def user_of(visitor: Visitor) -> Any:
    return get_user_model().objects.get(pk=visitor.user_id or "")


@pytest.mark.parametrize("name", ["ada", "Ada", "ADA"])
def test_name_that_is_taken_gets_a_random_suffix(
    known: Visitor, other: FakeProvider, name: str
) -> None:
    visitor, response = newcomer(other, preferred_username=name)
    assert response["Location"] == "/"
    assert visitor.user_id != known.user_id
    assert re.fullmatch(r"ada[0-9a-zA-Z]{1,6}", user_of(visitor).get_username())
    assert user_of(known).get_username() == "ada"


def test_many_people_with_one_name_are_all_admitted(known: Visitor, other: FakeProvider) -> None:
    responses = [newcomer(other, preferred_username="ada")[1]["Location"] for _ in range(15)]
    assert responses == ["/"] * 15
    assert get_user_model().objects.filter(username__startswith="ada").count() == 16


@pytest.mark.parametrize("verified", [False, True])
@pytest.mark.parametrize("address", ["ada@example.com", "ADA@Example.com"])
def test_address_that_is_taken_is_not_stored_a_second_time(
    known: Visitor, other: FakeProvider, address: str, verified: bool
) -> None:
    visitor, response = newcomer(other, email=address, email_verified=verified)
    assert response["Location"] == "/"
    assert visitor.load_tokens("other") is not None
    assert user_of(visitor).email == ""
    [kept] = EmailAddress.objects.filter(email__iexact="ada@example.com")
    assert (str(kept.user_id), kept.verified) == (known.user_id, True)
    assert not EmailAddress.objects.filter(user_id=visitor.user_id).exists()


def test_address_that_only_the_user_has_counts_as_taken(
    known: Visitor, other: FakeProvider
) -> None:
    EmailAddress.objects.all().delete()
    visitor, _ = newcomer(other, email="ada@example.com")
    assert user_of(visitor).email == ""


def test_address_that_is_free_is_stored(known: Visitor, other: FakeProvider) -> None:
    visitor, _ = newcomer(other, email="grace@example.com", email_verified=True)
    assert user_of(visitor).email == "grace@example.com"
    assert EmailAddress.objects.get(user_id=visitor.user_id).verified


@pytest.mark.parametrize(
    ("claims", "name", "address"),
    [
        ({"preferred_username": "grace", "email": "grace@example.com"}, "grace", True),
        ({"preferred_username": "ADA", "email": "ada@example.com"}, "ada[0-9a-zA-Z]{1,6}", False),
    ],
)
def test_user_created_in_advance_is_named_by_the_first_sign_in_only(
    known: Visitor, other: FakeProvider, claims: dict[str, str], name: str, address: bool
) -> None:
    made = accounts.create_account("other", "7").user
    other.person = {"sub": "7", **claims}
    visitor = sign_in_at(other, "other")
    user = user_of(visitor)
    assert user.pk == made.pk
    assert re.fullmatch(name, user.get_username())
    assert user.email == (claims["email"] if address else "")

    other.person = {"sub": "7", "preferred_username": "hopper"}
    Visitor().sign_in(other, "other")
    assert user_of(visitor).get_username() == user.get_username()


def test_first_sign_in_does_not_restore_rights_that_are_withdrawn_meanwhile(
    known: Visitor, other: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator locks out a user whom `staff` created, between its reading and its writing."""
    made = accounts.create_account("other", "7").user
    get_user_model().objects.filter(pk=made.pk).update(is_staff=True)
    drop_taken_names = accounts.drop_taken_names

    def lock_out(sociallogin: Any) -> None:
        drop_taken_names(sociallogin)
        users.deactivate(get_user_model().objects.get(pk=made.pk))
        get_user_model().objects.filter(pk=made.pk).update(is_staff=False)

    monkeypatch.setattr(accounts, "drop_taken_names", lock_out)
    other.person = {"sub": "7", "preferred_username": "grace"}
    visitor = sign_in_at(other, "other")
    made.refresh_from_db()
    assert (made.get_username(), made.is_active, made.is_staff) == ("grace", False, False)
    assert "/login/" in visitor.client.get("/accounts/3rdparty/").headers.get("Location", "")


def seen_page(visitor: Visitor, response: Any) -> tuple[Any, ...]:
    """Return what a newcomer can see of a sign-in, but for the user name that they got."""
    name = user_of(visitor).get_username()
    pages = [visitor.client.get(address) for address in ("/", "/accounts/3rdparty/")]
    texts = [re.sub(OF_ITS_TIME, "", page.content.decode()) for page in pages]
    return (
        response.status_code,
        response["Location"],
        sorted(visitor.session.keys()),
        [page.status_code for page in pages],
        [re.sub(rf"\b{name}\b|in \d+.minutes|in 1.hour", "", text) for text in texts],
    )


def test_responses_do_not_reveal_that_an_address_is_taken(
    known: Visitor, other: FakeProvider
) -> None:
    free = newcomer(other, email="bob@example.com", preferred_username="newcomer1")
    taken = newcomer(other, email="ada@example.com", preferred_username="newcomer2")
    claims = [str(seen_page(*each)) for each in (free, taken)]
    assert claims[0].replace("bob@", "x@") == claims[1].replace("ada@", "x@")


def test_new_user_gets_nothing_from_an_existing_one(known: Visitor, other: FakeProvider) -> None:
    get_user_model().objects.update(is_staff=True, is_superuser=True)
    visitor, _ = newcomer(
        other, email="ada@example.com", email_verified=True, preferred_username="ada"
    )
    assert visitor.user_id != known.user_id
    assert not user_of(visitor).is_staff
    assert visitor.client.get("/admin/", follow=True).status_code == 403
    assert user_of(known).is_superuser
