"""A call gets the same answer in the event loop and in a thread, whatever is wrong."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.gateway_site.support.example_requests import (
    CASES,
    GET,
    LONG,
    LOOP,
    NEITHER,
    OPEN,
    RENDERED_IN_LOOP,
    SHOWN,
    THREAD,
    WITH_TOKEN,
    WITHOUT_STORE,
    Case,
    ask,
    cookie_of,
    token_of,
)
from tests.gateway_site.support.gateways import Gateway


@pytest.fixture(scope="module")
def both(gateway: Gateway) -> Iterator[Gateway]:
    gateway.control(f"age/{LONG}")
    yield gateway
    gateway.control("way/loop")
    gateway.control("age/2")


@pytest.fixture
def without_store(both: Gateway) -> Iterator[None]:
    yield
    both.control("store/up")


def counts(gateway: Gateway) -> Counter[str]:
    found = Counter(json.loads(gateway.control("ways")))
    del found[RENDERED_IN_LOOP]  # as rejected calls are
    return found


def answered(
    gateway: Gateway,
    case: Case,
    before: Callable[[], object] = lambda: None,
    after: Callable[[], object] = lambda: None,
) -> dict[str, bytes]:
    """Return the answer of each way, having seen that it was that way, and once."""
    answers = {}
    for way in (LOOP, THREAD):
        gateway.control(f"way/{way.removeprefix('in_')}")
        gateway.control("store/up")
        ask(gateway, Case(GET, 200), cookie_of(gateway, "good"))  # The person is known then.
        cookie, token = cookie_of(gateway, case.cookie), token_of(gateway, case)
        before()
        already = counts(gateway)
        answers[way] = ask(gateway, case, cookie, token)
        after()
        took = case.way if way == LOOP or case.way == NEITHER else THREAD
        served = {} if took == NEITHER else {took: 1, "started": 1, "finished": 1, **case.more}
        assert counts(gateway) - already == Counter(served), (way, answers[way])
    return answers


def assert_same(answers: dict[str, bytes], status: int) -> None:
    assert answers[LOOP].splitlines() == answers[THREAD].splitlines()
    assert answers[LOOP].startswith(b"HTTP/1.1 %d " % status), answers[LOOP]


@pytest.mark.parametrize("name", CASES)
def test_response_is_the_same_on_both_paths(both: Gateway, name: str) -> None:
    assert_same(answered(both, CASES[name]), CASES[name].status)


@pytest.mark.parametrize("name", WITH_TOKEN)
def test_response_to_a_clients_token_is_the_same_on_both_paths(both: Gateway, name: str) -> None:
    assert_same(answered(both, WITH_TOKEN[name]), WITH_TOKEN[name].status)


@pytest.mark.usefixtures("without_store")
@pytest.mark.parametrize("name", WITHOUT_STORE)
def test_response_without_the_store_is_the_same_on_both_paths(both: Gateway, name: str) -> None:
    case = WITHOUT_STORE[name]
    assert_same(answered(both, case, lambda: both.control("store/down")), case.status)


@pytest.mark.parametrize(
    "inactive",
    [Case(GET, 401, THREAD), Case(OPEN, 401, THREAD, headers=(SHOWN,))],
    ids=["cookie", "token"],
)
def test_response_for_an_inactive_user_is_the_same_on_both_paths(
    both: Gateway, inactive: Case
) -> None:
    """The signal of the change has them forgotten: the database is asked, in a thread."""
    answers = answered(
        both,
        inactive,
        before=lambda: both.control("active/0"),
        after=lambda: both.control("active/1"),
    )
    assert_same(answers, 401)


@pytest.mark.parametrize("line", [GET, b"GET /gateway/?next=//a.example HTTP/1.1"])
def test_response_with_required_https_is_the_same_on_both_paths(both: Gateway, line: bytes) -> None:
    both.control("way/loop")
    ask(both, Case(GET, 200), cookie_of(both, "good"))  # By a redirect nobody becomes known.
    both.control("https/1")
    try:
        assert_same(answered(both, Case(line, 301)), 301)
        proxied = Case(line, 200, headers=(b"X-Forwarded-Proto: https",))
        assert_same(answered(both, proxied), 200)
    finally:
        both.control("https/0")


def test_unknown_user_is_looked_up_in_a_thread_with_the_prefetched_session(
    both: Gateway,
) -> None:
    both.control("way/loop")
    cookie = cookie_of(both, "good")
    both.control(f"age/{LONG}")  # which forgets everybody
    before, reads = counts(both), int(both.control("reads"))
    for took in (THREAD, LOOP):
        assert ask(both, Case(GET, 200), cookie).startswith(b"HTTP/1.1 200 ")
        assert (counts(both) - before)[took] == 1
    assert int(both.control("reads")) - reads == 2


@pytest.mark.parametrize("is_non_blocking", [True, False])
def test_calls_with_a_token_read_one_item_each(both: Gateway, is_non_blocking: bool) -> None:
    """The lookup of the caller in a thread uses the prefetched session."""
    both.control("way/loop")
    case = Case(OPEN, 200, headers=(SHOWN,))
    token = token_of(both, case)
    ask(both, case, b"", token)
    for _ in range(3):
        if not is_non_blocking:
            both.control(f"age/{LONG}")  # which forgets everybody
        before, reads = counts(both), int(both.control("all-reads"))
        assert ask(both, case, b"", token).startswith(b"HTTP/1.1 200 ")
        assert int(both.control("all-reads")) - reads == 1
        assert (counts(both) - before)[LOOP if is_non_blocking else THREAD] == 1
