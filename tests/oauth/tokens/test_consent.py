"""Consent is requested again only if more scope is configured."""

from typing import Any

import oauth
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.requests import request_of


def test_consent_is_needed_when_the_configured_scope_grows(
    corp: FakeProvider, signed_in: Visitor, settings: Any
) -> None:
    assert not oauth.needs_consent(request_of(signed_in), "corp")
    configure(settings, environment("corp", corp, SCOPES="openid,email,calendar"))
    assert oauth.needs_consent(request_of(signed_in), "corp")
    configure(settings, environment("corp", corp, SCOPES="openid"))
    assert not oauth.needs_consent(request_of(signed_in), "corp")
    assert not oauth.needs_consent(request_of(signed_in), "nobody")


def test_scope_that_was_requested_but_not_granted_needs_no_consent(
    corp: FakeProvider, visitor: Visitor
) -> None:
    corp.scope = "openid"
    visitor.sign_in(corp)
    assert not oauth.needs_consent(request_of(visitor), "corp")
