"""Places and their waiters: no place is lost, whichever waiter gives up at any time."""

import asyncio

import pytest

from gateway_site.transport.places import Busy, Places, give_back, take_at_once, take_within

SOON, NEVER = 0.001, 60.0  # seconds of waiting: in vain, and not to its end


async def test_place_given_to_a_cancelled_waiter_goes_to_the_next() -> None:
    places = Places(1)
    await places.take()
    first, second = (asyncio.create_task(places.take()) for _ in range(2))
    await asyncio.sleep(0)
    places.give_back()
    first.cancel()
    await asyncio.wait([first, second])
    assert first.cancelled()
    assert not second.cancelled()
    frees = [places.free]
    places.give_back()
    assert [*frees, places.free] == [0, 1]


async def test_failed_waiter_leaves_nothing_behind() -> None:
    places = Places(0)
    waiting = [asyncio.create_task(places.take()) for _ in range(3)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert not places._waiting
    assert not places.free


def test_slots_of_all_limits_are_taken_together() -> None:
    one, other = Places(2), Places(1)
    assert take_at_once(one, other)
    assert not take_at_once(one, other)
    assert (one.free, other.free) == (1, 0)
    give_back(one, other)
    assert (one.free, other.free) == (2, 1)


@pytest.mark.parametrize("missing", [0, 1])
async def test_wait_in_vain_for_one_gives_the_others_back(missing: int) -> None:
    places = [Places(1), Places(1)]
    await places[missing].take()
    with pytest.raises(Busy):
        await take_within(SOON, (), *places)
    assert [each.free for each in places] == [int(n != missing) for n in range(2)]


async def test_who_is_cancelled_while_waiting_for_the_last_gives_the_others_back() -> None:
    one, other = Places(1), Places(0)
    waiting = asyncio.create_task(take_within(NEVER, (), one, other))
    await asyncio.sleep(0)
    assert not one.free
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert (one.free, other.free) == (1, 0)
