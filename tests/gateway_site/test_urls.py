"""The names of the gateway's addresses, which templates of an operator may use, stay."""

from django.urls import reverse

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
