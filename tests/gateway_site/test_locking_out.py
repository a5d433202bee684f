"""`end_sessions --account … --deactivate` beside a user who calls and signs in: real processes."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import pytest
import requests

from tests.gateway_site.support.keyed import Browser, KeyedFleet, Program, keyed_fleet
from tests.oauth.support.fake_provider import FakeProvider
from tests.support.local_kms import LocalKMS
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

KEY = "key-" * 20


@dataclass
class Site:
    """A gateway of two processes, and its commands."""

    fleet: KeyedFleet
    urls: list[str]
    provider: FakeProvider


@pytest.fixture
def site(local_kms: LocalKMS, roto_url: str, tmp_path: Path) -> Iterator[Site]:
    with keyed_fleet(local_kms, roto_url, tmp_path) as fleet:
        yield Site(fleet, [fleet.start(KEY), fleet.start(KEY)], fleet.provider)


def test_user_who_calls_and_signs_in_all_the_time_is_locked_out(site: Site) -> None:
    first, second = site.urls
    browser = Browser(site.provider)
    browser.sign_in(first)
    program = Program.allowed(browser, first)
    browsers, is_over, calls, sign_ins = [browser], Event(), [0], [0]

    def call() -> None:
        while not is_over.is_set():
            calls[0] += program.call(second) == 200

    def sign_in() -> None:
        while not is_over.is_set():
            other = Browser(site.provider)
            try:
                other.sign_in(first, back_at=second)
            except (AssertionError, requests.RequestException):
                continue  # rejected: the user is deactivated by now
            browsers.append(other)
            sign_ins[0] += other.is_signed_in(first)

    subject = str(site.provider.person["sub"])
    with ThreadPoolExecutor(2) as busy:
        running = [busy.submit(call), busy.submit(sign_in)]
        try:
            wait_until(lambda: calls[0] > 3 and sign_ins[0] > 1, "calls and sign-ins")
            done = site.fleet.manage(
                "end_sessions", "--account", "corp", subject, "--deactivate", "--json", "--no-input"
            )
        finally:
            is_over.set()
        for each in running:
            each.result(60)

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["account"] == {"provider": "corp", "subject": subject}
    assert result["deactivated"] is True
    assert result["ended"] >= 2
    for url in site.urls:
        assert [each for each in browsers if each.is_signed_in(url)] == []
        assert program.call(url) == 401
    assert program.refresh(first) == 400
    again = Browser(site.provider)
    again.sign_in(first)
    assert not again.is_signed_in(first)
