"""Whose connections are, how many there are, and when they end; no network is needed for that."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway_site.transport.places import Busy
from gateway_site.transport.pool import ConnectionPool, Lease, Limits, Owner
from tests.gateway_site.support.fake_line import Line

ADA, GRACE = Owner("session-a", "1"), Owner("session-g", "2")
SOON, NEVER = 0.001, 60.0  # seconds of waiting: in vain, and not to its end


@dataclass
class Time:
    """A clock and its timers."""

    now: float = 1000.0
    timers: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def call_later(self, seconds: float, do: Callable[[], None]) -> Any:
        timer = (self.now + seconds, do)
        self.timers.append(timer)

        class Handle:
            def cancel(_) -> None:  # noqa: N805 - `self` would hide the test's
                self.timers.remove(timer)

        return Handle()

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        for timer in [each for each in self.timers if each[0] <= self.now]:
            self.timers.remove(timer)
            timer[1]()


class Pool:
    """What is tested, with what it is given."""

    def __init__(self, **limits: int) -> None:
        self.time = Time()
        self.made: list[Line] = []
        self.connections: ConnectionPool[Line] = ConnectionPool(
            Limits(**limits), self.time.clock, self.time.call_later
        )

    async def connect(self) -> Line:
        self.made.append(Line())
        return self.made[-1]

    async def take(
        self, owner: Owner = ADA, upstream: str = "api", *, seconds: float = NEVER
    ) -> Lease[Line]:
        return await self.connections.take(upstream, owner, self.connect, seconds=seconds)

    async def take_and_give_back(self, owner: Owner = ADA, upstream: str = "api") -> Line:
        """Take and give back, and return what was used."""
        lease = await self.take(owner, upstream)
        self.connections.give_back(lease)
        return lease.connection

    @property
    def open(self) -> list[Line]:
        return [line for line in self.made if not line.is_closed]


# Whose it is


@pytest.fixture
def pool() -> Pool:
    return Pool()


async def test_connection_is_used_again_by_its_owner(pool: Pool) -> None:
    assert await pool.take_and_give_back() is await pool.take_and_give_back()
    assert len(pool.made) == 1


@pytest.mark.parametrize(
    "another",
    [
        GRACE,
        Owner(ADA.holder, GRACE.person),
        Owner(GRACE.holder, ADA.person),
        Owner("session", ADA.person),
    ],
    ids=["another person", "another person in the session", "another session", "a beginning of it"],
)
async def test_connection_is_never_anothers(another: Owner, pool: Pool) -> None:
    line = await pool.take_and_give_back()
    assert await pool.take_and_give_back(another) is not line
    assert await pool.take_and_give_back() is line


async def test_connection_is_of_one_upstream(pool: Pool) -> None:
    assert await pool.take_and_give_back(upstream="api") is not await pool.take_and_give_back(
        upstream="tools"
    )


async def test_connection_in_use_is_not_taken_again(pool: Pool) -> None:
    first, second = await pool.take(), await pool.take()
    assert first.connection is not second.connection


async def test_connection_given_back_twice_is_taken_once(pool: Pool) -> None:
    lease = await pool.take()
    pool.connections.give_back(lease)
    pool.connections.give_back(lease)
    first, second = await pool.take(), await pool.take()
    assert first.connection is not second.connection


# Clean or not


async def test_unclean_connection_is_closed_when_it_is_given_back(pool: Pool) -> None:
    lease = await pool.take()
    lease.connection.is_clean = False
    pool.connections.give_back(lease)
    assert lease.connection.is_closed
    assert not pool.connections


async def test_connection_is_looked_at_again_when_it_is_taken(pool: Pool) -> None:
    kept, spoilt = await pool.take(), await pool.take()
    pool.connections.give_back(kept)
    pool.connections.give_back(spoilt)
    spoilt.connection.is_clean = False
    assert (await pool.take()).connection is kept.connection
    assert spoilt.connection.is_closed


# Its end


async def test_idle_connection_is_closed_after_four_seconds(pool: Pool) -> None:
    line = await pool.take_and_give_back()
    pool.time.pass_by(3.9)
    assert await pool.take_and_give_back() is line
    pool.time.pass_by(3.9)
    assert pool.open == [line]
    pool.time.pass_by(0.1)
    assert pool.open == []
    pool.time.pass_by(4)
    assert not pool.time.timers


async def test_expired_connection_is_not_used_despite_a_late_timer(pool: Pool) -> None:
    line = await pool.take_and_give_back()
    pool.time.now += 4
    assert await pool.take_and_give_back() is not line
    assert line.is_closed


async def test_end_of_a_session_closes_its_idle_connections(pool: Pool) -> None:
    in_use, other_in_use = await pool.take(), await pool.take(GRACE)
    idle, others_idle = await pool.take_and_give_back(), await pool.take_and_give_back(GRACE)
    pool.connections.end(ADA.holder)
    # The responses of both are still coming.
    assert pool.open == [in_use.connection, other_in_use.connection, others_idle]
    pool.connections.give_back(in_use)
    pool.connections.give_back(other_in_use)
    assert pool.open == [other_in_use.connection, others_idle]
    assert idle not in pool.open


async def test_session_is_identified_by_the_beginning_of_its_id(pool: Pool) -> None:
    ada, grace = (
        await pool.take_and_give_back(Owner("abcd", "1")),
        await pool.take_and_give_back(Owner("xabc", "2")),
    )
    pool.connections.end("abc")
    assert (ada.is_closed, grace.is_closed) == (True, False)


async def test_close_closes_all(pool: Pool) -> None:
    lease, idle = await pool.take(), await pool.take_and_give_back(GRACE)
    pool.connections.close()
    assert lease.connection.is_closed
    assert idle.is_closed
    pool.connections.give_back(lease)
    assert not pool.connections
    assert not pool.time.timers


# How many


async def test_idle_connections_are_bounded_and_the_longest_idle_goes_first() -> None:
    pool = Pool(idle=2)
    leases = [await pool.take(Owner(f"session-{n}", str(n))) for n in range(3)]
    for lease in leases:
        pool.connections.give_back(lease)
    assert [lease.connection.is_closed for lease in leases] == [True, False, False]


async def test_longest_idle_connection_is_closed_for_a_new_one() -> None:
    pool = Pool(in_all=3, per_upstream=3)
    first, second = await pool.take_and_give_back(ADA), await pool.take_and_give_back(GRACE)
    assert await pool.take_and_give_back(ADA) is first  # The other has been idle longer now.
    await pool.take(Owner("session-c", "3"), "tools")
    assert not second.is_closed
    await pool.take(Owner("session-d", "4"), "tools")
    assert (first.is_closed, second.is_closed) == (False, True)
    assert len(pool.open) == 3


async def test_room_for_an_upstream_is_made_by_its_own_idle_ones() -> None:
    pool = Pool(in_all=9, per_upstream=1)
    elsewhere, here = (
        await pool.take_and_give_back(ADA, "tools"),
        await pool.take_and_give_back(ADA, "api"),
    )
    await pool.take(GRACE, "api")
    assert (elsewhere.is_closed, here.is_closed) == (False, True)


@pytest.mark.parametrize("limits", [{"in_all": 2}, {"per_upstream": 2}], ids=str)
async def test_there_are_never_more_than_the_bound(limits: dict[str, int]) -> None:
    pool = Pool(**limits)
    most = 0

    async def call(number: int) -> None:
        nonlocal most
        lease = await pool.take(Owner(f"session-{number % 5}", str(number % 5)))
        most = max(most, len(pool.open))
        await asyncio.sleep(0)
        lease.connection.is_clean = number % 3 > 0
        pool.connections.give_back(lease)

    await asyncio.gather(*(call(number) for number in range(50)))
    assert most == 2


@pytest.mark.parametrize("limits", [{"in_all": 2}, {"per_upstream": 2}], ids=str)
async def test_caller_without_a_free_connection_gets_an_error_in_time(
    limits: dict[str, int],
) -> None:
    pool = Pool(**limits)
    leases = [await pool.take(), await pool.take(GRACE)]
    with pytest.raises(Busy):
        await pool.take(Owner("session-c", "3"), seconds=SOON)
    for lease in leases:
        pool.connections.give_back(lease)
    assert not leases[0].connection.is_closed
    for _ in range(2):  # To wait took no place away.
        await pool.take(Owner("session-c", "3"), seconds=SOON)


async def test_wait_in_vain_takes_no_place_of_the_upstream() -> None:
    pool = Pool(in_all=1, per_upstream=1)
    lease = await pool.take(ADA, "tools")
    with pytest.raises(Busy):
        await pool.take(ADA, "api", seconds=SOON)
    pool.connections.give_back(lease)
    await pool.take(ADA, "api", seconds=SOON)


async def test_waiter_of_another_session_gets_a_new_connection() -> None:
    pool = Pool(in_all=1)
    lease = await pool.take(ADA)
    waiting = asyncio.create_task(pool.take(GRACE))
    await asyncio.sleep(0)
    pool.connections.give_back(lease)
    other = await waiting
    assert other.connection is not lease.connection
    assert lease.connection.is_closed  # It was idle, and in the way.


async def test_busy_upstream_does_not_block_another() -> None:
    pool = Pool(in_all=9, per_upstream=1)
    await pool.take(ADA, "api")
    waiting = asyncio.create_task(pool.take(GRACE, "api"))
    await asyncio.sleep(0)
    await pool.take(GRACE, "tools", seconds=SOON)
    waiting.cancel()


@pytest.mark.parametrize("limits", [{"in_all": 1}, {"per_upstream": 1}], ids=str)
async def test_failed_and_cancelled_calls_take_no_place_away(limits: dict[str, int]) -> None:
    pool = Pool(**limits)

    async def failing() -> Line:
        raise ConnectionError

    for _ in range(3):
        with pytest.raises(ConnectionError):
            await pool.connections.take("api", ADA, failing, seconds=SOON)
    lease = await pool.take(seconds=SOON)
    waiting = asyncio.create_task(pool.take(GRACE))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    pool.connections.give_back(lease)
    await pool.take(GRACE, seconds=SOON)


async def test_one_person_has_at_most_a_quarter_of_the_idle_connections() -> None:
    pool = Pool(idle=8, idle_per_person=2)
    grace = await pool.take_and_give_back(GRACE)
    leases = [await pool.take(Owner(f"grant-{n}", ADA.person)) for n in range(20)]
    for lease in leases:
        pool.connections.give_back(lease)
    assert pool.open == [grace, *(each.connection for each in leases[-2:])]
    pool.time.pass_by(4)  # what is counted ends with what is kept
    assert pool.open == []
    line = await pool.take_and_give_back(Owner("grant-0", ADA.person))
    assert await pool.take_and_give_back(Owner("grant-0", ADA.person)) is line


@pytest.mark.parametrize("limits", [{"in_all": 1}, {"per_upstream": 1}], ids=str)
async def test_who_waits_has_one_of_each_other_person_before_them(limits: dict[str, int]) -> None:
    pool, order = Pool(**limits), list[str]()
    lease = await pool.take(Owner("first", "0"))

    async def call(owner: Owner) -> None:
        taken = await pool.take(owner)
        order.append(owner.person)
        pool.connections.give_back(taken)

    owners = [Owner(f"grant-{n}", person) for person in ("1", "2") for n in range(30)]
    calls = [asyncio.create_task(call(each)) for each in [*owners, Owner("session", "3")]]
    await asyncio.sleep(0)
    pool.connections.give_back(lease)
    await asyncio.gather(*calls)
    assert order.index("3") == 2
    assert len(order) == 61
