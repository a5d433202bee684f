"""Tokens for one resource (RFC 8707), from a strict provider to a strict upstream."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from allauth.socialaccount.adapter import get_adapter
from django.test import RequestFactory
from pytest_django import Settings

from gateway_site.rules.upstream import find_resources, read_upstreams
from oauth.sign_in import prompts
from tests.oauth.support import fake_provider
from tests.oauth.support.fake_provider import FakeProvider, Response
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.requests import stored_tokens
from tests.sessions_kms.support.stacks import Stack

# The gateway admits the call in a thread of its own, which sees what is committed.
pytestmark = pytest.mark.django_db(transaction=True)

RESOURCE = "https://mcp.example.com/mcp"
INVALID_TARGET = 400, "application/json", b'{"error": "invalid_target"}'
ACCEPTED, REJECTED = "200 OK", "401 Unauthorized"


@dataclass
class ResourceProvider(FakeProvider):
    """Issues tokens only for the resource of the grant, and serves a strict MCP server at `/mcp`.

    ``resources`` are what each token request asked for, by its grant type.
    """

    supports_par: bool = True
    grants: dict[str, str | None] = field(default_factory=dict)
    audiences: dict[str, str | None] = field(default_factory=dict)
    resources: list[tuple[str, str | None]] = field(default_factory=list)

    def token(self, form: dict[str, str], authorization: str, *, github: bool = False) -> Response:
        code, resource = self.codes.get(form.get("code", "")), form.get("resource")
        self.resources.append((form["grant_type"], resource))
        granted = code.get("resource") if code else self.grants.get(form.get("refresh_token", ""))
        if resource != granted:
            return INVALID_TARGET
        status, kind, body = super().token(form, authorization, github=github)
        response = json.loads(body)
        self.audiences[response.get("access_token", "")] = resource
        self.grants[response.get("refresh_token", "")] = resource
        return status, kind, body

    def respond_at(self, path: str, parameters: dict[str, str], authorization: str) -> Response:
        if path != "/mcp":
            return super().respond_at(path, parameters, authorization)
        is_for_us = self.audiences.get(authorization.removeprefix("Bearer ")) == RESOURCE
        return (200 if is_for_us else 401), "text/plain", b""


@pytest.fixture
def provider(store: Stack, settings: Settings) -> Iterator[ResourceProvider]:
    with fake_provider.serving(ResourceProvider) as found:
        found.clock = store.clock
        yield found


def declare(settings: Settings, provider: FakeProvider, name: str = "corp", **more: str) -> None:
    """Declare the upstream `tools` of a provider; the RESOURCE in ``more`` is the upstream's."""
    variables = {
        "UPSTREAM_TOOLS_URL": provider.issuer,
        "UPSTREAM_TOOLS_PATHS": "/mcp",
        "UPSTREAM_TOOLS_PROVIDER": name,
        "UPSTREAM_TOOLS_RESOURCE": more.pop("RESOURCE", ""),
        **environment(name, provider, **more),
    }
    settings.UPSTREAMS = read_upstreams(variables)
    configure(settings, variables, find_resources(settings.UPSTREAMS.values()))


def call(visitor: Visitor) -> str:
    """Call the upstream through the gateway; return the whole page with its response."""
    response: Any = visitor.client.get("/try/tools/", headers={"Host": "testserver"})
    assert response.status_code == 200
    return " ".join(re.sub("<[^>]*>", " ", response.content.decode()).split())


@pytest.mark.parametrize("pushed", [False, True])
def test_strict_upstream_accepts_tokens_of_sign_ins_and_refreshes(
    provider: ResourceProvider, visitor: Visitor, settings: Settings, store: Stack, *, pushed: bool
) -> None:
    provider.requires_par = pushed
    declare(settings, provider, RESOURCE=RESOURCE)
    visitor.sign_in(provider)
    assert ACCEPTED in call(visitor)
    store.clock.advance(3600)
    assert ACCEPTED in call(visitor)
    assert [each.get("resource") for each in provider.authorizations] == [RESOURCE]
    assert [each["resource"] for each in provider.pushes] == [RESOURCE] * pushed
    assert provider.resources == [("authorization_code", RESOURCE), ("refresh_token", RESOURCE)]


