"""A gateway with a hostile provider on the Internet."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pytest_django import Settings

from oauth.network import http
from tests.oauth.support.fixtures import Visitor, configure
from tests.oauth.support.hostile import (
    ADDRESS,
    CLIENT_ID,
    HOST,
    HostileProvider,
    Internet,
    certificates,
    serving,
)
from tests.sessions_kms.support.stacks import Stack

ENVIRONMENT = {
    "OAUTH_CORP_CLIENT_ID": CLIENT_ID,
    "OAUTH_CORP_CLIENT_SECRET": "the-secret",
    "OAUTH_CORP_ISSUER": f"https://{HOST}",
}


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> Internet:
    found = Internet()
    found.take_over(monkeypatch)
    return found


@pytest.fixture
def hostile(
    store: Stack,
    settings: Settings,
    internet: Internet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[HostileProvider]:
    """Serve a hostile provider, configured as `corp`."""
    provider = HostileProvider()
    provider.now = store.clock
    trusted, context = certificates(tmp_path, HOST, "elsewhere.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    http._cached_tls_context.cache_clear()
    internet.name(HOST, ADDRESS)
    with serving(provider, context) as port:
        internet.servers[ADDRESS, 443] = port
        configure(settings, ENVIRONMENT)
        yield provider
    http._cached_tls_context.cache_clear()


def come_back(visitor: Visitor, hostile: HostileProvider) -> Any:
    """Start a sign-in, and return with a code that the provider accepts."""
    started = visitor.start()
    assert started.status_code == 302, started.content
    query = parse_qs(urlsplit(started["Location"]).query)
    hostile.nonce = query["nonce"][0]
    return visitor.client.get(
        f"/accounts/oidc/corp/login/callback/?code=x&state={query['state'][0]}"
    )
