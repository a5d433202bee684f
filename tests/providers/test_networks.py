"""Plain http inside a private network, and a private certificate authority."""

import logging
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from oauth.provider import metadata
from tests.oauth.support import fake_provider
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.hostile import Internet, certificates
from tests.providers.conftest import Serve
from tests.providers.signing_in import sign_in
from tests.providers.stubs import GitLab
from tests.sessions_kms.support.stacks import Stack

HOST, PRIVATE, GLOBAL = "sso.internal", "10.1.2.3", "93.184.215.14"


@pytest.fixture
def sso(store: Stack, settings: Settings, internet: Internet) -> Iterator[FakeProvider]:
    """Serve a provider without TLS at a name of a private network, and allow that."""
    with fake_provider.serving(FakeProvider) as provider:
        port = int(provider.issuer.rpartition(":")[2])
        for address in (PRIVATE, GLOBAL):
            internet.servers[address, 80] = port
        internet.name(HOST, PRIVATE)
        provider.issuer, provider.clock = f"http://{HOST}", store.clock
        configure(settings, environment("corp", provider, ALLOW_HTTP="1"))
        yield provider


def test_provider_without_tls_signs_in_where_it_is_allowed(
    sso: FakeProvider, visitor: Visitor
) -> None:
    assert visitor.sign_in(sso).status_code == 302
    assert visitor.load_tokens() is not None


def test_without_tls_nothing_leaves_for_the_internet(
    sso: FakeProvider, visitor: Visitor, internet: Internet, caplog: pytest.LogCaptureFixture
) -> None:
    """A name that leads elsewhere one day must not take the client secret there."""
    back = visitor.callback_address(sso)
    internet.name(HOST, GLOBAL)
    internet.reached.clear()

    assert visitor.client.get(back).status_code == 503
    metadata.clear_metadata_cache()
    assert visitor.start().status_code == 503

    assert internet.reached == []
    assert "has no TLS" in caplog.text


def test_metadata_may_name_endpoints_without_tls_only_where_it_is_allowed(
    serve: Serve, visitor: Visitor, settings: Settings
) -> None:
    gitlab = serve(GitLab)
    gitlab.more_of_metadata = {"token_endpoint": "http://gitlab.internal/token"}
    assert visitor.start("gitlab").status_code == 503
    metadata.clear_metadata_cache()
    configure(settings, gitlab.environment | {"OAUTH_GITLAB_ALLOW_HTTP": "1"})
    assert visitor.start("gitlab").status_code == 302


def test_certificate_of_an_unknown_authority_is_refused(serve: Serve, visitor: Visitor) -> None:
    serve(GitLab, CA_FILE="")
    assert visitor.start("gitlab").status_code == 503


def test_certificate_of_another_authority_than_the_named_one_is_refused(
    serve: Serve, visitor: Visitor, settings: Settings
) -> None:
    gitlab = serve(GitLab)
    other = gitlab.trusted.parent / "other"
    other.mkdir()
    trusted, _ = certificates(other, GitLab.host)
    configure(settings, gitlab.environment | {"OAUTH_GITLAB_CA_FILE": str(trusted)})
    assert visitor.start("gitlab").status_code == 503


def test_userinfo_request_uses_the_configured_authority(
    serve: Serve, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    sign_in(visitor, serve(GitLab))
    assert "Using the id token's claims only." not in caplog.text
