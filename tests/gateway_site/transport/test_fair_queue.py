"""A party with many waiters does not delay others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_site.transport.places import FairQueue, Key


def drain(queue: FairQueue[str]) -> list[str]:
    return [queue.pop() for _ in range(len(queue))]


def test_same_key_is_served_in_the_order_of_arrival() -> None:
    queue = FairQueue[str]()
    for each in "abc":
        queue.add(each, ("ada", "app"))
    assert drain(queue) == ["a", "b", "c"]
    with pytest.raises(KeyError):
        queue.pop()


def test_persons_are_served_in_rotation_and_the_apps_of_each() -> None:
    queue = FairQueue[str]()
    for app in ("one", "two"):
        for n in range(3):
            queue.add(f"ada {app} {n}", ("ada", app))
    queue.add("grace", ("grace", "browser"))
    assert drain(queue) == [
        "ada one 0",
        "grace",
        "ada two 0",
        "ada one 1",
        "ada two 1",
        "ada one 2",
        "ada two 2",
    ]


def test_immediate_return_queues_behind_the_others() -> None:
    queue = FairQueue[str]()
    queue.add("ada 0", ("ada",))
    queue.add("grace", ("grace",))
    assert queue.pop() == "ada 0"
    queue.add("ada 1", ("ada",))
    assert drain(queue) == ["grace", "ada 1"]


def test_who_has_left_is_not_served_and_leaves_nothing() -> None:
    queue = FairQueue[str]()
    for each in ("a", "b"):
        queue.add(each, ("ada", each))
    queue.discard("a")
    queue.discard("a")
    queue.discard("unknown")
    assert drain(queue) == ["b"]
    assert not queue._all
    assert not queue._keys


KEYS = st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"))


@given(st.lists(st.one_of(KEYS, st.sampled_from(["pop", "leave"])), max_size=60), st.data())
def test_no_party_overtakes_a_waiter_twice(steps: list[Key | str], data: st.DataObject) -> None:
    """Against a list of all who wait: first of its key, and no other party twice before it."""
    queue, waiting, number = FairQueue[int](), dict[int, Key](), 0
    passed: dict[int, list[str]] = {}  # who was served while this one was the first of its party
    for step in steps:
        if isinstance(step, tuple):
            number += 1
            waiting[number], passed[number] = step, []
            queue.add(number, step)
        elif step == "leave" and waiting:
            gone = data.draw(st.sampled_from(sorted(waiting)))
            del waiting[gone]
            queue.discard(gone)
        elif step == "pop" and waiting:
            served = queue.pop()
            key = waiting.pop(served)
            assert not [each for each, of in waiting.items() if of == key and each < served]
            for each, of in waiting.items():
                if of[0] != key[0]:
                    passed[each].append(str(key[0]))
            mine = [each for each, of in waiting.items() if of[0] == key[0]]
            for each in mine:
                passed[each] = []
            assert all(len(set(names)) == len(names) for names in passed.values())
        assert len(queue) == len(waiting)
