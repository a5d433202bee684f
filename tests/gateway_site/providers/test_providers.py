"""The variables of providers: their settings, and their errors."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from gateway_site.providers.configuration import (
    form_action_origins,
    read_providers,
    require_open_upstreams,
    social_providers,
)
from tests.gateway_site.support.loading import production
from tests.support.cases import each_case

CORP = {
    "OAUTH_CORP_CLIENT_ID": "corp-client",
    "OAUTH_CORP_CLIENT_SECRET": "canary-secret",
    "OAUTH_CORP_ISSUER": "https://login.example.com/realms/corp",
}
GOOGLE = {"OAUTH_GOOGLE_CLIENT_ID": "google-client", "OAUTH_GOOGLE_CLIENT_SECRET": "s"}
OAUTH2 = {
    "OAUTH_PLAIN_CLIENT_ID": "c",
    "OAUTH_PLAIN_CLIENT_SECRET": "s",
    "OAUTH_PLAIN_AUTHORIZATION_URL": "https://a.example/authorize",
    "OAUTH_PLAIN_TOKEN_URL": "https://a.example/token",
    "OAUTH_PLAIN_USERINFO_URL": "https://a.example/me",
    "OAUTH_PLAIN_ID_FIELD": "id",
}
ENTRA = {
    "OAUTH_ENTRA_CLIENT_ID": "e",
    "OAUTH_ENTRA_CLIENT_SECRET": "s",
    "OAUTH_ENTRA_ISSUER": "https://login.microsoftonline.com/organizations/v2.0",
    "OAUTH_ENTRA_ALLOWED_TENANTS": "11111111-1111-1111-1111-111111111111",
}
TWICE = {
    "OAUTH_CORP_ID_JAG_CLIENTS": "1",
    "OAUTH_B_ID_JAG_CLIENTS": "1",
    "OAUTH_B_CLIENT_ID": "b-client",
    "OAUTH_B_CLIENT_SECRET": "s",
    "OAUTH_B_ISSUER": "https://login.example.com/realms/corp/",
}
GITHUB = {"OAUTH_GITHUB_CLIENT_ID": "github-client", "OAUTH_GITHUB_CLIENT_SECRET": "s"}


def test_any_issuer_becomes_an_openid_provider_with_pkce() -> None:
    openid = social_providers(read_providers(CORP))["openid_connect"]
    assert openid["OAUTH_PKCE_ENABLED"] is True
    (app,) = openid["APPS"]
    assert (app["provider_id"], app["name"]) == ("corp", "Corp")
    assert (app["client_id"], app["secret"]) == ("corp-client", "canary-secret")
    assert app["settings"] == {
        "auth_params": {},
        "oauth_pkce_enabled": True,
        "scope": ["openid", "profile", "email"],
        "server_url": "https://login.example.com/realms/corp",
        "uid_field": "sub",
    }


def test_google_is_an_openid_provider_with_its_issuer_built_in() -> None:
    (app,) = social_providers(read_providers(GOOGLE))["openid_connect"]["APPS"]
    assert (app["provider_id"], app["name"]) == ("google", "Google")
    assert app["settings"]["server_url"] == "https://accounts.google.com"
    assert app["settings"]["auth_params"] == {"access_type": "offline", "prompt": "consent"}


def test_github_is_a_provider_of_its_own_with_pkce() -> None:
    kinds = social_providers(read_providers(GITHUB))
    assert kinds["openid_connect"]["APPS"] == []
    (app,) = kinds["github"]["APPS"]
    assert kinds["github"]["OAUTH_PKCE_ENABLED"] is True
    assert app["settings"]["oauth_pkce_enabled"] is True
    assert "provider_id" not in app


def test_companions_are_read() -> None:
    (provider,) = read_providers(
        CORP
        | {
            "OAUTH_CORP_NAME": "Example Corp",
            "OAUTH_CORP_SCOPES": "openid, offline_access calendar",
            "OAUTH_CORP_AUTH_PARAMS": "prompt=consent,audience=api",
            "OAUTH_CORP_FORM_ACTION": "https://sso.example.com:8443/login",
        }
    )
    assert provider.label == "Example Corp"
    assert provider.scopes == ("openid", "offline_access", "calendar")
    assert provider.auth_params == {"prompt": "consent", "audience": "api"}
    assert provider.form_action == ("https://login.example.com", "https://sso.example.com:8443")


def test_names_may_have_several_words() -> None:
    variables = {key.replace("CORP", "MY_CORP_2"): value for key, value in CORP.items()}
    (provider,) = read_providers(variables)
    assert (provider.name, provider.label) == ("my_corp_2", "My Corp 2")


def test_empty_client_id_configures_nothing() -> None:
    assert read_providers(CORP | {"OAUTH_CORP_CLIENT_ID": " "}) == []
    assert read_providers({"OAUTH_CORP_ISSUER": "nonsense", "OAUTH_TOKEN": "of another tool"}) == []


def test_private_key_takes_the_place_of_a_secret() -> None:
    key = {"OAUTH_CORP_PRIVATE_KEY_FILE": "/k.pem", "OAUTH_CORP_TOKEN_AUTH": "private_key_jwt"}
    (provider,) = read_providers(CORP | key | {"OAUTH_CORP_CLIENT_SECRET": ""})
    assert provider.client_secret == ""


def test_form_action_lists_the_origins_of_the_providers() -> None:
    directives = production()["CONTENT_SECURITY_POLICY"]["DIRECTIVES"]
    assert directives["form-action"] == [
        "'self'",
        "https://accounts.google.com",
        "https://github.com",
        "https://login.example.com",
    ]
    assert directives["default-src"] == ["'none'"]


def test_plain_http_issuer_is_good_on_loopback_only() -> None:
    (provider,) = read_providers(CORP | {"OAUTH_CORP_ISSUER": "http://127.0.0.1:9400"})
    assert form_action_origins([provider]) == ["http://127.0.0.1:9400"]
    (provider,) = read_providers(CORP | {"OAUTH_CORP_ISSUER": "http://[::1]:9400"})
    assert form_action_origins([provider]) == ["http://[::1]:9400"]


def test_plain_http_is_accepted_where_allowed() -> None:
    http = {"OAUTH_CORP_ISSUER": "http://sso.internal:8080", "OAUTH_CORP_ALLOW_HTTP": "1"}
    (provider,) = read_providers(CORP | http)
    assert form_action_origins([provider]) == ["http://sso.internal:8080"]
    assert provider.settings["allow_private"] is True


def test_sign_in_page_at_another_address_may_be_led_to() -> None:
    url = "https://login.example.org/authorize"
    (provider,) = read_providers(CORP | {"OAUTH_CORP_AUTHORIZATION_URL": url})
    assert form_action_origins([provider]) == [
        "https://login.example.com",
        "https://login.example.org",
    ]


def test_slash_at_the_end_of_an_issuer_is_dropped() -> None:
    (provider,) = read_providers(CORP | {"OAUTH_CORP_ISSUER": "https://tenant.auth.example/"})
    assert provider.issuer == "https://tenant.auth.example"


def test_secret_is_not_in_the_repr() -> None:
    assert "canary-secret" not in repr(read_providers(CORP))


@each_case(
    ("change", "variable"),
    [
        ({"OAUTH_CORP_ISSUER": ""}, "OAUTH_CORP_ISSUER"),
        ({"OAUTH_CORP_CLIENT_SECRET": " "}, "OAUTH_CORP_CLIENT_SECRET"),
        ({"OAUTH_CORP_TOKEN_URL": "http://sso.internal/token"}, "OAUTH_CORP_TOKEN_URL"),
        ({"OAUTH_CORP_JWKS_URL": "https://a.example/keys?x=1"}, "OAUTH_CORP_JWKS_URL"),
        ({"OAUTH_CORP_ALLOW_HTTP": "10.0.0.0/8"}, "OAUTH_CORP_ALLOW_HTTP"),
        (
            {"OAUTH_CORP_ALLOW_HTTP": "1", "OAUTH_CORP_ALLOW_PRIVATE": "0"},
            "OAUTH_CORP_ALLOW_HTTP",
        ),
        ({"OAUTH_CORP_CA_FILE": "/no/such.pem"}, "OAUTH_CORP_CA_FILE"),
        ({"OAUTH_CORP_CA_FILE": __file__}, "OAUTH_CORP_CA_FILE"),
        ({"OAUTH_CORP_ID_FIELD": "id"}, "OAUTH_CORP_ID_FIELD"),
        ({"OAUTH_CORP_TEAM_ID": "x"}, "OAUTH_CORP_TEAM_ID"),
        ({"OAUTH_CORP_ALLOWED_TENANTS": "x"}, "OAUTH_CORP_ALLOWED_TENANTS"),
        (GITHUB | {"OAUTH_GITHUB_TOKEN_URL": "https://x.example"}, "OAUTH_GITHUB_TOKEN_URL"),
        ({"OAUTH_CORP_ISSUER": "login.example.com"}, "OAUTH_CORP_ISSUER"),
        ({"OAUTH_CORP_ISSUER": "http://login.example.com"}, "OAUTH_CORP_ISSUER"),
        ({"OAUTH_CORP_ISSUER": "https://user:pw@login.example.com"}, "OAUTH_CORP_ISSUER"),
        ({"OAUTH_CORP_ISSUER": "https://login.example.com?x=1"}, "OAUTH_CORP_ISSUER"),
        ({"OAUTH_CORP_ISSUER": "https://login.example.com:port"}, "OAUTH_CORP_ISSUER"),
        ({"OAUTH_CORP_ISSUER": "https://a.example; script-src *"}, "OAUTH_CORP_ISSUER"),
        ({"OAUTH_CORP_FORM_ACTION": "*"}, "OAUTH_CORP_FORM_ACTION"),
        ({"OAUTH_CORP_FORM_ACTION": "https://*.example.com"}, "OAUTH_CORP_FORM_ACTION"),
        ({"OAUTH_CORP_FORM_ACTION": "https:"}, "OAUTH_CORP_FORM_ACTION"),
        ({"OAUTH_CORP_SCOPES": "profile"}, "OAUTH_CORP_SCOPES"),
        ({"OAUTH_CORP_AUTH_PARAMS": "prompt"}, "OAUTH_CORP_AUTH_PARAMS"),
        ({"OAUTH_CORP_NAME": "x" * 41}, "OAUTH_CORP_NAME"),
        ({"OAUTH_GOOGLE_CLIENT_ID": "g"}, "OAUTH_GOOGLE_CLIENT_SECRET"),
        ({"OAUTH_GITHUB_CLIENT_ID": "g"}, "OAUTH_GITHUB_CLIENT_SECRET"),
        (GOOGLE | {"OAUTH_GOOGLE_ISSUER": "https://x.example"}, "OAUTH_GOOGLE_ISSUER"),
        ({"OAUTH_OPENID_CONNECT_CLIENT_ID": "x"}, "OAUTH_OPENID_CONNECT_CLIENT_ID"),
        (GITHUB | {"OAUTH_GITHUB_ID_JAG_CLIENTS": "1"}, "OAUTH_GITHUB_ID_JAG_CLIENTS needs"),
        (OAUTH2 | {"OAUTH_PLAIN_ID_JAG_CLIENTS": "1"}, "OAUTH_PLAIN_ID_JAG_CLIENTS needs"),
        (ENTRA | {"OAUTH_ENTRA_ID_JAG_CLIENTS": "1"}, "OAUTH_ENTRA_ID_JAG_CLIENTS needs"),
        (TWICE, "accepts assertions of the same issuer"),
        (
            {
                "OAUTH_B_CLIENT_ID": "corp-client",
                "OAUTH_B_CLIENT_SECRET": "s",
                "OAUTH_B_ISSUER": "https://b.example",
            },
            "OAUTH_<NAME>_CLIENT_ID",
        ),
    ],
)
def test_mistake_is_an_error_that_names_the_variable(change: dict[str, str], variable: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=variable):
        read_providers(CORP | change)


def test_variable_that_is_mistyped_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match="OAUTH_CORP_BACKCHANEL_LOGOUT"):
        read_providers({**CORP, "OAUTH_CORP_BACKCHANEL_LOGOUT": "0"})
    assert read_providers({**CORP, "OAUTH_OTHER": "of somebody else's", "OAUTH_CORPORATE_X": ""})


def test_assertions_need_an_upstream_that_is_open_to_them() -> None:
    providers = read_providers(CORP | {"OAUTH_CORP_ID_JAG_CLIENTS": "1"})
    assert providers[0].settings["id_jag_clients"] is True
    require_open_upstreams(providers, {"corp"})
    with pytest.raises(ImproperlyConfigured, match="OAUTH_CORP_ID_JAG_CLIENTS has no effect"):
        require_open_upstreams(providers, {"other"})
    require_open_upstreams(read_providers(CORP), ())
