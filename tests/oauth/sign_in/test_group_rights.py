"""Rights in the admin by groups: given and taken at each sign-in, beside those given by hand."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User
from django.db import connection
from pytest_django import Settings

from oauth.exceptions import NoLongerAllowed
from oauth.sign_in import rights
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.requests import get_token
from tests.sessions_kms.support.commands import Run, run

RULE = {"STAFF_GROUPS": "admins", "SUPERUSER_GROUPS": "roots"}
NONE, STAFF, SUPERUSER = (False, False), (True, False), (True, True)


class Person:
    """Somebody at a provider whose groups change."""

    def __init__(self, corp: FakeProvider, visitor: Visitor) -> None:
        self.corp, self.visitor = corp, visitor

    def sign_in(self, *groups: str) -> tuple[bool, bool]:
        self.corp.more_of_id_token = {"groups": list(groups)}
        self.visitor.sign_in(self.corp)
        return self.rights()

    def rights(self) -> tuple[bool, bool]:
        user = User.objects.get(pk=self.visitor.user_id or "")
        return user.is_staff, user.is_superuser


@pytest.fixture
def ada(corp: FakeProvider, visitor: Visitor, settings: Settings) -> Person:
    configure(settings, environment("corp", corp, **RULE))
    return Person(corp, visitor)


def staff(action: str, *more: str) -> Run:
    done = run("staff", action, "--provider", "corp", "--subject", "1001", "--yes", *more)
    assert done.status == 0, done.err
    return done


def test_groups_give_and_take(ada: Person) -> None:
    seen = [ada.sign_in(*groups) for groups in ([], ["admins"], ["roots"], ["admins"], ["other"])]
    assert seen == [NONE, STAFF, SUPERUSER, STAFF, NONE]


def test_manually_given_rights_remain_whatever_the_groups(ada: Person) -> None:
    ada.sign_in()
    staff("grant")
    assert [ada.sign_in("roots"), ada.sign_in("admins"), ada.sign_in()] == [SUPERUSER, STAFF, STAFF]
    assert "by groups" not in run("staff", "list").out


def test_rights_from_groups_become_permanent_when_given_manually(ada: Person) -> None:
    ada.sign_in("admins")
    assert "staff (by groups at corp)" in run("staff", "list").out
    assert run("staff", "list", "--json").json["staff"][0]["by_groups_at"] == ["corp"]
    staff("grant")
    assert ada.sign_in() == STAFF


def test_revoking_removes_rights_and_warns_that_groups_restore_them(ada: Person) -> None:
    ada.sign_in("admins")
    assert "Groups at corp will restore the rights" in staff("revoke").out
    assert ada.rights() == NONE
    assert ada.sign_in("admins") == STAFF
    assert ada.sign_in() == NONE


def test_refused_sign_in_removes_rights_from_groups_in_all_sessions(
    ada: Person, settings: Settings
) -> None:
    assert ada.sign_in("admins") == STAFF
    elsewhere = Visitor()
    configure(settings, environment("corp", ada.corp, **RULE, ALLOWED_GROUPS="admins,roots"))
    ada.corp.more_of_id_token = {"groups": ["canteen"]}
    assert elsewhere.sign_in(ada.corp).status_code == 403
    assert ada.rights() == NONE
    assert ada.visitor.client.get("/admin/").status_code == 302


def test_refused_sign_in_gives_nothing_whatever_its_groups(
    corp: FakeProvider, other: FakeProvider, settings: Settings
) -> None:
    def rule(**of_corp: str) -> None:
        variables = environment("corp", corp, CLIENT_ID="the-corp-client", **RULE, **of_corp)
        configure(settings, variables | environment("other", other))

    rule()
    ada = Person(corp, Visitor())
    ada.sign_in()
    ada.visitor.connect(other)
    ada.visitor.sign_in(other, "other")
    corp.more_of_id_token = {"groups": ["roots"]}
    rule(ALLOWED_EMAILS="grace@example.org")
    assert ada.visitor.connect(corp, "corp").status_code == 403
    assert ada.rights() == NONE
    rule()
    assert ada.sign_in("roots") == SUPERUSER
    rule(ALLOWED_EMAILS="grace@example.org")
    assert Visitor().sign_in(corp).status_code == 403
    assert ada.rights() == NONE


def test_refresh_that_ends_a_session_removes_rights_from_groups(
    ada: Person, settings: Settings
) -> None:
    """Somebody may go on with another account, at a provider that gives no rights."""
    configure(settings, environment("corp", ada.corp, **RULE, ALLOWED_GROUPS="admins"))
    assert ada.sign_in("admins") == STAFF
    user = User.objects.get(pk=ada.visitor.user_id or "")
    ada.corp.more_of_id_token = {"groups": ["canteen"]}
    ada.corp.clock.now += 3600  # type: ignore[attr-defined]
    with pytest.raises(NoLongerAllowed):
        get_token(ada.visitor)
    user.refresh_from_db()
    assert (user.is_staff, user.is_superuser) == NONE


def test_account_that_is_deleted_leaves_no_rights_behind(ada: Person) -> None:
    ada.sign_in("roots")
    SocialAccount.objects.all().delete()
    assert ada.rights() == NONE


def test_group_of_the_same_name_at_another_provider_gives_nothing(
    corp: FakeProvider, other: FakeProvider, settings: Settings
) -> None:
    corp_variables = environment("corp", corp, CLIENT_ID="the-corp-client", **RULE)
    configure(settings, corp_variables | environment("other", other))
    mallory = Visitor()
    other.more_of_id_token = {"groups": ["admins", "roots"]}
    mallory.sign_in(other, "other")
    assert Person(other, mallory).rights() == NONE


def test_two_accounts_of_one_person_hold_rights_up_each_for_itself(
    corp: FakeProvider, other: FakeProvider, settings: Settings
) -> None:
    corp_variables = environment("corp", corp, CLIENT_ID="the-corp-client", **RULE)
    configure(settings, corp_variables | environment("other", other, **RULE))
    ada = Person(corp, Visitor())
    assert ada.sign_in("admins") == STAFF
    other.more_of_id_token = {"groups": ["admins"]}
    ada.visitor.connect(other)
    assert ada.sign_in() == STAFF
    SocialAccount.objects.filter(provider="other").delete()
    assert ada.rights() == NONE


def test_rights_of_a_provider_without_groups_are_removed_at_any_sign_in(
    corp: FakeProvider, other: FakeProvider, settings: Settings
) -> None:
    def rule(**of_corp: str) -> None:
        variables = environment("corp", corp, CLIENT_ID="the-corp-client", **of_corp)
        configure(settings, variables | environment("other", other, **RULE))

    rule(**RULE)
    ada = Person(corp, Visitor())
    assert ada.sign_in("roots") == SUPERUSER
    ada.visitor.connect(other)
    rule()
    ada.visitor.sign_in(other, "other")
    assert ada.rights() == NONE


def test_concurrent_sign_ins_leave_no_rights_that_a_later_one_cannot_remove(
    database_file: Path, ada: Person
) -> None:
    barrier = Barrier(2)

    def account() -> SocialAccount:
        return SocialAccount.objects.get(provider="corp", uid="7007")

    def begin() -> None:
        user = User.objects.create(username="grace")
        SocialAccount.objects.create(user=user, provider="corp", uid="7007")
        connection.close()

    def settle(*groups: str) -> None:
        for _ in range(10):
            barrier.wait(20)
            rights.update_rights(account(), groups)
        connection.close()

    def end() -> tuple[bool, bool]:
        rights.update_rights(account(), [])
        user = account().user
        connection.close()
        return user.is_staff, user.is_superuser

    with ThreadPoolExecutor(2) as threads:  # each with a connection of its own
        threads.submit(begin).result(20)
        for done in [threads.submit(settle, "admins"), threads.submit(settle)]:
            done.result(60)
        assert threads.submit(end).result(20) == NONE
