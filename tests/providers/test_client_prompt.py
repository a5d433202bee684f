"""The `prompt` for a person who has just allowed an OAuth client.

Where the provider shows a page, one click that another site tricked out of a person is not enough.
"""

from dataclasses import dataclass
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from gateway_site.providers.configuration import read_providers
from oauth.clients.server import AuthorizationServer
from oauth.provider import metadata
from tests.oauth.clients.support.app import SERVER, App, register_app
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, configure, environment, github
from tests.oauth.support.shown import shown_fields
from tests.providers.conftest import Serve
from tests.providers.signing_in import sign_in
from tests.providers.stubs import Entra, GitHubEnterprise, Google, Okta, Stub
from tests.providers.stubs.stub import query_of

__all__ = ["github"]

ASKS, MAY_ASK = "asks you to confirm it", "may ask you to sign in once more"
LISTED = {"prompt_values_supported": ["none", "login", "consent"]}
Variables = dict[str, str]


@dataclass(frozen=True)
class Case:
    """A provider, its configuration and metadata, and the `prompt` that it is asked for."""

    kind: type[Stub]
    variables: Variables
    listed: dict[str, Any]
    expected: str | None


def registered_app(settings: Settings, provider: str) -> App:
    """Return an app that may ask for an upstream of this provider."""
    settings.AUTHORIZATION_SERVER = AuthorizationServer(
        **SERVER | {"upstreams": {"tools": provider}}
    )
    return register_app()


def allow(visitor: Visitor, app: App) -> Any:
    form = {"decision": "allow"} | shown_fields(visitor.user_id)
    return visitor.client.post(app.address(), form)


def check_prompt(visitor: Visitor, app: App, expected: str | None) -> dict[str, Any]:
    """Allow the app; return what the provider is asked."""
    page = visitor.client.get(app.address()).content.decode()
    asks = expected not in {None, "none"}
    assert (ASKS in page, MAY_ASK in page) == (asks, not asks)
    asked = query_of(allow(visitor, app)["Location"])
    assert asked.get("prompt") == expected
    return asked


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        Case(Okta, {}, {}, None),
        Case(Okta, {}, LISTED, "consent"),
        Case(Okta, {}, {"prompt_values_supported": ["none", "login"]}, None),
        Case(Okta, {}, {"prompt_values_supported": "consent"}, None),
        Case(Okta, {"AUTH_PARAMS": "audience=api"}, LISTED, "consent"),
        Case(Okta, {"AUTH_PARAMS": "prompt=login"}, LISTED, "login"),
        Case(Okta, {"AUTH_PARAMS": "prompt=none"}, LISTED, "none"),
        Case(Okta, {"CLIENT_PROMPT": "login consent"}, {}, "login consent"),
        Case(Okta, {"CLIENT_PROMPT": "select_account"}, LISTED, "select_account"),
        Case(Okta, {"CLIENT_PROMPT": "consent", "AUTH_PARAMS": "prompt=login"}, {}, "consent"),
        Case(Okta, {"CLIENT_PROMPT": "unchanged"}, LISTED, None),
        Case(Okta, {"CLIENT_PROMPT": "unchanged", "AUTH_PARAMS": "prompt=login"}, LISTED, "login"),
        Case(Google, {}, {}, "consent"),
        Case(Google, {"AUTH_PARAMS": "access_type=offline"}, {}, None),
        Case(Google, {"CLIENT_PROMPT": "consent select_account"}, {}, "consent select_account"),
        Case(Entra, {}, {}, "select_account"),
        Case(Entra, {}, LISTED, "select_account"),
        Case(Entra, {"AUTH_PARAMS": "prompt=login"}, {}, "login"),
        Case(Entra, {"CLIENT_PROMPT": "consent"}, {}, "consent"),
        Case(Entra, {"CLIENT_PROMPT": "unchanged"}, {}, None),
        Case(GitHubEnterprise, {}, {}, None),
    ],
)
def test_own_page_of_the_provider_is_requested_if_it_has_one(
    serve: Serve, visitor: Visitor, settings: Settings, case: Case
) -> None:
    provider = serve(case.kind, **case.variables)
    provider.more_of_metadata = case.listed
    usual = query_of(visitor.start(provider.name)["Location"])
    sign_in(visitor, provider)
    asked = check_prompt(visitor, registered_app(settings, provider.name), case.expected)
    # All else is asked for as at a sign-in, whose own prompt no consent changes.
    own = {"prompt", "state", "nonce", "code_challenge"}
    assert {k: v for k, v in asked.items() if k not in own} == {
        k: v for k, v in usual.items() if k not in own
    }
    again = query_of(visitor.start(provider.name)["Location"])
    assert again.get("prompt") == usual.get("prompt")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, None), ({"CLIENT_PROMPT": "select_account"}, "select_account")],
)
def test_github_gets_no_prompt_unless_configured(
    github: FakeProvider,
    visitor: Visitor,
    settings: Settings,
    variables: Variables,
    expected: str | None,
) -> None:
    configure(settings, environment("github", github, ISSUER="", ALLOW_PRIVATE="1", **variables))
    visitor.sign_in(github, "github")
    check_prompt(visitor, registered_app(settings, "github"), expected)


def test_unreachable_metadata_is_a_failure_page(
    serve: Serve, visitor: Visitor, settings: Settings
) -> None:
    provider = serve(Okta)
    provider.more_of_metadata = LISTED
    sign_in(visitor, provider)
    app = registered_app(settings, provider.name)
    metadata.clear_metadata_cache()
    path = "/.well-known/openid-configuration"
    provider.failing[path] = lambda: (503, "text/plain", b"")
    page = visitor.client.get(app.address())
    assert page.status_code == 200
    assert MAY_ASK in page.content.decode()
    assert "Location" not in allow(visitor, app)
    del provider.failing[path]
    metadata.clear_metadata_cache()
    check_prompt(visitor, app, "consent")


@pytest.mark.parametrize("value", ["none", "consent none", "unchanged consent", "consent,login"])
def test_prompt_that_no_provider_could_answer_with_a_page_is_refused(value: str) -> None:
    variables = {
        "OAUTH_CORP_CLIENT_ID": "x",
        "OAUTH_CORP_CLIENT_SECRET": "x",
        "OAUTH_CORP_ISSUER": "https://login.example.com",
        "OAUTH_CORP_CLIENT_PROMPT": value,
    }
    with pytest.raises(ImproperlyConfigured, match="OAUTH_CORP_CLIENT_PROMPT must be unchanged"):
        read_providers(variables)
