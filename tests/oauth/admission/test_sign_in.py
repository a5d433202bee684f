"""Who may sign in, and what remains after a rejected sign-in."""

import logging
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User
from pytest_django import Settings

from oauth import access_rule
from oauth.network import concurrency
from oauth.tokens import vault
from sessions_kms.backend import SessionStore
from tests.gateway_site.support.page_requests import assert_accessible
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.requests import stored_tokens

ADA = {"sub": "1001", "email": "Ada@Example.com", "name": "Ada", "email_verified": True}


def set_rules(settings: Settings, corp: FakeProvider, **variables: str) -> None:
    configure(settings, environment("corp", corp, **variables))


def test_listed_person_is_admitted(
    corp: FakeProvider, visitor: Visitor, settings: Settings
) -> None:
    set_rules(settings, corp, ALLOWED_DOMAINS="example.com", ALLOWED_GROUPS="staff, Domain Users")
    corp.person = ADA
    corp.more_of_id_token = {"groups": ["Domain Users", "canteen"]}
    response = visitor.sign_in(corp)
    assert (response.status_code, response["Location"]) == (302, "/")
    # Of the groups only those that anything here asks for are cached.
    assert stored_tokens(visitor).groups == ("Domain Users",)


@pytest.mark.parametrize(
    ("variables", "person", "claims", "code"),
    [
        ({"ALLOWED_DOMAINS": "example.org"}, ADA, {}, "not_allowed_domain"),
        ({"ALLOWED_DOMAINS": ".example.com"}, ADA, {}, "not_allowed_domain"),
        ({"ALLOWED_EMAILS": "bob@example.com"}, ADA, {}, "not_allowed_domain"),
        (
            {"ALLOWED_DOMAINS": "example.com"},
            ADA | {"email_verified": False},
            {},
            "email_not_verified",
        ),
        ({"ALLOWED_DOMAINS": "example.com"}, {"sub": "1001"}, {}, "no_address"),
        ({"ALLOWED_GROUPS": "staff"}, ADA, {}, "groups_missing"),
        ({"ALLOWED_GROUPS": "staff"}, ADA, {"groups": ["staff2"]}, "not_allowed_group"),
        (
            {"ALLOWED_GROUPS": "staff"},
            ADA,
            {"_claim_names": {"groups": "src1"}},
            "groups_overage",
        ),
    ],
)
def test_rejected_person_sees_the_reason_a_contact_and_an_alternative(
    *,
    corp: FakeProvider,
    visitor: Visitor,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    variables: dict[str, str],
    person: dict[str, object],
    claims: dict[str, object],
    code: str,
) -> None:
    settings.SIGN_IN_CONTACT = "it@example.com"
    set_rules(settings, corp, **variables)
    corp.person, corp.more_of_id_token = person, claims
    caplog.set_level(logging.INFO)

    response = visitor.sign_in(corp, next="/sessions/?page=2&x=1")

    assert response.status_code == 403
    page = response.content.decode()
    assert_accessible(page)
    assert 'name="next" value="/sessions/?page=2&amp;x=1"' in page
    assert 'name="process"' not in page
    assert f">{code}</code>" in page
    assert "mailto:it@example.com" in page
    assert 'action="/accounts/oidc/corp/login/"' in page
    assert (SocialAccount.objects.count(), User.objects.count()) == (0, 0)
    assert (visitor.user_id, visitor.load_tokens()) == (None, None)
    (line,) = [text for text in caplog.messages if "was refused" in text]
    assert code in line
    assert "ada@example.com" not in caplog.text.lower()
    assert [secret for secret in corp.secrets if secret in caplog.text] == []


def test_retry_asks_for_another_account_with_the_configured_parameters(
    corp: FakeProvider, visitor: Visitor, settings: Settings
) -> None:
    set_rules(settings, corp, AUTH_PARAMS="prompt=consent,audience=api")

    def ask(**form: str) -> dict[str, list[str]]:
        return parse_qs(urlsplit(visitor.start(**form)["Location"]).query)

    assert ask()["prompt"] == ["consent"]
    another = ask(account="another")
    assert another["prompt"] == ["consent select_account"]
    assert another["audience"] == ["api"]


def test_provider_without_account_selection_gets_prompt_login(
    corp: FakeProvider, visitor: Visitor
) -> None:
    corp.more_of_metadata = {"prompt_values_supported": ["none", "login"]}
    query = parse_qs(urlsplit(visitor.start(account="another")["Location"]).query)
    assert query["prompt"] == ["login"]


def test_grant_of_a_rejected_person_is_revoked(
    corp: FakeProvider, visitor: Visitor, settings: Settings
) -> None:
    set_rules(settings, corp, ALLOWED_DOMAINS="example.org", REVOCATION_URL=f"{corp.issuer}/revoke")
    revoked: list[bool] = []
    corp.hooks["/revoke"] = lambda: revoked.append(True)
    corp.failing["/revoke"] = lambda: (200, "text/plain", b"")
    assert visitor.sign_in(corp).status_code == 403
    assert concurrency.drain_background(10)
    assert revoked


@pytest.mark.parametrize("process", ["login", "connect"])
def test_second_rejection_ends_the_session_of_the_account(
    corp: FakeProvider, visitor: Visitor, settings: Settings, process: str
) -> None:
    corp.person = ADA
    visitor.sign_in(corp)
    key = visitor.session.session_key
    assert list(SessionStore(key).load())
    set_rules(settings, corp, ALLOWED_DOMAINS="example.org")

    assert visitor.sign_in(corp, process=process).status_code == 403

    assert visitor.user_id is None
    assert SessionStore(key).load() == {}


def test_rejected_account_is_not_connected_and_the_other_one_stays(
    corp: FakeProvider, other: FakeProvider, signed_in: Visitor, settings: Settings
) -> None:
    variables = environment("corp", corp, CLIENT_ID="the-corp-client")
    configure(settings, variables | environment("other", other, ALLOWED_DOMAINS="example.org"))

    response = signed_in.connect(other)

    assert response.status_code == 403
    assert 'name="process" value="connect"' in response.content.decode()
    assert vault.stored_providers(signed_in.session) == ["corp"]
    assert SocialAccount.objects.filter(provider="other").count() == 0
    assert signed_in.user_id is not None


def test_rejected_account_loses_only_its_connection(
    corp: FakeProvider, other: FakeProvider, connected: Visitor, settings: Settings
) -> None:
    variables = environment("corp", corp, CLIENT_ID="the-corp-client")
    configure(settings, variables | environment("other", other, ALLOWED_DOMAINS="example.org"))

    assert connected.connect(other).status_code == 403

    assert vault.stored_providers(connected.session) == ["corp"]
    assert connected.user_id is not None


@pytest.mark.parametrize(
    ("hosted", "status"), [("Example.com", 302), ("example.org", 403), (None, 403), (True, 403)]
)
def test_hosted_domain_is_sent_and_the_claim_of_the_id_token_compared(
    *,
    corp: FakeProvider,
    visitor: Visitor,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    hosted: object,
    status: int,
) -> None:
    # https://developers.google.com/identity/openid-connect/openid-connect#hd-param
    monkeypatch.setattr(access_rule, "GOOGLE", "127.0.0.1")
    set_rules(settings, corp, HOSTED_DOMAIN="example.com")
    corp.more_of_id_token = {} if hosted is None else {"hd": hosted}
    corp.more_of_userinfo = {"hd": "example.com"}
    assert visitor.sign_in(corp).status_code == status
    assert corp.authorizations[0]["hd"] == "example.com"
