"""A changed session key against lost responses, parallel requests, sign-outs and attackers.

The real engine and middleware over the table in memory, where any call may be struck and
any other request may come before it.
"""

import logging
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pytest
from django.conf import settings as live_settings
from django.contrib.auth import SESSION_KEY as USER_ID
from pytest_django import Settings

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.services import id_of, services
from sessions_kms.session.next_cookie import TRIED_MAX
from sessions_kms.session.repository import SessionRepository
from sessions_kms.storage.suspect_responses import Confirm
from sessions_kms.telemetry import Block
from sessions_kms.testing.dynamodb import Handle
from tests.sessions_kms.model.world import World
from tests.sessions_kms.support import wire
from tests.sessions_kms.support.key_browser import ADA, MIDDLEWARE, NOBODY, Browser, send
from tests.sessions_kms.support.sessions import save_session

# Everything that goes wrong but the death of the process, which nothing can heal.
FAULTS = {name: fault for name, fault in wire.FAULTS.items() if not name.startswith("killed")}
CALLS = 6  # more than a key change makes


@pytest.fixture
def world(settings: Settings, caplog: pytest.LogCaptureFixture) -> Iterator[World]:
    settings.ROOT_URLCONF = "tests.sessions_kms.support.key_browser"
    settings.MIDDLEWARE = MIDDLEWARE
    settings.SESSION_ENGINE = "sessions_kms.backend"
    settings.SESSION_COOKIE_SECURE = False
    settings.SESSION_SAVE_EVERY_REQUEST = False
    caplog.set_level(logging.CRITICAL)
    made = World(processes=1)
    with made.running(0):
        run_sync(services().not_before.moment())  # No call of a page's is for that.
        yield made


def browser(**content: Any) -> Browser:
    session = save_session(kept=1, **content)
    return Browser(str(session.session_key))


def is_signed_in(world: World, visitor: Browser) -> bool:
    """Request a page as a browser that reloads it until it is no 503; time passes."""
    world.wire.arrive()
    response = visitor.ask("view")
    if response.status_code == 503:
        assert response["Retry-After"] == response["Refresh"] == "2"
        assert not response.cookies
        world.clock.advance(15)
        response = visitor.ask("view")
    assert response.status_code == 200
    return bool(response.content.decode() == ADA)


def outage(world: World, calls: int) -> None:
    """Have every call from this one of the coming ones fail."""
    for call in range(calls, calls + 40):
        world.wire.strike(call, wire.unreachable)