def test_nothing_is_sent_unless_it_is_set_and_the_strict_upstream_rejects(
    provider: ResourceProvider, visitor: Visitor, settings: Settings, store: Stack
) -> None:
    declare(settings, provider)
    visitor.sign_in(provider)
    assert REJECTED in call(visitor)
    store.clock.advance(3600)
    assert REJECTED in call(visitor)
    assert [each.get("resource") for each in provider.authorizations] == [None]
    assert provider.resources == [("authorization_code", None), ("refresh_token", None)]
    held = stored_tokens(visitor)
    assert "resource" not in held.to_session()


def test_every_kind_of_sign_in_requests_the_resource(
    provider: ResourceProvider, visitor: Visitor, settings: Settings
) -> None:
    declare(settings, provider, RESOURCE=RESOURCE, AUTH_PARAMS="audience=other")
    visitor.sign_in(provider, account="another")
    visitor.connect(provider, "corp")
    assert [each["resource"] for each in provider.authorizations] == [RESOURCE] * 2
    assert {each["audience"] for each in provider.authorizations} == {"other"}
    # After a consent to a client.
    request = RequestFactory().get("/")
    parameters = prompts.client_parameters(get_adapter().get_provider(request, "corp"))
    assert parameters["resource"] == RESOURCE


def test_provider_without_metadata_gets_it_too(
    github: FakeProvider, visitor: Visitor, settings: Settings
) -> None:
    more = {"ISSUER": "", "ALLOW_PRIVATE": "1", "ALLOWED_DOMAINS": ""}
    declare(settings, github, "github", RESOURCE=RESOURCE, **more)
    bodies: list[str] = []
    github.hooks["/login/oauth/access_token"] = lambda: bodies.append(github.request.body)
    visitor.sign_in(github, "github")
    assert github.authorizations[-1]["resource"] == RESOURCE
    assert ["resource=https%3A%2F%2Fmcp.example.com%2Fmcp" in body for body in bodies] == [True]


@pytest.mark.parametrize("age", [60, 3600])  # seconds; then the upstream rejects it, or it ended
def test_grant_from_before_the_resource_needs_a_new_sign_in_and_is_not_spent(
    provider: ResourceProvider, visitor: Visitor, settings: Settings, store: Stack, age: int
) -> None:
    declare(settings, provider)
    visitor.sign_in(provider)
    declare(settings, provider, RESOURCE=RESOURCE)
    store.clock.advance(age)
    assert "requires a new sign-in" in call(visitor)
    assert provider.refreshes == []
    assert visitor.user_id is not None

    visitor.connect(provider, "corp")

    assert ACCEPTED in call(visitor)
    held = stored_tokens(visitor)
    assert held.resource == RESOURCE


def test_resource_that_the_provider_rejects_has_a_code_and_ends_no_session(
    provider: ResourceProvider,
    visitor: Visitor,
    settings: Settings,
    store: Stack,
    caplog: pytest.LogCaptureFixture,
) -> None:
    declare(settings, provider, RESOURCE=RESOURCE)
    back = provider.consent(visitor.start()["Location"], error="invalid_target")
    assert "authorization_invalid_target" in visitor.client.get(back).content.decode()
    visitor.sign_in(provider)
    store.clock.advance(3600)
    provider.failing["/token"] = lambda: INVALID_TARGET
    assert "cannot be reached at the moment" in call(visitor)
    assert "corp refreshes no tokens for the resource (invalid_target)" in caplog.text
    assert visitor.load_tokens() is not None
    assert "token_invalid_target" in visitor.sign_in(provider).content.decode()
