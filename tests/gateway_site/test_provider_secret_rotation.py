"""A provider's client secret replaced one process at a time: real gateways, tested over HTTP.

As docs/operations.md has it: a second secret at the provider, then at every process, then the first
one is deleted. Too early, if a process still has it.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.gateway_site.support.keyed import Browser, KeyedFleet, Program
from tests.oauth.support.fake_provider import CLIENT_SECRET, FakeProvider, serving
from tests.sessions_kms.support.stacks import aws_stack
from tests.support.clock import FakeClock
from tests.support.local_kms import LocalKMS
from tests.support.waiting import until

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

KEY, NEW_SECRET = "key-" * 20, "another-secret-canary"


@dataclass
class TwoSecrets(FakeProvider):
    """Takes each secret that it has not deleted."""

    expires_in: int = 1  # seconds
    taken: set[str] = field(default_factory=lambda: {CLIENT_SECRET, NEW_SECRET})

    def _authenticated(self, form: dict[str, str], authorization: str) -> bool:
        return form.get("client_id") == self.client_id and form.get("client_secret") in self.taken


def test_process_with_a_deleted_secret_fails_calls_and_keeps_everyone_signed_in(
    local_kms: LocalKMS, roto_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", local_kms.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", roto_url)
    stack = aws_stack("servers", FakeClock(time.time()))
    with serving(TwoSecrets) as provider, KeyedFleet(tmp_path, stack, provider) as fleet:
        old, new = fleet.start(KEY), fleet.start(KEY, OAUTH_CORP_CLIENT_SECRET=NEW_SECRET)
        browser = Browser(provider)
        browser.sign_in(old)
        program = Program.allowed(browser, old)
        for at in (old, new, old):
            assert (program.call(at), program.refresh(at)) == (200, 200)

        assert isinstance(provider, TwoSecrets)
        provider.taken.remove(CLIENT_SECRET)
        for _ in range(2):
            assert until(lambda: program.call(old) == 503)  # once the token has ended
            assert program.refresh(old) == 200  # the gateway's own tokens need no provider
            assert browser.is_signed_in(old)
            assert (program.call(new), program.refresh(new)) == (200, 200)

        newcomer = Browser(provider)
        callback = newcomer.press(newcomer.get(f"{old}/accounts/login/"), "corp", old)
        failed = newcomer.http.get(provider.consent(callback.headers["Location"]), timeout=30)
        assert "token_invalid_client" in failed.text
        newcomer.sign_in(old, back_at=new)
        assert newcomer.is_signed_in(new)
