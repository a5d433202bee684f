"""The variables of a provider's token endpoint, and their errors."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from gateway_site.providers.configuration import read_providers, social_providers
from oauth import checks
from oauth.provider.config import REFRESH_LEEWAY, ProviderConfig, find_provider
from tests.support.keys import to_pem

CORP = {
    "OAUTH_CORP_CLIENT_ID": "c",
    "OAUTH_CORP_CLIENT_SECRET": "s",
    "OAUTH_CORP_ISSUER": "https://login.example.com",
}

COGNITO = {
    "ISSUER": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_EXAMPLE",
    "FORM_ACTION": "https://example.auth.eu-central-1.amazoncognito.com",
}


def configure(settings: Settings, **more: str) -> ProviderConfig:
    variables = CORP | {f"OAUTH_CORP_{name}": value for name, value in more.items()}
    settings.SOCIALACCOUNT_PROVIDERS = social_providers(read_providers(variables))
    found = find_provider("corp")
    assert found is not None
    return found


def test_defaults(settings: Settings) -> None:
    found = configure(settings)
    assert (found.client_id, found.client_secret) == ("c", "s")
    assert found.issuer == "https://login.example.com"
    assert found.scope == ("openid", "profile", "email")
    assert (found.auth_method, found.revocation_url) == (None, None)
    assert found.refresh_leeway == REFRESH_LEEWAY == 60
    assert find_provider("nobody") is None


def test_environment_variables_configure_a_provider(settings: Settings) -> None:
    found = configure(
        settings,
        TOKEN_AUTH="private_key_jwt",
        PRIVATE_KEY_FILE="/run/secrets/corp.pem",
        PRIVATE_KEY_ID="k1",
        REVOCATION_URL="https://login.example.com/revoke",
        REFRESH_LEEWAY="0",
    )
    assert found.auth_method == "private_key_jwt"
    assert found.private_key_file == "/run/secrets/corp.pem"
    assert found.private_key_id == "k1"
    assert found.revocation_url == "https://login.example.com/revoke"
    assert found.refresh_leeway == 0


@pytest.mark.parametrize(
    ("value", "allowed"), [("", False), ("0", False), ("no", False), ("1", True), ("Yes", True)]
)
def test_private_addresses_are_allowed_only_by_an_explicit_yes(
    settings: Settings, value: str, allowed: bool
) -> None:
    assert configure(settings, ALLOW_PRIVATE=value).allow_private is allowed


def test_github_is_found_by_its_kind(settings: Settings) -> None:
    variables = {"OAUTH_GITHUB_CLIENT_ID": "g", "OAUTH_GITHUB_CLIENT_SECRET": "s"}
    settings.SOCIALACCOUNT_PROVIDERS = social_providers(read_providers(variables))
    found = find_provider("github")
    assert found is not None
    assert found.issuer is None
    assert found.fixed_endpoint("access_token_url") == "https://github.com/login/oauth/access_token"


@pytest.mark.parametrize(
    ("more", "variable"),
    [
        ({"TOKEN_AUTH": "basic"}, "TOKEN_AUTH"),
        ({"TOKEN_AUTH": "private_key_jwt"}, "PRIVATE_KEY_FILE"),
        ({"PRIVATE_KEY_FILE": "/key.pem"}, "PRIVATE_KEY_FILE"),
        ({"TOKEN_AUTH": "client_secret_post", "CLIENT_SECRET": ""}, "CLIENT_SECRET"),
        ({"REVOCATION_URL": "http://login.example.com/revoke"}, "REVOCATION_URL"),
        ({"REVOCATION_URL": "revoke"}, "REVOCATION_URL"),
        ({"REFRESH_LEEWAY": "-1"}, "REFRESH_LEEWAY"),
        ({"REFRESH_LEEWAY": "1m"}, "REFRESH_LEEWAY"),
        ({"REFRESH_LEEWAY": "3601"}, "REFRESH_LEEWAY"),
        ({"REFRESH_LEEWAY": "٦٠"}, "REFRESH_LEEWAY"),
        ({"ALLOW_PRIVATE": "10.0.0.0/8"}, "ALLOW_PRIVATE"),
    ],
)
def test_mistake_is_an_error_that_names_the_variable(
    settings: Settings, more: dict[str, str], variable: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"OAUTH_CORP_{variable}"):
        configure(settings, **more)


# Checks, for projects that configure allauth themselves


def check_ids(settings: Settings, **app_settings: Any) -> list[str | None]:
    configure(settings)
    configuration = settings.SOCIALACCOUNT_PROVIDERS
    configuration["openid_connect"]["APPS"][0]["settings"] |= app_settings
    settings.SOCIALACCOUNT_PROVIDERS = dict(configuration)
    errors = list(checks.token_endpoints_can_be_used())
    assert all("corp" in error.msg and error.hint for error in errors)
    return [error.id for error in errors]


@pytest.mark.parametrize(
    ("app_settings", "error"),
    [
        ({"token_auth_method": "basic"}, "oauth.E007"),
        ({"token_auth_method": "private_key_jwt"}, "oauth.E008"),
        (
            {"token_auth_method": "private_key_jwt", "private_key_file": "/no/such/file"},
            "oauth.E008",
        ),
        ({"token_auth_method": "private_key_jwt", "private_key_file": __file__}, "oauth.E008"),
        ({"revocation_url": "http://login.example.com/revoke"}, "oauth.E009"),
        ({"refresh_leeway": -1}, "oauth.E010"),
        ({"refresh_leeway": "60"}, "oauth.E010"),
        ({"refresh_leeway": 3601}, "oauth.E010"),
        ({"refresh_leeway": True}, "oauth.E010"),
    ],
)
def test_fault_is_found(settings: Settings, app_settings: dict[str, Any], error: str) -> None:
    assert check_ids(settings, **app_settings) == [error]


def test_good_settings_have_no_fault(settings: Settings, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(to_pem(ed25519.Ed25519PrivateKey.generate()))
    good = {
        "token_auth_method": "private_key_jwt",
        "private_key_file": str(key),
        "revocation_url": "http://127.0.0.1:9400/revoke",
        "refresh_leeway": 30,
    }
    assert check_ids(settings, **good) == []


@pytest.mark.parametrize(
    ("variables", "when"),
    [
        ({}, "last"),
        ({"REVOCATION": "always"}, "always"),
        ({"REVOCATION": "never"}, "never"),
        (COGNITO, "always"),
        ({**COGNITO, "REVOCATION": "last"}, "last"),
        ({"ISSUER": "https://cognito-idp.eu-central-1.amazonaws.com.example/pool"}, "last"),
    ],
)
def test_cognito_always_revokes_and_others_with_the_last_session(
    settings: Settings, variables: dict[str, str], when: str
) -> None:
    assert configure(settings, **variables).when_revoked == when


def test_other_words_for_when_to_revoke_are_an_error(settings: Settings) -> None:
    with pytest.raises(ImproperlyConfigured, match="OAUTH_CORP_REVOCATION must be one of these"):
        configure(settings, REVOCATION="first")
    settings.SOCIALACCOUNT_PROVIDERS = {
        "openid_connect": {"APPS": [{"provider_id": "corp", "settings": {"revocation": "first"}}]}
    }
    with pytest.raises(ImproperlyConfigured, match="revocation"):
        find_provider("corp")
