"""Rates: each person and client has its own, and no way of calling gives more than the rate."""

import random
import re
import sys
from bisect import bisect_left

import pytest

from gateway_site.environment.variable import InvalidValue
from gateway_site.policy import rates
from gateway_site.policy.rates import CLIENTS_MAX, Exceeded, RateCounter, RatedCaller
from gateway_site.rules.rate import FOLDED, Rate, fold_tool, parse_rates
from tests.support.cases import each_case

ANN = RatedCaller("notes", "1")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def count_passed(counter: RateCounter, caller: RatedCaller, text: str, *tools: str | None) -> int:
    """Return how many of these calls pass."""
    limits = parse_rates(text)
    return sum(counter.take(caller, limits, each) is None for each in tools)


def test_rates_are_parsed() -> None:
    assert parse_rates("60/m search_*=10/s, read=1/h") == (
        *(Rate(60, 60), Rate(10, 1, "search_*"), Rate(1, 3600, "read")),
    )
    assert parse_rates("") == ()


@each_case(
    "text",
    [
        *("60", "60/d", "0/m", "-1/m", "1000000/m", "1.5/m", "60/m 10/s", "a=1/m a=2/m", "=1/m"),
        *("*=1/m", "a*b=1/m", 'a"=1/m', "a\\=1/m", "60 / m", "a=", "\u0661/m", "a=b=1/m"),
        " ".join(f"a{n}=1/m" for n in range(21)),
    ],
)
def test_other_rates_are_an_error(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_rates(text)


def test_long_name_is_folded_once_and_no_more_of_it_than_a_rate_can_name(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name of a megabyte was folded once for each of twenty rates, in the event loop."""
    sizes = list[int]()

    def note(name: str) -> str:
        folded = fold_tool(name)
        sizes.append(len(folded))
        return folded

    monkeypatch.setattr(rates, "fold_tool", note)
    text = " ".join(f"{'L' * (108 + each)}*=1/h" for each in range(20))
    assert (
        count_passed(RateCounter(clock), ANN, text, "l" * 1_000_000, "l" * 128 + "\ufb03" * 999)
        == 1
    )
    assert sizes == [FOLDED, 128 + 3 * 128]
    assert all(each.casefold() for each in map(chr, range(sys.maxunicode + 1)))


@pytest.mark.parametrize(("count", "unit"), [(1, "s"), (3, "s"), (7, "m"), (60, "m"), (997, "h")])
def test_whole_rate_may_be_used_at_once_and_comes_back_evenly(
    clock: Clock, count: int, unit: str
) -> None:
    text, counter = f"{count}/{unit}", RateCounter(clock)
    interval = parse_rates(text)[0].seconds / count
    assert count_passed(counter, ANN, text, *[None] * (count + 5)) == count
    clock.now += interval * 0.9
    assert count_passed(counter, ANN, text, None) == 0
    clock.now += interval * 0.2
    assert count_passed(counter, ANN, text, None, None) == 1
    clock.now += 10_000
    assert count_passed(counter, ANN, text, *[None] * (count + 5)) == count


def test_no_window_has_more_than_twice_the_rate(clock: Clock) -> None:
    counter, chance, times = RateCounter(clock), random.Random(7), []  # noqa: S311
    for _ in range(3000):
        clock.now += chance.choice((0, 0, 0.01, 0.3, 2))
        if count_passed(counter, ANN, "10/s", None):
            times.append(clock.now)
    assert max(bisect_left(times, start + 1) - at for at, start in enumerate(times)) <= 20


def test_people_clients_and_upstreams_are_counted_apart(clock: Clock) -> None:
    counter = RateCounter(clock)
    callers = (
        ANN,
        RatedCaller("notes", "2"),
        RatedCaller("mail", "1"),
        RatedCaller("notes", "1", "unverified"),
    )
    assert [count_passed(counter, each, "2/m", *[None] * 3) for each in callers] == [2, 2, 2, 2]


def test_tools_have_rates_of_their_own_beside_the_general_one(clock: Clock) -> None:
    counter, text = RateCounter(clock), "4/m search_*=2/m"
    assert count_passed(counter, ANN, text, "search_a", "search_b", "search_c") == 2
    assert count_passed(counter, ANN, text, "read", None, None) == 2
    assert (
        count_passed(RateCounter(clock), ANN, "Read=1/m", "read", "reads", None, "READ", "read")
        == 3
    )


def test_call_that_exceeds_one_rate_is_not_counted_for_another(clock: Clock) -> None:
    counter, text = RateCounter(clock), "3/m search=1/m"
    assert count_passed(counter, ANN, text, "search", *["search"] * 9, None, None, None) == 3


def test_headers_tell_how_long_to_wait(clock: Clock) -> None:
    counter, limits = RateCounter(clock), parse_rates("60/m search_*=2/m")
    for _ in range(2):
        assert counter.take(ANN, limits, "search_a") is None
    exceeded = counter.take(ANN, limits, "search_b")
    assert exceeded is not None
    assert exceeded.headers == {
        "Retry-After": "30",
        "RateLimit-Policy": '"search_*";q=2;w=60',
        "RateLimit": '"search_*";r=0;t=30',
    }
    clock.now += 30
    assert counter.take(ANN, limits, "search_b") is None
    assert count_passed(counter, ANN, "60/m", *[None] * 60) == 59
    exceeded = counter.take(ANN, limits, None)
    assert exceeded is not None
    assert exceeded.headers["Retry-After"] == "1"  # never 0, which clients would repeat at once
    assert exceeded.headers["RateLimit-Policy"] == '"calls";q=60;w=60'


ITEM = r'"(?:[ !#-\[\]-~]|\\["\\])*"'  # a String of RFC 9651 section 3.3.3
POLICY = re.compile(ITEM + r";q=(?:0|[1-9][0-9]{0,14});w=[1-9][0-9]{0,14}")
LIMIT = re.compile(ITEM + r";r=(?:0|[1-9][0-9]{0,14});t=(?:0|[1-9][0-9]{0,14})")


def test_headers_are_items_of_the_draft_whatever_a_tool_is_called(clock: Clock) -> None:
    named = 0
    for code in range(256):
        for text in (f"a{chr(code)}b=999999/h", f"{chr(code)}*=1/s"):
            try:
                limits = parse_rates(text)
            except InvalidValue:
                continue
            rate = limits[0]
            headers = Exceeded(rate, 0.25 + rate.seconds).headers
            assert POLICY.fullmatch(headers["RateLimit-Policy"]), headers
            assert LIMIT.fullmatch(headers["RateLimit"]), headers
            named += rate.tools is not None
    assert named > 160


def test_made_up_clients_give_a_person_a_bounded_number_of_calls(clock: Clock) -> None:
    counter = RateCounter(clock)
    callers = [RatedCaller("notes", "1", f"{n}.example") for n in range(CLIENTS_MAX * 4)]
    assert sum(count_passed(counter, each, "1/m", None) for each in callers) == CLIENTS_MAX + 1
    assert count_passed(counter, RatedCaller("notes", "2"), "1/m", None) == 1
    clock.now += 60
    assert sum(count_passed(counter, each, "1/m", None) for each in callers[20:]) == CLIENTS_MAX + 1


def test_memory_is_bounded_and_nobody_gains_by_being_forgotten(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "PEOPLE_MAX", 50)
    monkeypatch.setattr(rates, "SWEPT_FROM", 10)
    counter = RateCounter(clock)
    people = [RatedCaller("notes", str(n)) for n in range(60)]
    assert sum(count_passed(counter, each, "1/m", None) for each in people) == 50
    assert sum(count_passed(counter, each, "1/m", None) for each in people) == 0
    clock.now += 60
    assert sum(count_passed(counter, each, "1/m", None) for each in people[10:]) == 50
