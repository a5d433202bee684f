"""Peculiarities of the other providers."""

import pytest
from allauth.account.models import EmailAddress
from django.core.exceptions import ImproperlyConfigured

from gateway_site.providers.configuration import read_providers
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.requests import stored_tokens
from tests.providers.conftest import Serve
from tests.providers.signing_in import sign_in
from tests.providers.stubs import Auth0, Cognito, Entra, GitLab, Google, Keycloak, Okta, Stub
from tests.support.cases import each_case


def test_google_gives_a_refresh_token_at_every_sign_in(serve: Serve, visitor: Visitor) -> None:
    sign_in(visitor, serve(Google))
    held = stored_tokens(visitor, "google")
    assert held.refresh_token is not None


def test_google_issues_no_refresh_token_without_prompt_consent(
    serve: Serve, visitor: Visitor
) -> None:
    sign_in(visitor, serve(Google, AUTH_PARAMS="access_type=offline"))
    held = stored_tokens(visitor, "google")
    assert held.refresh_token is None


@pytest.mark.parametrize("kind", [Auth0, Entra, Okta])
def test_refresh_token_is_given_for_offline_access_alone(
    serve: Serve, visitor: Visitor, kind: type[Stub]
) -> None:
    sign_in(visitor, serve(kind, SCOPES="openid,profile,email"))
    held = stored_tokens(visitor, kind.name)
    assert held.refresh_token is None


@pytest.mark.parametrize(
    ("kind", "change", "error"),
    [
        (GitLab, {"SCOPES": "openid,offline_access"}, "invalid_scope"),
        (Auth0, {"AUTH_PARAMS": "audience=https://other.example.com/"}, "access_denied"),
        (Keycloak, {"SCOPES": "openid,nonsense"}, "invalid_scope"),
    ],
)
def test_refusal_of_a_provider_does_not_sign_in(
    serve: Serve, visitor: Visitor, kind: type[Stub], change: dict[str, str], error: str
) -> None:
    provider = serve(kind, **change)
    sign_in(visitor, provider)
    assert provider.refused == [error]
    assert visitor.user_id is None


def test_okta_receives_the_credentials_once(serve: Serve, visitor: Visitor) -> None:
    okta = serve(Okta)
    assert sign_in(visitor, okta).status_code == 302
    assert okta.token({"client_id": okta.client_id}, "Basic x")[0] == 400


@pytest.mark.parametrize(("scopes", "ends"), [("openid", True), ("openid,offline_access", False)])
def test_offline_token_of_keycloak_never_ends(
    serve: Serve, visitor: Visitor, scopes: str, ends: bool
) -> None:
    sign_in(visitor, serve(Keycloak, SCOPES=scopes))
    held = stored_tokens(visitor, "corp")
    assert (held.refresh_expires_at is not None) is ends


def test_response_of_keycloak_without_its_name_is_refused(serve: Serve, visitor: Visitor) -> None:
    keycloak = serve(Keycloak)
    back = keycloak.consent(visitor.start("corp")["Location"])
    assert visitor.client.get(back.replace("&iss=", "&not_iss=")).status_code == 401
    assert visitor.user_id is None


def test_address_of_cognito_is_verified_by_a_text(serve: Serve, visitor: Visitor) -> None:
    sign_in(visitor, serve(Cognito))
    assert EmailAddress.objects.get().verified


@each_case(
    ("kind", "change", "variable"),
    [
        (Google, {"SCOPES": "openid,offline_access"}, "SCOPES"),
        (Google, {"TOKEN_URL": "https://login.example.com/token"}, "TOKEN_URL"),
        (Google, {"TEAM_ID": "x"}, "TEAM_ID"),
        (Cognito, {"SCOPES": "openid,offline_access"}, "SCOPES"),
        (Cognito, {"FORM_ACTION": ""}, "FORM_ACTION"),
        (Okta, {"CLIENT_SECRET": ""}, "CLIENT_SECRET"),
    ],
)
def test_mistake_names_the_variable(
    kind: type[Stub], change: dict[str, str], variable: str
) -> None:
    own = {"CLIENT_ID": "c", "CLIENT_SECRET": "s"} | kind.variables | change
    prefix = f"OAUTH_{kind.name.upper()}_"
    with pytest.raises(ImproperlyConfigured, match=prefix + variable):
        read_providers({prefix + name: value for name, value in own.items()})
