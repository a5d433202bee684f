"""A person's calls are limited together, over sessions and clients; waiting calls are served."""

import asyncio

import pytest

from gateway_site.edge import descriptors
from gateway_site.forwarding.calls.limits import CallerSlots, UserCalls, UserLimits, user_limits
from gateway_site.rules.problems import Problem
from gateway_site.rules.upstream import Upstream, read_upstreams
from gateway_site.transport import upstream_client
from gateway_site.transport.pool import Owner
from tests.gateway_site.server.served import advance, on_moved_clock, turns

FEW = UserLimits(per_upstream=100, in_all=6, waiting=5)


def upstreams(**most: int) -> list[Upstream]:
    """Return upstreams, each of which lets one client have so many calls open."""
    variables: dict[str, str] = {}
    for name, number in most.items():
        variables |= {
            f"UPSTREAM_{name}_URL": "https://api.example.com",
            f"UPSTREAM_{name}_PROVIDER": "corp",
            f"UPSTREAM_{name}_MAX_CONCURRENT": str(number),
        }
    return list(read_upstreams(variables).values())


(API, TOOLS) = upstreams(API=2, TOOLS=2)


class Call:
    """A call that takes a place, and releases it on request."""

    def __init__(self, calls: UserCalls, owner: Owner, upstream: Upstream = API) -> None:
        self.is_open = False
        self._leave = asyncio.Event()
        self.task = asyncio.ensure_future(self._call(calls, owner, upstream))

    async def _call(self, calls: UserCalls, owner: Owner, upstream: Upstream) -> None:
        async with calls.place(owner, upstream):
            self.is_open = True
            await self._leave.wait()
        self.is_open = False

    async def end(self) -> None:
        self._leave.set()
        await self.task
        await turns()

    @property
    def code(self) -> str:
        """What it was refused with."""
        error = self.task.exception()
        assert isinstance(error, Problem)
        return f"{error.status} {error.code} after {error.headers['Retry-After']}"


def admitted_calls(calls: list[Call]) -> list[bool]:
    return [each.is_open for each in calls]


def of(person: str, count: int, calls: UserCalls, upstream: Upstream = API) -> list[Call]:
    """Begin calls of one person, each by an app of its own."""
    return [Call(calls, Owner(f"{person}'s app {n}", person), upstream) for n in range(count)]


@on_moved_clock
async def test_person_has_twice_the_limit_of_a_client_without_affecting_others() -> None:
    calls = UserCalls(FEW)
    ada, grace = of("ada", 6, calls), of("grace", 1, calls)
    await turns()
    assert admitted_calls(ada) == [True] * 4 + [False] * 2
    assert admitted_calls(grace) == [True]
    await ada[1].end()
    assert admitted_calls(ada) == [True, False, True, True, True, False]
    for each in [*ada[:1], *ada[2:], *grace]:
        await each.end()
    assert len(calls) == 0


@on_moved_clock
async def test_upstreams_share_one_limit_but_do_not_block_each_other() -> None:
    calls = UserCalls(FEW)
    first, second = of("ada", 6, calls, API), of("ada", 4, calls, TOOLS)
    await turns()
    assert admitted_calls(first) == [True] * 4 + [False] * 2
    assert admitted_calls(second) == [True, True, False, False]
    await second[0].end()
    assert admitted_calls(second) == [False, True, True, False]
    await first[0].end()  # Those that wait for this upstream have no place in all yet.
    assert sum(admitted_calls(first)) + sum(admitted_calls(second)) == 6
    for each in [*first, *second]:
        await each.end()
    assert len(calls) == 0


@on_moved_clock
async def test_call_that_waits_too_long_is_asked_to_retry() -> None:
    calls = UserCalls(FEW)
    ada = of("ada", 5, calls)
    await advance(API.connect_timeout - 1)
    assert not ada[4].task.done()
    await advance(1)
    assert ada[4].code == "503 busy after 5"
    late = Call(calls, Owner("late", "ada"))
    await ada[0].end()
    assert late.is_open
    for each in [*ada[1:4], late]:
        await each.end()
    assert len(calls) == 0


