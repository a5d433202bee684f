"""Which access tokens a call can present."""

from __future__ import annotations

from gateway_site.forwarding.calls.upstream_token import _is_usable
from oauth.provider.token_set import TokenSet
from tests.support.cases import each_case


@each_case(
    ("access_token", "token_type", "usable"),
    [
        ("eyJ.a-b_c~+/==", "Bearer", True),
        ("ada:grant:secret", "bearer", True),  # of Cloudflare's workers-oauth-provider
        ("!#$%&'()*,;<=>?@[]^`{|}", "Bearer", True),
        ("", "Bearer", False),
        ("two words", "Bearer", False),
        ("a\r\nX-Header: b", "Bearer", False),
        ("\x7f", "Bearer", False),
        ("é", "Bearer", False),
        ("token", "mac", False),
        ("token", "DPoP", False),  # without a key
    ],
)
def test_token_is_sent_if_it_fits_into_a_header(
    access_token: str, token_type: str, usable: bool
) -> None:
    token = TokenSet(
        access_token=access_token, token_type=token_type, scope=(), subject="1", client_id="g"
    )
    assert _is_usable(token) is usable
