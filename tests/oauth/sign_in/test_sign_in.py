"""A complete sign-in, and what it stores."""

import time
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount, SocialApp
from django.contrib.auth import get_user_model

from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.requests import stored_tokens


def test_sign_in_keeps_the_whole_token_set(corp: FakeProvider, visitor: Visitor) -> None:
    corp.more_of_token_response = {"refresh_expires_in": 86400}

    response = visitor.sign_in(corp)

    assert (response.status_code, response["Location"]) == (302, "/")
    held = stored_tokens(visitor)
    assert held.access_token in corp.secrets
    assert held.refresh_token in corp.secrets
    assert held.id_token in corp.secrets
    assert held.scope == ("openid", "profile", "email")
    assert held.token_type == "bearer"
    assert held.subject == "1001"
    assert held.client_id == corp.client_id
    now = time.time()  # The gateway corrects its clock by DynamoDB's.
    assert held.expires_at == pytest.approx(now + 3600, abs=60)
    assert held.refresh_expires_at == pytest.approx(now + 86400, abs=60)


def test_sign_in_uses_pkce_with_s256_and_a_state(corp: FakeProvider, visitor: Visitor) -> None:
    visitor.sign_in(corp)

    (query,) = corp.authorizations
    assert query["code_challenge_method"] == "S256"
    assert len(query["code_challenge"]) == 43
    assert len(query["state"]) >= 16


@pytest.mark.parametrize("knows_pkce", [True, False])
def test_code_of_another_sign_in_is_refused(
    corp: FakeProvider, visitor: Visitor, knows_pkce: bool
) -> None:
    corp.knows_pkce = knows_pkce
    stolen = _query(Visitor().callback_address(corp))["code"]
    own = _query(visitor.callback_address(corp))["state"]

    response = visitor.client.get(
        "/accounts/oidc/corp/login/callback/", {"code": stolen, "state": own}
    )

    assert response.status_code == 401
    assert visitor.user_id is None


WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "id token without a nonce": ("more_of_id_token", {"nonce": None}),
    "id token with an empty nonce": ("more_of_id_token", {"nonce": ""}),
    "id token of another request": ("more_of_id_token", {"nonce": "another"}),
    "id token with a number as nonce": ("more_of_id_token", {"nonce": 7}),
    "id token without a subject": ("more_of_id_token", {"sub": None}),
    "id token for another client": ("more_of_id_token", {"aud": "another-client"}),
    "no id token": ("more_of_token_response", {"id_token": None}),
    "userinfo of another subject": ("more_of_userinfo", {"sub": "somebody-else"}),
}


@pytest.mark.parametrize(("where", "content"), WRONG.values(), ids=WRONG)
def test_wrong_response_signs_nobody_in(
    corp: FakeProvider, visitor: Visitor, where: str, content: dict[str, Any]
) -> None:
    setattr(corp, where, content)
    assert visitor.sign_in(corp).status_code == 401
    assert visitor.user_id is None
    assert not get_user_model().objects.exists()


def test_get_of_the_sign_in_url_only_shows_a_form(corp: FakeProvider, visitor: Visitor) -> None:
    response = visitor.client.get("/accounts/oidc/corp/login/")

    assert response.status_code == 200
    assert b'method="post"' in response.content
    assert corp.authorizations == []


def test_scope_and_parameters_of_the_address_are_not_passed_on(
    corp: FakeProvider, visitor: Visitor
) -> None:
    response = visitor.client.post(
        "/accounts/oidc/corp/login/?scope=admin&auth_params=prompt%3Dnone&action=reauthenticate"
    )

    query = parse_qs(urlsplit(response["Location"]).query)
    assert sorted(query["scope"][0].split()) == ["email", "openid", "profile"]
    assert "prompt" not in query


@pytest.mark.parametrize(
    ("granted", "scope"), [("openid", ("openid",)), (None, ("openid", "profile", "email"))]
)
def test_granted_scope_is_kept_or_the_requested_one_if_none_is_named(
    corp: FakeProvider, visitor: Visitor, granted: str | None, scope: tuple[str, ...]
) -> None:
    corp.scope = granted
    visitor.sign_in(corp)
    assert stored_tokens(visitor).scope == scope


def test_github_token_without_end_and_refresh_is_kept(
    github: FakeProvider, visitor: Visitor
) -> None:
    response = visitor.sign_in(github, "github")

    assert (response.status_code, response["Location"]) == (302, "/")
    held = stored_tokens(visitor, "github")
    assert held.access_token in github.secrets
    assert (held.refresh_token, held.id_token, held.expires_at) == (None, None, None)
    assert held.scope == ("read:user", "user:email")
    assert held.subject == "77"