@on_moved_clock
async def test_call_beyond_the_waiting_limit_is_rejected_immediately() -> None:
    calls = UserCalls(FEW)
    ada = of("ada", 4 + FEW.waiting + 1, calls)
    await turns()
    assert ada[-1].code == "503 busy after 5"
    assert not [each for each in ada[:-1] if each.task.done()]
    grace = of("grace", 5, calls)
    await turns()
    assert admitted_calls(grace) == [True] * 4 + [False]
    assert not grace[4].task.done()  # She waits in her own queue.
    for each in [*ada[:-1], *grace]:
        await each.end()
    assert len(calls) == 0


@on_moved_clock
async def test_app_that_waits_with_many_keeps_no_other_app_of_the_person_from_its_turn() -> None:
    calls = UserCalls(UserLimits(per_upstream=100, in_all=100, waiting=100))
    greedy = [Call(calls, Owner("greedy", "ada")) for _ in range(30)]
    modest = Call(calls, Owner("modest", "ada"))
    await turns()
    await greedy[0].end()
    await greedy[1].end()
    assert modest.is_open
    for each in [*greedy[2:], modest]:
        await each.end()


@pytest.mark.parametrize("has_turn", [False, True])
def test_cancelled_waiting_call_frees_its_place(has_turn: bool) -> None:
    @on_moved_clock
    async def cancel() -> None:
        calls = UserCalls(FEW)
        ada = of("ada", 5, calls)
        await turns()
        if has_turn:
            ada[0]._leave.set()
            await asyncio.sleep(0)  # It has left, and the other does not know yet.
        ada[4].task.cancel()
        await asyncio.wait([ada[4].task])
        assert ada[4].task.cancelled()
        for each in ada[:4]:
            await each.end()
        assert len(calls) == 0

    cancel()


def test_limits_are_those_of_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "descriptor_limit", lambda: 65_536)
    usual = user_limits(upstreams(A=64, B=64, C=64))
    assert (usual.at(upstreams(A=64)[0]), usual.in_all) == (128, 256)
    assert user_limits(upstreams(A=10)).in_all == 256
    assert user_limits([]).in_all == 256
    large = user_limits(upstreams(A=64, B=200))
    assert [large.at(each) for each in upstreams(A=64, B=200)] == [128, 400]
    assert large.in_all == 400


@pytest.mark.parametrize("most", [1, 64, 1000, 10_000])
def test_whatever_is_configured_one_person_leaves_half_to_others(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    (upstream,) = upstreams(A=most)
    for allowed in [-1, *range(0, 70_000, 97)]:
        monkeypatch.setattr(descriptors, "descriptor_limit", lambda allowed=allowed: allowed)
        limits, pool = user_limits([upstream]), upstream_client.limits()
        assert 1 <= limits.in_all <= pool.in_all / 2
        assert 1 <= limits.at(upstream) <= pool.per_upstream / 2
        # What they hold of the clients' connections, of which there are as many.
        assert limits.waiting >= 1
        clients = descriptors.max_connections(allowed)
        assert limits.in_all + limits.waiting <= clients * 3 / 4
        assert 1 <= pool.idle_per_person <= max(1, pool.idle / 4)


def test_limit_applies_per_key_and_a_free_slot_is_reused() -> None:
    slots = CallerSlots()
    with slots.take("a", 2), slots.take("a", 2), slots.take("b", 1):
        with pytest.raises(Problem) as refused, slots.take("a", 2):
            pass
        assert refused.value.status == 429
    with slots.take("a", 1):
        assert len(slots) == 1
    assert len(slots) == 0


def test_rejected_key_is_not_remembered() -> None:
    slots = CallerSlots()
    with pytest.raises(Problem), slots.take("a", 0):
        pass
    assert len(slots) == 0


def test_slot_of_a_call_that_fails_is_given_back() -> None:
    slots = CallerSlots()
    with pytest.raises(RuntimeError), slots.take("a", 1):
        raise RuntimeError
    assert len(slots) == 0
