"""A gateway whose provider knows sign-out in all its forms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from tests.oauth import fake_provider
from tests.oauth.fixtures import configure, environment
from tests.oauth.logout_provider import LogoutProvider
from tests.sessions_kms.stacks import Stack

PATH = "/oauth/backchannel-logout/corp"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def idp(store: Stack, settings: Settings) -> Iterator[LogoutProvider]:
    """Serve a provider that logs out, configured as `corp`."""
    with fake_provider.serving(LogoutProvider) as provider:
        configure(settings, environment("corp", provider))
        yield provider


@pytest.fixture
def second(idp: LogoutProvider, settings: Settings) -> Iterator[LogoutProvider]:
    """Serve another one, configured as `other`."""
    with fake_provider.serving(LogoutProvider) as provider:
        idp.client_id, provider.session_id = "the-corp-client", "the-session-at-the-other"
        corp = environment("corp", idp, CLIENT_ID=idp.client_id)
        configure(settings, corp | environment("other", provider))
        yield provider


def post(token: str, path: str = PATH, **headers: Any) -> Any:
    """Be the provider's server: no cookie, no CSRF token, but with Django's CSRF checks on."""
    client = Client(enforce_csrf_checks=True)
    return client.post(path, f"logout_token={token}", content_type=FORM, **headers)
