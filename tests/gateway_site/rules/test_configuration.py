"""Upstreams in the project's settings, checks and local run."""

from ipaddress import ip_network
from pathlib import Path

import pytest
from pytest_django import Settings

from gateway_site.checks import (
    check_client_address,
    check_identity_headers,
    check_upstream_providers,
)
from gateway_site.local import environment
from gateway_site.local.environment import Secrets
from gateway_site.local.options import Ports
from gateway_site.rules.request_headers import PASSING
from gateway_site.rules.upstream import read_upstreams
from tests import ROOT
from tests.gateway_site.support.loading import production

PORTS = Ports(gateway=1, provider=2, kms=3, dynamodb=4, mcp=5)
SECRETS = Secrets("the-secret-key", "the-client-secret")
DECLARED = {
    "UPSTREAM_API_URL": "https://api.example.com",
    "UPSTREAM_API_PROVIDER": "corp",
}


def local(inherited: dict[str, str]) -> dict[str, str]:
    return environment.select_gateway_variables(inherited) | environment.build_gateway(
        inherited, PORTS, Path("/state"), SECRETS
    )


def test_settings_hold_the_environments_upstreams() -> None:
    assert production()["UPSTREAMS"] == {}
    assert production(**DECLARED)["UPSTREAMS"]["api"].origin == "https://api.example.com"


def test_upstream_of_a_configured_provider_passes_the_check(settings: Settings) -> None:
    loaded = production(**DECLARED)
    settings.UPSTREAMS, settings.OAUTH_PROVIDERS = loaded["UPSTREAMS"], loaded["OAUTH_PROVIDERS"]
    assert list(check_upstream_providers()) == []


def test_upstream_of_another_provider_fails_the_check(settings: Settings) -> None:
    loaded = production(**DECLARED | {"UPSTREAM_API_PROVIDER": "crop"})
    settings.UPSTREAMS, settings.OAUTH_PROVIDERS = loaded["UPSTREAMS"], loaded["OAUTH_PROVIDERS"]
    (error,) = check_upstream_providers()
    assert error.id == "gateway_site.E005"
    assert error.msg == (
        "UPSTREAM_API_PROVIDER is 'crop', which is no configured provider (corp, github, google)."
    )
    loaded = production(**DECLARED | {"UPSTREAM_API_PROVIDER": "\x1b[31m"})
    settings.UPSTREAMS = loaded["UPSTREAMS"]
    assert "\x1b" not in next(iter(check_upstream_providers())).msg


def test_local_run_offers_the_local_provider_as_an_upstream() -> None:
    upstream = read_upstreams(local({}))["provider"]
    assert (upstream.origin, upstream.provider) == ("http://127.0.0.1:2", "local")
    assert upstream.methods == {"GET", "HEAD"}
    assert upstream.paths == ("/identity/o/api/userinfo",)


def test_local_run_passes_on_the_callers_upstreams() -> None:
    assert sorted(read_upstreams(local(DECLARED))) == ["api", "demo", "notes", "provider"]
    other = {"OAUTH_GOOGLE_CLIENT_ID": "id", "OAUTH_GOOGLE_CLIENT_SECRET": "secret"}
    assert sorted(read_upstreams(local(DECLARED | other))) == ["api"]


DOUBTFUL = (
    "x-user-id", "remote-user", "x-auth-request-email", "x-ms-client-principal", "cf-ray",
    "x-amzn-oidc-data", "private-token", "x-api-key", "grpc-metadata-tenant", "x-*",
)  # fmt: skip


@pytest.mark.parametrize("entry", DOUBTFUL)
def test_check_warns_of_a_request_header_that_identifies_the_caller(
    settings: Settings, entry: str
) -> None:
    added = f"{entry}, Notion-Version, User-Agent, x-amz-*"
    settings.UPSTREAMS = read_upstreams(DECLARED | {"UPSTREAM_API_REQUEST_HEADERS": added})
    (warning,) = check_identity_headers()
    assert warning.id == "gateway_site.W006"
    assert f"UPSTREAM_API_REQUEST_HEADERS has {entry}:" in warning.msg


def test_check_warns_of_client_addresses_without_trusted_proxies(settings: Settings) -> None:
    settings.UPSTREAMS = read_upstreams(DECLARED | {"UPSTREAM_API_CLIENT_ADDRESS": "1"})
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.TRUSTED_PROXIES = []
    (warning,) = check_client_address()
    assert warning.id == "gateway_site.W009"
    settings.TRUSTED_PROXIES = [ip_network("10.0.0.0/8")]
    assert list(check_client_address()) == []


def test_every_header_that_passes_is_in_the_documentation() -> None:
    page = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8").lower()
    for _, entries in PASSING:
        for entry in entries.split():
            assert f"`{entry}`" in page
