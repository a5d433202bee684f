"""`manage.py staff`: users are identified by their account, not by their name."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User
from django.db import DatabaseError

from gateway_site.management.commands.staff import Command
from oauth.sign_in import accounts
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.sessions_kms.support.commands import Run, run
from tests.support.cases import each_case

ADA = {"sub": "1001", "email": "ada@example.com", "preferred_username": "ada", "name": "Ada"}


@pytest.fixture
def ada(corp: FakeProvider) -> Visitor:
    """Give somebody whose address their provider has verified."""
    return sign_in_staff(corp, **ADA, email_verified=True)


@pytest.fixture
def mallory(ada: Visitor, other: FakeProvider) -> Visitor:
    """Give somebody who says the same of themselves, at another provider."""
    return sign_in_staff(other, "other", **ADA, email_verified=True)


def sign_in_staff(at: FakeProvider, provider: str = "corp", **person: Any) -> Visitor:
    at.person = person
    visitor = Visitor()
    visitor.sign_in(at, provider)
    return visitor


def staff(*arguments: str) -> Run:
    return run("staff", *arguments)


def grant(*arguments: str, provider: str = "corp") -> Run:
    return staff("grant", "--provider", provider, "--yes", *arguments)


def revoke(*arguments: str, provider: str = "corp") -> Run:
    return staff("revoke", "--provider", provider, "--yes", *arguments)


def user_of(visitor: Visitor) -> User:
    return User.objects.get(pk=visitor.user_id or "")


def rights(visitor: Visitor) -> tuple[bool, bool]:
    user = user_of(visitor)
    return user.is_staff, user.is_superuser


def enters(visitor: Visitor) -> bool:
    return bool(visitor.client.get("/admin/", follow=True).status_code == 200)


@pytest.mark.parametrize("named", [("--subject", "1001"), ("--email", "Ada@Example.com")])
def test_account_identifies_only_its_own_user(
    ada: Visitor, mallory: Visitor, named: tuple[str, str]
) -> None:
    done = grant(*named)
    assert done.status == 0, done.err
    assert (rights(ada), rights(mallory)) == ((True, False), (False, False))
    assert enters(ada)
    assert not enters(mallory)

    assert grant(*named, "--superuser").status == 0
    assert (rights(ada), rights(mallory)) == ((True, True), (False, False))

    assert revoke(*named).status == 0
    assert (rights(ada), rights(mallory)) == ((False, False), (False, False))


@pytest.mark.parametrize("named", [("--subject", "1001"), ("--email", "ada@example.com")])
def test_who_came_first_under_a_name_gets_nothing_by_it(
    corp: FakeProvider, other: FakeProvider, named: tuple[str, str]
) -> None:
    mallory = sign_in_staff(other, "other", **ADA, email_verified=True)
    ada = sign_in_staff(corp, **ADA, email_verified=True)
    assert user_of(mallory).get_username() == "ada"
    assert user_of(ada).email == ""
    assert grant(*named, "--superuser").status == 0
    assert (rights(ada), rights(mallory)) == ((True, True), (False, False))


@pytest.mark.parametrize("verified", [False, "false", 1, None, "TRUE", [True]])
def test_unverified_address_identifies_nobody(corp: FakeProvider, verified: object) -> None:
    visitor = sign_in_staff(corp, **ADA, email_verified=verified)
    EmailAddress.objects.update(verified=True)  # by another provider
    done = grant("--email", "ada@example.com")
    assert done.status == 2
    assert "No account at corp had the verified address ada@example.com" in done.err
    assert "--subject" in done.err
    assert rights(visitor) == (False, False)


def test_address_of_the_present_counts_not_one_of_the_past(corp: FakeProvider) -> None:
    visitor = sign_in_staff(corp, **ADA, email_verified=True)
    visitor = sign_in_staff(corp, **(ADA | {"email": "new@example.com"}), email_verified=True)
    assert grant("--email", "ada@example.com").status == 2
    assert grant("--email", "new@example.com").status == 0
    assert rights(visitor) == (True, False)


def test_address_of_another_providers_account_of_the_same_person_does_not_count(
    ada: Visitor, other: FakeProvider
) -> None:
    other.person = {"sub": "7", "email": "elsewhere@example.com", "email_verified": True}
    ada.connect(other)
    assert grant("--email", "elsewhere@example.com").status == 2
    assert grant("--email", "elsewhere@example.com", provider="other").status == 0
    assert rights(ada) == (True, False)


def test_letter_with_case_mapping_identifies_nobody_else(corp: FakeProvider) -> None:
    kelvin = sign_in_staff(
        corp, sub="1", email="\N{KELVIN SIGN}im@example.com", email_verified=True
    )
    assert grant("--email", "kim@example.com").status == 2
    assert rights(kelvin) == (False, False)


def test_ambiguous_address_identifies_nobody(corp: FakeProvider) -> None:
    visitors = [sign_in_staff(corp, **(ADA | {"sub": sub}), email_verified=True) for sub in "12"]
    done = grant("--email", "ada@example.com")
    assert done.status == 2
    assert "--subject: 1, 2." in done.err
    assert [rights(each) for each in visitors] == [(False, False)] * 2


class FoldingManager:
    """Compares as the databases do that know no capitals."""

    def select_related(self, *_: str) -> FoldingManager:
        return self

    def filter(self, *, provider: str, uid: str) -> Any:
        return SocialAccount._base_manager.filter(provider=provider, uid__iexact=uid)


def test_subjects_are_case_sensitive_whatever_the_database_does(
    corp: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = sign_in_staff(corp, sub="AbC")
    monkeypatch.setattr(SocialAccount, "objects", FoldingManager())
    assert accounts.find_account("corp", "abc") is None
    found = accounts.find_account("corp", "AbC")
    assert found is not None
    assert str(found.user_id) == visitor.user_id


def test_subject_that_differs_in_capitals_is_another(corp: FakeProvider) -> None:
    visitor = sign_in_staff(corp, sub="AbC")
    assert revoke("--subject", "abc").status == 2
    assert grant("--subject", "abc").status == 0
    assert rights(visitor) == (False, False)


# Somebody who is not there yet


def test_person_without_a_sign_in_is_staff_at_the_first_one(
    corp: FakeProvider, other: FakeProvider
) -> None:
    done = grant("--subject", "4711", "--superuser")
    assert done.status == 0, done.err
    assert "Nobody has signed in with 4711 at corp yet." in done.out
    made = User.objects.get()
    assert not made.has_usable_password()

    stranger = sign_in_staff(other, "other", sub="4711", preferred_username=made.username)
    grace = sign_in_staff(corp, sub="4711", preferred_username="grace", email="grace@example.com")

    assert grace.user_id == str(made.pk)
    assert grace.load_tokens() is not None
    assert enters(grace)
    assert stranger.user_id != grace.user_id
    assert rights(stranger) == (False, False)
    assert SocialAccount.objects.get(provider="corp").extra_data["userinfo"]["sub"] == "4711"


def test_address_creates_no_user(corp: FakeProvider) -> None:
    assert grant("--email", "grace@example.com").status == 2
    assert not User.objects.exists()


def test_revoking_creates_no_user(ada: Visitor) -> None:
    done = revoke("--subject", "1002")
    assert done.status == 2
    assert done.err == "Nobody has signed in with 1002 at corp. Did you mean 1001?"
    assert User.objects.count() == 1


@pytest.mark.parametrize("subject", ["", "x" * 192, "a\nb", "a\0b", "a\u202eb"])
def test_invalid_subject_creates_no_user(corp: FakeProvider, subject: str) -> None:
    done = grant("--subject", subject)
    assert done.status == 2
    assert done.err == "--subject must have 1 to 191 printable characters, no space around them."
    assert done.out == ""
    assert not User.objects.exists()


def test_concurrent_sign_in_creates_one_user(
    corp: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = accounts.find_account

    def overtaken(provider: str, subject: str) -> SocialAccount | None:
        found = find(provider, subject)
        sign_in_staff(corp, sub=subject)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(accounts, "find_account", overtaken)
        done = grant("--subject", "4711")
    assert done.status == 1
    assert "run the same command again" in done.err
    assert User.objects.count() == 1
    assert grant("--subject", "4711").status == 0
    assert User.objects.get().is_staff


# Prompts and output


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    given: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda: given.pop(0))
    return given


def test_prompt_shows_what_will_change(ada: Visitor, answers: list[str]) -> None:
    named = ("--provider", "corp", "--subject", "1001")
    answers += ["n", "y", "", "yes"]

    refused = staff("grant", *named, "--superuser")
    assert (refused.status, rights(ada)) == (1, (False, False))
    whom = f"user {ada.user_id} (ada), corp 1001 <ada@example.com>"
    assert f"Make {whom} a superuser, who may do anything in the admin? [y/N]" in refused.err
    assert refused.err.endswith("Nothing was done.")

    assert staff("grant", *named, "--superuser").status == 0
    assert rights(ada) == (True, True)
    refused = staff("revoke", *named)
    assert f"Remove all rights in the admin from {whom}? [y/N]" in refused.err
    assert (refused.status, rights(ada)) == (1, (True, True))
    assert staff("revoke", *named).status == 0
    assert rights(ada) == (False, False)


def test_without_a_terminal_or_a_yes_nothing_is_done(
    ada: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    done = staff("grant", "--provider", "corp", "--subject", "1001")
    assert (done.status, rights(ada)) == (1, (False, False))
    assert "--no-input" in done.err
    assert staff("grant", "--provider", "corp", "--subject", "1001", "--no-input").status == 0
    assert rights(ada) == (True, False)


def test_dry_run_does_nothing(ada: Visitor) -> None:
    for subject in ("1001", "4711"):
        done = staff("grant", "--provider", "corp", "--subject", subject, "--dry-run")
        assert done.status == 0
        assert "Would do: Make" in done.out
    assert rights(ada) == (False, False)
    assert User.objects.count() == 1


def test_account_that_changed_hands_during_the_question_gets_nothing(
    ada: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer() -> str:
        SocialAccount.objects.update(user=User.objects.create(username="heir"))
        return "y"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", answer)
    done = staff("grant", "--provider", "corp", "--subject", "1001")
    assert done.status == 1
    assert "now belongs to another user" in done.err
    assert not User.objects.filter(is_staff=True).exists()


def test_repeated_grant_and_revoke_change_nothing(ada: Visitor) -> None:
    assert "is not staff." in revoke("--subject", "1001").out
    assert grant("--subject", "1001", "--superuser").status == 0
    assert "already has these rights" in grant("--subject", "1001").out
    assert rights(ada) == (True, True)


@pytest.mark.parametrize("action", ["grant", "revoke"])
def test_unknown_provider_is_an_error_that_names_the_nearest(
    ada: Visitor, other: FakeProvider, action: str
) -> None:
    done = staff(action, "--provider", "crop", "--subject", "1001", "--yes")
    assert done.status == 2
    assert done.err == "There is no provider crop. Did you mean corp?"
    assert User.objects.count() == 1


def test_nearest_address_is_named(ada: Visitor) -> None:
    assert "Did you mean ada@example.com?" in grant("--email", "adda@example.com").err


def test_lookalike_address_is_shown_escaped(corp: FakeProvider) -> None:
    """Whoever has it verified at the provider is suggested for somebody who never signed in."""
    sign_in_staff(corp, sub="2002", email="\u0430da@example.com", email_verified=True)  # not an a
    command = grant("--email", "ada@example.com")
    assert command.status == 2
    assert "'\\u0430da@example.com'" in command.err
    assert "'\\u0430da@example.com'" in grant("--email", "\u0430da@example.com", "--dry-run").out


def test_rights_can_be_revoked_for_a_removed_provider(ada: Visitor, settings: Any) -> None:
    grant("--subject", "1001", "--superuser")
    settings.SOCIALACCOUNT_PROVIDERS = {}
    settings.OAUTH_PROVIDERS = []
    assert grant("--subject", "1001").status == 2
    assert revoke("--email", "ada@example.com").status == 2
    assert revoke("--subject", "1001").status == 0
    assert rights(ada) == (False, False)


def test_list_names_accounts_beside_names(ada: Visitor, mallory: Visitor) -> None:
    assert staff("list").out.strip() == "Nobody is staff."
    grant("--subject", "1001", "--superuser")
    User.objects.create(username="left", is_staff=True, is_active=False)
    command = staff("list")
    assert command.status == 0
    first, second = command.out.strip().splitlines()
    assert first == f"user {ada.user_id} (ada), corp 1001 <ada@example.com>: staff, superuser"
    assert second.endswith("(left, inactive), no account: staff")
    assert staff("list", "--json").json["staff"][0] == {
        "user": user_of(ada).pk,
        "name": "ada",
        "active": True,
        "staff": True,
        "superuser": True,
        "by_groups_at": [],
        "accounts": [{"provider": "corp", "subject": "1001"}],
    }


def test_control_characters_in_names_are_escaped(corp: FakeProvider) -> None:
    accounts.create_account(
        "corp", "1\u202e2"
    )  # as a release could that took any text for a subject
    User.objects.update(username="ada\x1b[2K\r", is_staff=True)
    command = staff("list").out
    assert "('ada\\x1b[2K\\r'), corp '1\\u202e2': staff" in command


def test_unusable_database_is_an_error(corp: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise DatabaseError("told by a test")

    monkeypatch.setattr(accounts, "find_account", fail)
    done = grant("--subject", "1")
    assert done.status == 1
    assert done.err.startswith("The database cannot be used: told by a test. Check that its server")


@each_case(
    "arguments",
    [
        [],
        ["promote"],
        ["grant", "--provider", "corp"],
        ["grant", "--subject", "1"],
        ["grant", "ada"],
        ["grant", "--username", "ada"],
        ["grant", "--provider", "corp", "--subject", "1", "--email", "a@example.com"],
        ["revoke", "--provider", "corp", "--subject", "1", "--superuser"],
    ],
)
def test_conflicting_options_are_rejected(arguments: list[str]) -> None:
    assert staff(*arguments).status == 2


def test_conflicting_options_exit_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        Command().run_from_argv(["manage.py", "staff", "grant", "--user", "ada"])
    assert left.value.code == 2
    assert "--provider" in capsys.readouterr().err
