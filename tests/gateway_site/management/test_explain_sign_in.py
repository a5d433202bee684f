"""The explanation of a sign-in decision for operators."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.sessions_kms.support.commands import Run, run

ADA = {"sub": "1001", "email": "ada@example.com", "name": "Ada", "email_verified": True}
RULE = {"ALLOWED_DOMAINS": "example.com,.example.org", "ALLOWED_GROUPS": "staff"}


def explain(*arguments: str) -> Run:
    return run("explain_sign_in", *arguments)


@pytest.fixture
def claims(tmp_path: Path) -> Any:
    def write(content: object) -> str:
        path = tmp_path / "claims.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


@pytest.fixture
def corp_with_rule(corp: FakeProvider, settings: Settings) -> FakeProvider:
    configure(settings, environment("corp", corp, **RULE))
    return corp


@pytest.mark.parametrize(
    ("told", "allowed", "code"),
    [
        ({"email": "ada@example.com", "email_verified": True, "groups": ["staff"]}, True, None),
        ({"email": "ada@example.com", "groups": ["staff"]}, False, "email_not_verified"),
        ({"id_token": {"groups": ["staff"]}, "userinfo": ADA}, True, None),
        ({"id_token": {"groups": []}, "userinfo": ADA}, False, "not_allowed_group"),
    ],
)
def test_claims_of_a_file_are_explained(
    corp_with_rule: FakeProvider, claims: Any, told: object, allowed: bool, code: str | None
) -> None:
    done = explain("--provider", "corp", "--claims", claims(told), "--json")
    (found,) = done.json["sign_ins"]
    assert (done.status, found["allowed"], found["code"]) == (0, allowed, code)


def test_user_is_explained_by_the_last_response_of_the_provider(
    corp: FakeProvider, settings: Settings
) -> None:
    corp.person = ADA
    visitor = Visitor()
    visitor.sign_in(corp)
    configure(settings, environment("corp", corp, **RULE))
    done = explain("--user", str(visitor.user_id))
    assert done.status == 0
    assert done.out.splitlines() == [
        "corp: may not sign in: groups_missing.",
        "  Allowed domains: .example.org, example.com.",
        "  Allowed groups: staff.",
        "  Accepted addresses: ada@example.com.",
        "  Groups used by rules here: none, of 0 from the provider.",
        "  Groups missing: groups_missing.",
    ]


def test_github_sign_in_is_explained_by_the_github_api(
    github: FakeProvider, settings: Settings, claims: Any
) -> None:
    own = {"ISSUER": "", "ALLOWED_EMAILS": "ada@example.com", "ALLOWED_ORGS": "acme"}
    configure(settings, environment("github", github, **own))

    def verdict(told: object) -> tuple[Any, Any]:
        done = explain("--provider", "github", "--claims", claims(told), "--json")
        (found,) = done.json["sign_ins"]
        return found["allowed"], found["code"]

    assert verdict({"login": "ada"}) == (None, None)
    mail = {"email": "Ada@Example.com", "verified": True}
    assert verdict({"emails": [mail], "groups": ["Acme"]}) == (True, None)
    assert verdict({"emails": [mail], "groups": ["acme/x"]}) == (False, "not_allowed_group")


def test_unknown_name_is_an_error_that_names_the_nearest(
    corp_with_rule: FakeProvider, claims: Any
) -> None:
    user = User.objects.create(username="ada.lovelace")
    good, bad = claims({}), "/nowhere/claims.json"
    expected = {
        ("--provider", "crop", "--claims", good): (2, "Did you mean corp?"),
        ("--user", "ada.lovelance"): (2, f"Did you mean {user.pk} (ada.lovelace)?"),
        ("--user", "9" * 30): (2, "There is no user"),
        ("--provider", "corp"): (2, "need each other"),
        ("--provider", "corp", "--claims", bad): (1, "cannot be read"),
    }
    for arguments, (status, words) in expected.items():
        done = explain(*arguments)
        assert (done.status, words in done.err) == (status, True), (arguments, done.err)
    too_long = '{"a": "' + "x" * 70_000 + '"}'
    for content, words in {"[]": "one JSON object", "{": "one JSON", too_long: "longer"}.items():
        done = explain("--provider", "corp", "--claims", claims(content))
        assert (done.status, words in done.err) == (2, True), done.err