def test_github_sign_in_uses_pkce(github: FakeProvider, visitor: Visitor) -> None:
    visitor.sign_in(github, "github")
    assert github.authorizations[0]["code_challenge_method"] == "S256"


def test_session_key_is_cycled_at_sign_in(corp: FakeProvider, visitor: Visitor) -> None:
    url = visitor.callback_address(corp)
    before = visitor.session.session_key
    visitor.client.get(url)
    assert visitor.session.session_key not in (None, before)


@pytest.mark.parametrize("state", ["", "&state=xxxxxxxxxxxxxxxx"])
def test_missing_or_wrong_state_is_refused(
    corp: FakeProvider, visitor: Visitor, state: str
) -> None:
    url = visitor.callback_address(corp)
    response = visitor.client.get(url.partition("&state=")[0] + state)
    assert (response.status_code, response["Location"]) == (302, "/accounts/login/?again=1")
    assert visitor.user_id is None


def test_state_of_another_browser_is_refused(corp: FakeProvider, visitor: Visitor) -> None:
    url = visitor.callback_address(corp)
    victim = Visitor()
    assert victim.client.get(url).status_code == 302
    assert victim.user_id is None


def test_state_of_another_provider_is_refused(other: FakeProvider, visitor: Visitor) -> None:
    url = visitor.callback_address(other, "other").replace("/oidc/other/", "/oidc/corp/")
    assert visitor.client.get(url).status_code == 302
    assert visitor.user_id is None


def test_state_is_valid_once(corp: FakeProvider, visitor: Visitor) -> None:
    url = visitor.callback_address(corp)
    assert visitor.client.get(url).status_code == 302
    held = visitor.load_tokens()
    assert visitor.client.get(url).status_code == 302
    assert visitor.load_tokens() == held


def test_response_of_another_issuer_is_refused(corp: FakeProvider, visitor: Visitor) -> None:
    url = visitor.callback_address(corp)
    response = visitor.client.get(url + "&iss=https%3A%2F%2Fevil.example")
    assert response.status_code == 401
    assert visitor.user_id is None
    assert len(corp.codes) == 1  # the code was not sent


def test_response_without_an_issuer_is_refused_where_one_is_announced(
    corp: FakeProvider, visitor: Visitor
) -> None:
    corp.more_of_metadata = {"authorization_response_iss_parameter_supported": True}
    url = visitor.callback_address(corp)

    assert visitor.client.get(url).status_code == 401
    assert visitor.user_id is None
    assert len(corp.codes) == 1  # the code was not sent

    named = visitor.callback_address(corp)
    assert visitor.client.get(named, {"iss": corp.issuer, **_query(named)}).status_code == 302


def test_response_of_the_expected_issuer_is_accepted(corp: FakeProvider, visitor: Visitor) -> None:
    url = visitor.callback_address(corp)
    assert visitor.client.get(url, {"iss": corp.issuer, **_query(url)}).status_code == 302
    assert visitor.load_tokens() is not None


@pytest.mark.parametrize("process", ["login", "connect"])
@pytest.mark.parametrize("error", ["access_denied", "temporarily_unavailable", "invalid_request"])
@pytest.mark.parametrize("wrong", ["https://evil.example", "{}/", "", "twice"])
def test_error_of_another_issuer_is_rejected_as_a_code_is(
    corp: FakeProvider, visitor: Visitor, error: str, wrong: str, process: str
) -> None:
    if process == "connect":
        visitor.sign_in(corp)
    url = corp.consent(visitor.start(process=process)["Location"], error=error)
    issuers = ["https://evil.example", corp.issuer] if wrong == "twice" else [wrong]
    named = urlencode([("iss", each.format(corp.issuer)) for each in issuers])
    rejected = visitor.client.get(f"{url}&{named}")
    assert rejected.status_code == 401
    assert "response_issuer" in rejected.content.decode()
    again = visitor.client.get(f"{url}&{urlencode({'iss': corp.issuer})}")
    assert again.status_code == 302  # as any response whose state was used
    assert "cancelled" not in again["Location"]


def test_error_without_an_issuer_is_rejected_where_one_is_announced(
    corp: FakeProvider, visitor: Visitor
) -> None:
    corp.more_of_metadata = {"authorization_response_iss_parameter_supported": True}
    url = corp.consent(visitor.start()["Location"], error="access_denied")
    assert visitor.client.get(url).status_code == 401
    url = corp.consent(visitor.start()["Location"], error="access_denied")
    named = visitor.client.get(url, {"iss": corp.issuer, **_query(url)})
    assert named["Location"] == "/accounts/3rdparty/login/cancelled/"