def sign_outs(world: World, page: str, *, with_outage: bool) -> list[str]:
    """Let each fault strike each call of a page; return those after which she is signed out."""
    found = []
    for name, fault in FAULTS.items():
        for call in range(CALLS):
            ada = browser(**{USER_ID: ADA})
            if with_outage:
                outage(world, call + 1)
            world.wire.strike(call, fault)
            ada.ask(page)
            world.wire.heal()
            early = ada.copy()  # It asks before what is late arrives, too.
            if early.ask("save").status_code == 200:
                ada.receive(early.ask("view"))
            if not is_signed_in(world, ada):
                found.append(f"{name} at call {call}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("with_outage", [False, True])
@pytest.mark.parametrize("page", ["rotate", "login", "replace_session"])
def test_no_fault_at_any_call_of_a_key_change_signs_out(
    world: World, page: str, with_outage: bool
) -> None:
    assert sign_outs(world, page, with_outage=with_outage) == []


def test_key_change_with_a_lost_response_is_resolved_by_another_cookie(world: World) -> None:
    signed_out = 0
    for _ in range(20):
        ada = browser(**{USER_ID: ADA})
        outage(world, 2)
        world.wire.strike(1, wire.lose_response)
        response = ada.ask("rotate")
        world.wire.heal()
        assert response.status_code == 503
        signed_out += not is_signed_in(world, ada)
    assert signed_out == 0


def test_late_key_change_keeps_everyone_signed_in(world: World) -> None:
    ada = browser(**{USER_ID: ADA})
    old = ada.key
    for call in range(1, 40):
        world.wire.strike(call, wire.delay_for_long if call == 1 else wire.unreachable)
    assert ada.ask("rotate").status_code == 503
    world.wire.heal()
    assert ada.key == old
    assert ada.ask("view").content.decode() == ADA
    assert world.wire.arrive()
    assert ada.ask("view").content.decode() == ADA
    assert ada.key not in {old, None}
    assert world.sessions() == 1


def test_create_of_unknown_outcome_is_never_repeated_under_its_key(world: World) -> None:
    browser()
    before = world.sessions()
    world.wire.strike(0, wire.delay_for_long)
    ada = browser(**{USER_ID: ADA})
    assert world.wire.calls[-3:] == ["PutItem", "GetItem", "PutItem"]
    key = str(ada.key)
    assert ada.ask("logout").status_code == 200
    assert world.wire.arrive()
    assert world.truth(key) is None, "revived"
    assert world.sessions() == before + 1, "one whose key nobody has, until its ttl"


# Several tabs


def together(
    world: World, visitor: Browser, first: str, second: str, call: int
) -> tuple[list[Any], bool]:
    """Have one request before some call of another; return both responses, and if there was one."""
    responses: list[Any] = []

    def meanwhile(handle: Handle) -> Any:
        responses.append(visitor.send(second))
        return handle()

    number = world.wire.strike(call, meanwhile)
    responses.append(visitor.send(first))
    world.wire.spare(number)
    return responses, len(responses) > 1


PAIRS = [
    ("rotate", "view"), ("rotate", "save"), ("rotate", "rotate"), ("login", "save"),
    ("save", "rotate"), ("view", "rotate"), ("save", "login"), ("rotate", "replace_session"),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_two_tabs_stay_signed_in_whichever_response_comes_first(
    world: World, first: str, second: str
) -> None:
    reached = 0
    for call in range(CALLS):
        for order in permutations(range(2)):
            ada = browser(**{USER_ID: ADA})
            responses, were_two = together(world, ada, first, second, call)
            if not were_two:
                break
            reached += 1
            for index in order:
                ada.receive(responses[index])
            assert is_signed_in(world, ada), (call, order)
            assert [response.status_code for response in responses].count(400) == 0
    assert reached >= 2


def is_alive(world: World) -> bool:
    """Return True if a session of somebody who is signed in is stored."""
    return any("owner" in item and "encryptedData" in item for item in world.table.items.values())


@pytest.mark.slow
@pytest.mark.parametrize("leave", ["logout", "logout_unread"])
def test_acknowledged_logout_is_one_whatever_key_change_is_under_way(
    world: World, leave: str
) -> None:
    for fault in (None, *FAULTS.values()):
        for call in range(CALLS):
            for pages in (("rotate", leave), (leave, "rotate")):
                world.table.items.clear()
                ada = browser(**{USER_ID: ADA})
                if fault:
                    world.wire.strike(call + 1, fault)
                responses, were_two = together(world, ada, *pages, call)
                world.wire.heal()
                world.wire.arrive()
                left = responses[0 if pages[1] == leave and were_two else -1]
                if were_two and left.status_code != 503:
                    assert not is_alive(world), (pages, fault, call)


def test_logout_ends_the_session_that_the_request_settled_on(world: World) -> None:
    for leave in ("logout", "logout_unread"):
        world.table.items.clear()
        ada = browser(**{USER_ID: ADA})
        outage(world, 2)
        world.wire.strike(1, wire.lose_response)
        assert ada.ask("rotate").status_code == 503
        world.wire.heal()
        assert ada.ask(leave).status_code == 200
        assert not is_alive(world)
        assert ada.key is None


def test_key_change_that_an_older_release_outran_is_tried_again(world: World) -> None:
    ada = browser(**{USER_ID: ADA})

    def saved_by_an_older_release(handle: Handle) -> Any:
        ada.send("save")
        world.table.items[id_of(str(ada.key))].pop("ancestors")
        return handle()

    world.wire.strike(1, wire.unreachable)
    world.wire.strike(2, saved_by_an_older_release)
    assert ada.ask("rotate").status_code == 200
    assert is_signed_in(world, ada)
    assert SessionStore(ada.key)["seen"] == 1


# The cookie


def next_cookies(response: Any) -> dict[str, Any]:
    return {name: morsel for name, morsel in response.cookies.items() if "-next-" in name}


def test_next_cookie_has_the_attributes_of_the_sessions_and_ten_minutes(
    world: World, settings: Settings
) -> None:
    settings.SESSION_COOKIE_SECURE = True
    settings.SESSION_COOKIE_NAME = "__Secure-here"
    settings.SESSION_COOKIE_PATH = "/"
    settings.SESSION_COOKIE_DOMAIN = "example.com"
    ada = browser(**{USER_ID: ADA})
    old = str(ada.key)
    response = ada.ask("rotate")
    new = str(ada.key)
    ((name, cookie),) = next_cookies(response).items()
    assert name == f"__Secure-here-next-{id_of(new)[:8]}"
    assert cookie.value == f"{new}.{id_of(old)[:8]}"
    session = response.cookies["__Secure-here"]
    same = ("path", "domain", "secure", "httponly", "samesite")
    assert [cookie[each] for each in same] == [session[each] for each in same]
    assert cookie["max-age"] == 600


def test_next_cookie_is_seen_by_no_view_and_no_error_report(world: World) -> None:
    ada = browser(**{USER_ID: ADA})
    ada.ask("rotate")
    assert len(ada.cookies) == 2
    assert ada.ask("cookies").content.decode() == str([live_settings.SESSION_COOKIE_NAME])


def test_change_of_an_anonymous_sessions_key_sets_no_next_cookie(world: World) -> None:
    assert next_cookies(browser().ask("rotate")) == {}
    assert len(next_cookies(browser().ask("login"))) == 1


def test_response_carries_the_key_that_its_request_changed_to_whatever_its_status(
    world: World,
) -> None:
    ada = browser(**{USER_ID: ADA})
    old = ada.key
    response = ada.ask("replace_session")
    assert response.status_code == 500
    assert ada.key != old
    assert len(next_cookies(response)) == 1
    ada.cookies[live_settings.SESSION_COOKIE_NAME] = str(old)  # A late response of another tab.
    assert ada.ask("view").content.decode() == ADA
    assert ada.key != old


def test_any_of_ten_unconfirmed_changes_may_have_been_applied(world: World) -> None:
    """A page's ten requests changed a key each, while no response came."""
    ada = browser(**{USER_ID: ADA})
    first = str(ada.key)
    made = next_cookies(ada.ask("rotate"))
    name = live_settings.SESSION_COOKIE_NAME
    for number in range(9):
        key = f"{number}" * 32
        ada.cookies[f"{name}-next-{id_of(key)[:8]}"] = f"{key}.{id_of(first)[:8]}"
    for told, cookie in made.items():  # it comes last
        del ada.cookies[told]
        ada.cookies[told] = cookie.value
    ada.cookies[name] = first
    assert is_signed_in(world, ada)


def test_chain_of_key_changes_is_followed_so_many_keys_far(world: World) -> None:
    for changes, followed in ((TRIED_MAX, True), (TRIED_MAX + 1, False)):
        ada = browser(**{USER_ID: ADA})
        first = str(ada.key)
        for _ in range(changes):
            ada.ask("rotate")
        ada.cookies[live_settings.SESSION_COOKIE_NAME] = first
        assert is_signed_in(world, ada) is followed


def name_keys(old: str, keys: list[str]) -> dict[str, str]:
    """Return cookies that each say that a key has followed the old one."""
    name = live_settings.SESSION_COOKIE_NAME
    return {f"{name}-next-{id_of(key)[:8]}": f"{key}.{id_of(old)[:8]}" for key in keys}


def reads_of(world: World, page: str, cookies: dict[str, str]) -> int:
    """Return how many items a request with these cookies reads."""
    before = len(world.wire.calls)
    send(page, cookies)
    return world.wire.calls[before:].count("GetItem")


@pytest.mark.parametrize("page", ["view", "save", "rotate", "logout", "logout_unread"])
def test_next_cookies_of_a_key_without_a_tombstone_are_not_followed(
    world: World, page: str
) -> None:
    """Nothing, a session that has expired, one that was ended: nobody has changed such a key."""
    name = live_settings.SESSION_COOKIE_NAME
    made_up = [f"{number:032}" for number in range(20)]
    expired, ended = browser(**{USER_ID: ADA}), browser(**{USER_ID: ADA})
    ended.ask("logout")
    world.clock.advance(live_settings.SESSION_COOKIE_AGE)
    for key in ("x" * 32, str(expired.key), str(ended.key)):
        cookies = {name: key}
        alone = reads_of(world, page, cookies)
        assert reads_of(world, page, cookies | name_keys(key, made_up)) <= max(alone, 1)


def test_bounded_number_of_keys_is_tried_after_a_tombstone_and_no_invalid_one(world: World) -> None:
    ada = browser(**{USER_ID: ADA})
    old = str(ada.key)
    ada.ask("rotate")
    world.clock.advance(15)
    session = {live_settings.SESSION_COOKIE_NAME: old}
    made_up = [f"{number:032}" for number in range(40)]
    assert reads_of(world, "view", session) == 1
    assert reads_of(world, "view", session | name_keys(old, made_up)) == 1 + TRIED_MAX
    further = name_keys(old, made_up[:3]) | name_keys(made_up[0], made_up[3:])
    assert reads_of(world, "view", session | further) == 1 + 3


def test_only_the_first_of_the_named_keys_may_be_read_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that no oftener than any missing key: a browser sends one, a forger many."""
    load, confirmed = SessionRepository._load_key, []

    async def load_noted(
        self: SessionRepository, key: str, span: Block, confirm: Confirm
    ) -> object:
        confirmed.append(confirm)
        return await load(self, key, span, confirm)

    ada = browser(**{USER_ID: ADA})
    old = str(ada.key)
    ada.ask("rotate")
    world.clock.advance(15)
    monkeypatch.setattr(SessionRepository, "_load_key", load_noted)
    made_up = [f"{number:032}" for number in range(3)]
    send("view", {live_settings.SESSION_COOKIE_NAME: old} | name_keys(old, made_up))
    assert confirmed == [Confirm.LIMITED, Confirm.LIMITED, Confirm.NEVER, Confirm.NEVER]


# An attacker


def attackers(world: World, key: str, **cookies: str) -> list[Any]:
    """Return the responses to an old key, immediately and later."""
    carried = {live_settings.SESSION_COOKIE_NAME: key} | cookies
    responses = [send(page, carried) for page in ("view", "save", "rotate", "logout_unread")]
    world.clock.advance(15)
    responses += [send(page, carried) for page in ("view", "save", "rotate", "logout_unread")]
    return responses


@pytest.mark.parametrize("page", ["rotate", "login"])
def test_old_key_planted_or_stolen_gives_nothing(world: World, page: str) -> None:
    ada = browser(**({} if page == "login" else {USER_ID: ADA}))
    planted = str(ada.key)
    ada.ask(page)
    for response in attackers(world, planted):
        assert response.content.decode() != ADA
        given = [cookie.value for cookie in response.cookies.values()]
        assert not any(str(ada.key) in value for value in given)
    assert is_signed_in(world, ada)
    stored = repr(world.table.items[id_of(planted)]) if id_of(planted) in world.table.items else ""
    assert id_of(str(ada.key)) not in stored


def test_next_cookie_of_another_session_is_ignored(world: World) -> None:
    mallory = browser(**{USER_ID: "13"})
    ada = browser(**{USER_ID: ADA})
    short, old = id_of(str(mallory.key))[:8], id_of(str(ada.key))[:8]
    name = f"{live_settings.SESSION_COOKIE_NAME}-next-{short}"
    for value in (f"{mallory.key}.{old}", f"{mallory.key}.{short}", f"{mallory.key}."):
        planted = ada.copy()
        planted.cookies[name] = value
        assert planted.ask("view").content.decode() == ADA, "only where the record is not there"
    del world.table.items[id_of(str(ada.key))]
    for value in (f"{mallory.key}.{short}", f"{mallory.key}.{'x' * 8}", str(mallory.key)):
        planted = ada.copy()
        planted.cookies[name] = value
        assert planted.ask("view").content.decode() == NOBODY, "not bound to this cookie"
    planted = ada.copy()
    planted.cookies[f"{live_settings.SESSION_COOKIE_NAME}-next-{'y' * 8}"] = f"{mallory.key}.{old}"
    assert planted.ask("view").content.decode() == NOBODY, "the name is of another key"


def test_planted_key_and_its_next_cookie_open_nothing_after_sign_in(world: World) -> None:
    mallory, ada = browser(**{USER_ID: "13"}), browser()
    short, old = id_of(str(mallory.key))[:8], id_of(str(ada.key))[:8]
    name = f"{live_settings.SESSION_COOKIE_NAME}-next-{short}"
    ada.cookies[name] = f"{mallory.key}.{old}"
    ada.ask("login")
    assert is_signed_in(world, ada)
    assert mallory.ask("view").content.decode() == "13"
