"""The names of the gateway's addresses, which templates of an operator may use, stay."""

import runpy

import pytest
from django.urls import URLResolver, reverse
from pytest_django import Settings

from oauth.mcp import urls as documents
from tests import ROOT

ADDRESSES = {
    "account_login": "/accounts/login/",
    "account_logout": "/accounts/logout/",
    "end_other_sessions": "/sessions/end-others/",
    "gateway": "/gateway/",
    "home": "/",
    "oauth_signed_out": "/accounts/logout/done/",
    "onward": "/continue/",
    "sessions": "/sessions/",
    "site_logo": "/site-logo",
}


def test_names_of_addresses_stay() -> None:
    assert {name: reverse(name) for name in ADDRESSES} == ADDRESSES


@pytest.mark.parametrize("is_on", [True, False])
def test_documents_for_authorization_servers_exist_only_where_they_are_switched_on(
    settings: Settings, is_on: bool
) -> None:
    settings.OAUTH_MCP_CLIENT = settings.OAUTH_MCP_CLIENT | {"documents": is_on}
    patterns = runpy.run_path(str(ROOT / "gateway_site" / "urls.py"))["urlpatterns"]
    included = [each.urlconf_name for each in patterns if isinstance(each, URLResolver)]
    assert (documents in included) is is_on