def _query(url: str) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(urlsplit(url).query).items()}


@pytest.mark.parametrize(("length", "status"), [(191, 302), (192, 401)])
def test_subject_that_is_longer_than_the_database_takes_is_refused(
    corp: FakeProvider, visitor: Visitor, length: int, status: int
) -> None:
    corp.person = corp.person | {"sub": "x" * length}
    assert visitor.sign_in(corp).status_code == status


@pytest.mark.parametrize("subject", [None, " ", " 1001", "1001 ", "1001\n", "10\t01", "1001\x7f"])
def test_subject_that_is_null_or_looks_like_another_is_refused(
    corp: FakeProvider, visitor: Visitor, subject: str | None
) -> None:
    corp.person = corp.person | {"sub": subject}
    assert visitor.sign_in(corp).status_code == 401
    assert not get_user_model().objects.exists()


def test_null_id_of_github_is_rejected(github: FakeProvider, visitor: Visitor) -> None:
    github.person["id"] = None
    assert visitor.sign_in(github, "github").status_code == 401
    assert not get_user_model().objects.exists()


def test_userinfo_without_a_subject_is_not_used(corp: FakeProvider, visitor: Visitor) -> None:
    """OpenID Connect Core 5.3.2: whose it is, nobody knows."""
    corp.more_of_userinfo = {"sub": None, "email": "mallory@example.com", "email_verified": True}
    corp.more_of_id_token = {"email": "ada@example.com"}
    assert visitor.sign_in(corp).status_code == 302
    assert [each.email for each in EmailAddress.objects.all()] == ["ada@example.com"]


def test_provider_without_userinfo_gets_no_userinfo_request(
    corp: FakeProvider, visitor: Visitor
) -> None:
    corp.more_of_metadata = {"userinfo_endpoint": None}
    corp.more_of_id_token = {"email": "ada@example.com", "email_verified": True}
    corp.failing["/userinfo"] = lambda: pytest.fail("It has no such endpoint.")
    assert visitor.sign_in(corp).status_code == 302
    (account,) = SocialAccount.objects.all()
    assert account.uid == "1001"
    assert EmailAddress.objects.get(email="ada@example.com").verified


def test_next_leads_to_the_same_site(corp: FakeProvider, visitor: Visitor) -> None:
    assert visitor.sign_in(corp, next="/accounts/3rdparty/")["Location"] == "/accounts/3rdparty/"


def test_next_to_another_site_is_ignored(corp: FakeProvider, visitor: Visitor) -> None:
    for target in ("https://evil.example/", "//evil.example/", "javascript:alert(1)"):
        assert Visitor().sign_in(corp, next=target)["Location"] == "/", target


def test_sign_out_ends_the_session(signed_in: Visitor) -> None:
    key = signed_in.session.session_key

    response = signed_in.client.post("/accounts/logout/")

    assert (response.status_code, response["Location"]) == (302, "/")
    assert key is not None
    assert not type(signed_in.session)().exists(key)
    assert signed_in.load_tokens() is None


def test_sign_out_by_get_only_shows_a_form(signed_in: Visitor) -> None:
    assert signed_in.client.get("/accounts/logout/").status_code == 200
    assert signed_in.load_tokens() is not None


def test_providers_in_the_database_are_ignored(corp: FakeProvider, visitor: Visitor) -> None:
    SocialApp.objects.create(
        provider="openid_connect",
        provider_id="another",
        client_id="another-client",
        settings={"server_url": corp.issuer},
    )
    assert visitor.client.get("/accounts/oidc/another/login/").status_code == 404
    assert visitor.sign_in(corp).status_code == 302


def test_unknown_provider_is_not_found(corp: FakeProvider, visitor: Visitor) -> None:
    assert visitor.client.get("/accounts/oidc/nobody/login/").status_code == 404
    assert visitor.client.get("/accounts/oidc/nobody/login/callback/").status_code == 404
    assert visitor.client.get("/accounts/github/login/").status_code == 404


@pytest.mark.parametrize(
    ("claim", "verified"),
    [(True, True), (False, False), ("true", True), ("false", False), (None, False), ([1], False)],
)
def test_email_is_verified_if_the_provider_says_so_even_as_text(
    corp: FakeProvider, visitor: Visitor, claim: object, verified: bool
) -> None:
    corp.more_of_userinfo = {"email_verified": claim}

    response = visitor.sign_in(corp)

    assert (response.status_code, response["Location"]) == (302, "/")
    assert EmailAddress.objects.get(email="ada@example.com").verified is verified
