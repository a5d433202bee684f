"""DJANGO_SECRET_KEY rotated one process at a time: real gateways, tested over HTTP.

The states are those of docs/operations.md: a process that knows the old key alone, one to whose
fallbacks the new one was added, and one that has swapped the two.
"""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.gateway_site.support.keyed import Browser, Program, keyed_fleet
from tests.oauth.support.fake_provider import FakeProvider
from tests.sessions_kms.support.stacks import Stack
from tests.support.local_kms import LocalKMS

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

OLD, NEW = "old-" * 20, "new-" * 20
BROWSERS, PROGRAMS = 6, 4


@dataclass
class Rotation:
    """Processes by their states, who signed in before one of them had swapped, and the database."""

    only_old: str
    added: str
    swapped: str
    browsers: list[Browser]
    programs: list[Program]
    provider: FakeProvider
    stack: Stack
    database: Path

    def change_passwords(self) -> None:
        with closing(sqlite3.connect(self.database)) as database, database:
            database.execute("UPDATE auth_user SET password = '!another'")


@pytest.fixture
def rotation(local_kms: LocalKMS, roto_url: str, tmp_path: Path) -> Iterator[Rotation]:
    with keyed_fleet(local_kms, roto_url, tmp_path) as fleet:
        provider = fleet.provider
        only_old, added = fleet.start(OLD), fleet.start(OLD, NEW)
        browsers = [Browser(provider) for _ in range(BROWSERS)]
        for browser in browsers:
            browser.sign_in(only_old)
        programs = [Program.allowed(browsers[0], only_old) for _ in range(PROGRAMS)]
        swapped = fleet.start(NEW, OLD)
        database = tmp_path / "gateway.sqlite3"
        yield Rotation(
            only_old, added, swapped, browsers, programs, provider, fleet.stack, database
        )


def count_signed_in(browsers: list[Browser], at: str) -> int:
    return sum(browser.is_signed_in(at) for browser in browsers)


def calls(programs: list[Program], at: str) -> set[int]:
    return {program.call(at) for program in programs}


def refreshes(programs: list[Program], at: str) -> set[int]:
    return {program.refresh(at) for program in programs}


def test_one_step_ends_nothing(rotation: Rotation) -> None:
    """An operator swapped at once: browsers and programs meet processes of both states."""
    browsers, programs = rotation.browsers, rotation.programs
    for _ in range(2):
        assert count_signed_in(browsers, rotation.swapped) == BROWSERS
        assert calls(programs, rotation.swapped) == {200}
        before = rotation.stack.items()
        assert count_signed_in(browsers, rotation.only_old) == 0
        assert calls(programs, rotation.only_old) == {503}
        assert refreshes(programs, rotation.only_old) == {503}
        assert rotation.stack.items() == before
        assert refreshes(programs, rotation.swapped) == {200}

    # Somebody signs out on a page that the one made, where the other takes the form.
    page = browsers[0].get(f"{rotation.swapped}/")
    thief = browsers[0].copy()
    browsers[0].press(page, "/accounts/logout/", rotation.only_old)
    assert not thief.is_signed_in(rotation.swapped)

    # A sign-in that is under way needs no key.
    newcomer = Browser(rotation.provider)
    newcomer.sign_in(rotation.swapped, back_at=rotation.only_old)
    assert newcomer.is_signed_in(rotation.only_old)
    assert newcomer.is_signed_in(rotation.swapped)

    # A password that was changed ends all, at whichever process they come to first.
    rotation.change_passwords()
    assert count_signed_in(browsers[1:4], rotation.only_old) == 0
    assert refreshes(programs[:2], rotation.only_old) == {400}
    assert count_signed_in(browsers, rotation.swapped) == 0
    assert refreshes(programs, rotation.swapped) == {400}


def test_two_steps_keep_everyone_signed_in_and_fail_no_request(rotation: Rotation) -> None:
    browsers, programs = rotation.browsers, rotation.programs
    for pair in ((rotation.only_old, rotation.added), (rotation.added, rotation.swapped)):
        for at in pair * 2:
            copies = [browser.copy() for browser in browsers]
            assert count_signed_in(copies, at) == BROWSERS, (
                "whose responses the browsers never receive"
            )
            assert count_signed_in(browsers, at) == BROWSERS
            assert calls(programs, at) == {200}
            assert refreshes(programs, at) == {200}

    def ask(number: int) -> int:
        at = (rotation.added, rotation.swapped)[number % 2]
        return browsers[0].copy().http.get(f"{at}/gateway/", timeout=30).status_code

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(ask, range(60))) == {200}
