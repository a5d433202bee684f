"""The user of an assertion: the account of its issuer and subject, and no other."""

import secrets
from dataclasses import dataclass
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User
from django.db import DatabaseError, DataError, IntegrityError
from django.db.models.signals import pre_save
from pytest_django import Settings

from oauth.clients.id_jag import account
from oauth.models import GroupRights
from oauth.tokens import asserted_account
from tests.oauth.clients.support.asserted import open_session
from tests.oauth.clients.support.asserting import AssertingClient
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.id_jag_provider import IdJagProvider
from tests.support.cases import each_case
from tests.support.signals import connect_receiver

PROFILE = {"email": "ada@example.com", "email_verified": True, "name": "Ada Lovelace"}


def session_user(token: str) -> str:
    found = open_session(token)
    assert found is not None
    return str(found["_auth_user_id"])


def test_new_account_gets_a_user_as_at_a_first_sign_in(tool: AssertingClient) -> None:
    first, second = tool.get_token(**PROFILE), tool.get_token(**PROFILE)
    row = SocialAccount.objects.get()
    user = User.objects.get()
    assert (row.provider, row.uid, row.user_id) == ("corp", "1001", user.pk)
    assert (user.email, user.first_name, user.last_name) == ("ada@example.com", "Ada", "Lovelace")
    assert not user.has_usable_password()
    assert (user.is_staff, user.is_superuser, user.last_login) == (False, False, None)
    assert row.extra_data["id_token"].keys() == {"iss", "sub", *PROFILE}
    assert session_user(first) == session_user(second) == str(user.pk)


def test_user_of_a_browser_is_found_and_stays_as_it_is(
    tool: AssertingClient, corp: IdJagProvider, visitor: Visitor
) -> None:
    visitor.sign_in(corp)
    before = User.objects.values().get()
    row = SocialAccount.objects.values().get()
    token = tool.get_token(email="new@example.com", name="Another Name", email_verified=True)
    assert session_user(token) == visitor.user_id
    assert User.objects.values().get() == before
    assert SocialAccount.objects.values().get() == row
    assert [each.email for each in EmailAddress.objects.all()] == ["ada@example.com"]


def test_user_is_never_found_by_address(
    tool: AssertingClient, corp: IdJagProvider, visitor: Visitor
) -> None:
    visitor.sign_in(corp)
    token = tool.get_token(sub="2002", **PROFILE)
    assert session_user(token) != visitor.user_id
    assert User.objects.get(pk=session_user(token)).email == ""


def test_same_subject_at_another_provider_is_another_user(
    tool: AssertingClient, corp: IdJagProvider
) -> None:
    owner = User.objects.create_user("owner")
    SocialAccount.objects.create(provider="other", uid="1001", user=owner)
    assert session_user(tool.get_token()) != str(owner.pk)


def test_two_requests_at_once_create_one_user(
    tool: AssertingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one looks before the first has created the account, and saves after it."""
    find = account._find
    others: list[None] = []

    def find_after_others(provider: str, subject: str) -> Any:
        found = find(provider, subject)
        if not others:
            others.append(None)
            assert tool.ask(**PROFILE).status_code == 200
        return found

    monkeypatch.setattr(account, "_find", find_after_others)
    assert tool.ask(**PROFILE).status_code == 200
    assert (User.objects.count(), SocialAccount.objects.count()) == (1, 1)


@pytest.mark.parametrize("error", [DataError, IntegrityError])
def test_user_that_the_database_never_accepts_is_rejected(
    tool: AssertingClient, caplog: pytest.LogCaptureFixture, error: type[DatabaseError]
) -> None:
    def conflict(sender: type, **_: object) -> None:
        if sender is SocialAccount:
            raise error

    with connect_receiver(pre_save, conflict):
        response = tool.ask()
    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")
    assert "The database does not accept its user." in caplog.text
    assert tool.ask().status_code == 200


def test_deactivated_user_gets_no_token(tool: AssertingClient) -> None:
    tool.get_token()
    User.objects.update(is_active=False)
    response = tool.ask()
    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")


@dataclass
class Rules:
    """The provider's rules on who may sign in; a test changes them."""

    settings: Settings
    idp: IdJagProvider

    def apply(self, **variables: str) -> None:
        configure(self.settings, environment("corp", self.idp, ID_JAG_CLIENTS="1", **variables))


@pytest.fixture
def rules(settings: Settings, corp: IdJagProvider) -> Rules:
    return Rules(settings, corp)


@each_case(
    ("variables", "claims", "is_allowed"),
    [
        ({"ALLOWED_DOMAINS": "example.com"}, PROFILE, True),
        ({"ALLOWED_DOMAINS": "example.com"}, PROFILE | {"email_verified": False}, False),
        ({"ALLOWED_DOMAINS": "example.com"}, PROFILE | {"email": "ada@evil.example"}, False),
        ({"ALLOWED_DOMAINS": "example.com"}, {}, False),
        ({"ALLOWED_GROUPS": "sales"}, {"groups": ["sales", "x"]}, True),
        ({"ALLOWED_GROUPS": "sales"}, {"groups": ["x"]}, False),
        ({"ALLOWED_GROUPS": "sales"}, {}, False),
        ({"ALLOWED_GROUPS": "sales"}, {"_claim_names": {"groups": "src1"}}, False),
    ],
)
def test_rules_on_who_may_sign_in_apply_to_the_claims(
    tool: AssertingClient,
    rules: Rules,
    variables: dict[str, str],
    claims: dict[str, Any],
    is_allowed: bool,
) -> None:
    rules.apply(**variables)
    before = User.objects.count()
    response = tool.ask(**claims, sub=secrets.token_hex(8))
    assert (response.status_code == 200) is is_allowed, response.content
    assert User.objects.count() - before == is_allowed


def test_groups_are_those_of_the_assertion_and_give_no_rights(
    tool: AssertingClient, corp: IdJagProvider, rules: Rules, visitor: Visitor
) -> None:
    rules.apply(ALLOWED_GROUPS="sales,admins", STAFF_GROUPS="admins")
    token = tool.get_token(groups=["admins", "unnamed"])
    assert not User.objects.get().is_staff
    assert not GroupRights.objects.exists()
    session = open_session(token)
    assert session is not None
    asserted = asserted_account.parse_account(session[asserted_account.KEY])
    assert asserted is not None
    assert asserted.groups == ("admins",)
    corp.more_of_id_token = {"groups": ["sales"]}
    visitor.sign_in(corp)
    assert visitor.user_id == str(User.objects.get().pk)


@pytest.mark.parametrize("claims", [{"name": "\0"}, {"name": {}}, {"email": ["x"]}])
def test_claims_that_no_database_stores_are_rejected_or_left_out(
    tool: AssertingClient, claims: dict[str, Any]
) -> None:
    response = tool.ask(**claims)
    assert response.status_code in {200, 400}
    assert (response.status_code == 200) is SocialAccount.objects.exists()
