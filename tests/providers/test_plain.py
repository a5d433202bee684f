"""A provider with OAuth 2.0 alone, GitHub Enterprise Server among them."""

from typing import Any

import jwt
import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured

from gateway_site.providers.configuration import read_providers
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.requests import get_token, stored_tokens
from tests.providers.conftest import Serve
from tests.providers.signing_in import sign_in
from tests.providers.stubs import GitHubEnterprise
from tests.sessions_kms.support.stacks import Stack
from tests.support.cases import each_case


def test_account_is_identified_by_its_number(serve: Serve, visitor: Visitor) -> None:
    ghe = serve(GitHubEnterprise)
    sign_in(visitor, ghe)
    ghe.person |= {"login": "ada-lovelace", "name": "Ada King"}
    sign_in(Visitor(), ghe)
    assert SocialAccount.objects.get().uid == "77"
    assert get_user_model().objects.count() == 1


def test_unverified_address_stays_unverified(serve: Serve, visitor: Visitor) -> None:
    ghe = serve(GitHubEnterprise)
    ghe.person |= {"email": "ceo@example.com"}
    sign_in(visitor, ghe)
    assert not EmailAddress.objects.filter(verified=True).exists()


@pytest.mark.parametrize("number", [None, "", True, 1.5, [77], {"id": 77}])
def test_response_without_a_subject_is_rejected(
    serve: Serve, visitor: Visitor, number: Any
) -> None:
    ghe = serve(GitHubEnterprise)
    ghe.person |= {"id": number, "sub": "of another kind"}
    assert sign_in(visitor, ghe).status_code == 401
    assert not get_user_model().objects.exists()


def test_id_field_may_be_nested(serve: Serve, visitor: Visitor) -> None:
    ghe = serve(GitHubEnterprise, ID_FIELD="data.id")
    ghe.person = {"data": {"id": "2244994945"}, "id": 77}
    sign_in(visitor, ghe)
    assert SocialAccount.objects.get().uid == "2244994945"


def test_userinfo_that_fails_is_a_page(serve: Serve, visitor: Visitor) -> None:
    ghe = serve(GitHubEnterprise)
    ghe.failing["/api/v3/user"] = lambda: (500, "text/plain", b"")
    assert sign_in(visitor, ghe).status_code == 503
    assert visitor.user_id is None


def test_id_token_is_neither_trusted_nor_stored(serve: Serve, visitor: Visitor) -> None:
    ghe = serve(GitHubEnterprise)
    ghe.more_of_token_response = {"id_token": "of nobody"}
    sign_in(visitor, ghe)
    held = stored_tokens(visitor, "ghe")
    assert held.id_token is None


def test_id_token_of_a_refresh_is_neither_trusted_nor_stored(
    serve: Serve, visitor: Visitor, store: Stack
) -> None:
    ghe = serve(GitHubEnterprise, ALLOWED_GROUPS="staff", GROUPS_CLAIM="company")
    ghe.gives_refresh_token, ghe.expires_in = True, 3600
    ghe.person |= {"company": "staff"}
    sign_in(visitor, ghe)
    anybody = jwt.encode({"sub": "x", "company": ["staff", "roots"]}, "k" * 32)
    nobody = jwt.encode({"sub": "x", "company": []}, "k" * 32)
    for told in (anybody, nobody):
        ghe.more_of_token_response = {"id_token": told}
        store.clock.advance(3601)
        held = get_token(visitor, "ghe")
        assert held.access_token in ghe.secrets
        assert (held.id_token, held.groups) == (None, ("staff",))


def test_invalid_code_is_rejected_despite_status_200(serve: Serve, visitor: Visitor) -> None:
    ghe = serve(GitHubEnterprise)
    back = ghe.consent(visitor.start("ghe")["Location"])
    ghe.codes.clear()
    assert visitor.client.get(back).status_code == 401
    assert visitor.user_id is None


@each_case(
    ("change", "variable"),
    [
        *(({name: ""}, name) for name in ("AUTHORIZATION_URL", "TOKEN_URL", "USERINFO_URL")),
        ({"ID_FIELD": ""}, "ID_FIELD"),
        ({"CLIENT_SECRET": ""}, "CLIENT_SECRET"),
        ({"TOKEN_URL": "http://github.example.com/login/oauth/access_token"}, "TOKEN_URL"),
        ({"JWKS_URL": "https://github.example.com/keys"}, "JWKS_URL"),
        ({"SINGLE_LOGOUT": "1"}, "SINGLE_LOGOUT"),
        ({"BACKCHANNEL_LOGOUT": "1"}, "BACKCHANNEL_LOGOUT"),
        ({"ISSUER": "https://github.example.com"}, "SCOPES"),
        ({"ISSUER": "https://github.example.com", "SCOPES": "openid"}, "ID_FIELD"),
    ],
)
def test_mistake_names_the_variable(change: dict[str, str], variable: str) -> None:
    own = {"CLIENT_ID": "c", "CLIENT_SECRET": "s"} | GitHubEnterprise.variables | change
    with pytest.raises(ImproperlyConfigured, match=f"OAUTH_GHE_{variable}"):
        read_providers({f"OAUTH_GHE_{name}": value for name, value in own.items()})
