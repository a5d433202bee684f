"""Which access tokens a call can present."""

from unittest.mock import AsyncMock

import pytest
from django.http import HttpRequest

from gateway_site.edge.access_log import LogEntry
from gateway_site.forwarding.calls import upstream_token
from gateway_site.forwarding.calls.upstream_token import _is_usable
from gateway_site.rules.problems import Problem
from oauth.exceptions import ProviderBusy, ProviderUnavailable
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


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ProviderUnavailable("The provider cannot be reached."), "provider_unavailable"),
        (ProviderBusy("This process has no file descriptor left."), "busy"),
    ],
)
async def test_failed_provider_of_a_token_is_no_error_of_the_gateway_itself_unless_it_could_not_ask(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    """Adversary: descriptors run out."""
    entry = LogEntry("a", status=503)
    monkeypatch.setattr(upstream_token, "current_entry", lambda: entry)
    monkeypatch.setattr(upstream_token, "aget_token", AsyncMock(side_effect=error))
    with pytest.raises(Problem) as raised:
        await upstream_token.fetch_access_token(HttpRequest(), "corp")
    assert (raised.value.status, raised.value.code) == (503, code)
    assert entry.is_upstream_error is (code != "busy")
