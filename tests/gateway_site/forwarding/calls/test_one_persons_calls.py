"""One person with many apps, sessions and addresses, and the calls of another meanwhile."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.gateway_site.support.client_tokens import Caller
from tests.gateway_site.support.gateways import Gateway, running_gateway
from tests.support.waiting import wait_until

CLIENT_MAY = 2  # calls of one client that `scarce` and `open` let be open
PERSON_MAY = 2 * CLIENT_MAY
GRANTS, EACH = 33, 64  # all connections of an upstream, 2,048, are fewer than that


@dataclass
class Response:
    """The head of a response, and the connection on which its body is still to come."""

    head: bytes
    writer: asyncio.StreamWriter

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    @property
    def problem(self) -> str:
        """The problem's code, which tells the gateway's responses from an upstream's."""
        _, there, rest = self.head.lower().partition(b"\r\nx-gateway-problem: ")
        return rest.partition(b"\r\n")[0].decode() if there else ""


async def send_call(gateway: Gateway, path: str, *headers: str) -> Response:
    """Make a call by a connection of its own; return the response once its head is there."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    lines = [f"GET /gateway/{path} HTTP/1.1", f"Host: 127.0.0.1:{gateway.port}", *headers]
    writer.write("\r\n".join([*lines, "\r\n"]).encode())
    return Response(await reader.readuntil(b"\r\n\r\n"), writer)


def bearer(token: str) -> str:
    return f"Authorization: Bearer {token}"


def cookie(gateway: Gateway, number: int) -> str:
    return f"Cookie: gateway_sessionid={gateway.keys[number]}"


def tokens(gateway: Gateway, upstream: str, count: int) -> list[str]:
    """Return the access tokens of so many apps that the first person allows."""
    return [Caller.allowed(gateway, upstream).access_token for _ in range(count)]


@asynccontextmanager
async def calling(calls: Sequence[asyncio.Task[Response]]) -> AsyncIterator[None]:
    """End all calls with the block."""
    try:
        yield
    finally:
        for each in calls:
            each.cancel()
            if each.done() and not each.cancelled():
                each.result().writer.close()
        await asyncio.wait(calls)


def calls_of(gateway: Gateway, path: str, shown: Sequence[str]) -> list[asyncio.Task[Response]]:
    return [asyncio.ensure_future(send_call(gateway, path, each)) for each in shown]


@pytest.fixture(autouse=True)
def _nothing_stays(request: pytest.FixtureRequest) -> Iterator[None]:
    """Assert that calls which are over are counted no more."""
    yield
    if "gateway" in request.fixturenames:
        gateway: Gateway = request.getfixturevalue("gateway")
        wait_until(lambda: gateway.control("slots") == "0", "the calls are over")


async def test_apps_of_one_person_share_twice_the_limit_of_one_app(gateway: Gateway) -> None:
    shown = [bearer(each) for each in tokens(gateway, "scarce", 9) for _ in range(CLIENT_MAY)]
    calls = calls_of(gateway, "scarce/events?case=of%20one%20person", shown)
    async with calling(calls):
        another = await send_call(gateway, "scarce/x", cookie(gateway, -1))
        another.writer.close()
        responses = await asyncio.gather(*calls)
        counted = Counter((each.status, each.problem) for each in responses)
        assert counted == {(200, ""): PERSON_MAY, (503, "busy"): len(shown) - PERSON_MAY}
        assert all(b"retry-after: 5" in each.head.lower() for each in responses if each.problem)
        assert gateway.state()["open streams of one person"] == PERSON_MAY
        assert (another.status, another.problem) == (200, "")


async def test_call_behind_open_streams_is_made_when_one_ends(gateway: Gateway) -> None:
    first, second, third = map(bearer, tokens(gateway, "open", 3))
    streams = calls_of(gateway, "open/events", [first, first, second, second])
    async with calling(streams):
        (ended, *_) = await asyncio.gather(*streams)
        short = calls_of(gateway, "open/x", [third])
        async with calling(short):
            assert not (await asyncio.wait(short, timeout=0.1))[0]
            ended.writer.close()
            response = await short[0]
            assert (response.status, response.problem) == (200, "")


async def test_sessions_apps_and_addresses_of_a_person_count_together(gateway: Gateway) -> None:
    one, other = map(bearer, tokens(gateway, "scarce", 2))
    shown = [one, one, cookie(gateway, 0), cookie(gateway, 1)]
    streams = [
        asyncio.ensure_future(
            send_call(gateway, "scarce/events", each, f"X-Forwarded-For: 192.0.2.{number}")
        )
        for number, each in enumerate(shown)
    ]
    async with calling(streams):
        assert {each.status for each in await asyncio.gather(*streams)} == {200}
        refused = await send_call(gateway, "scarce/x", other, "X-Forwarded-For: 198.51.100.1")
        refused.writer.close()
        assert (refused.status, refused.problem) == (503, "busy")
        another = await send_call(gateway, "scarce/x", cookie(gateway, -1))
        another.writer.close()
        assert another.status == 200


async def test_client_at_its_limit_is_rejected_immediately(gateway: Gateway) -> None:
    (own,) = tokens(gateway, "scarce", 1)
    streams = calls_of(gateway, "scarce/events", [bearer(own)] * CLIENT_MAY)
    async with calling(streams):
        await asyncio.gather(*streams)
        refused = await send_call(gateway, "scarce/x", bearer(own))
        refused.writer.close()
        assert (refused.status, refused.problem) == (429, "too_many_calls")


@pytest.mark.long
async def test_33_apps_with_64_calls_each_delay_nobody(tmp_path: Path) -> None:
    """By default settings, as one person's apps once took all connections of an upstream."""
    usual = {"UPSTREAM_OPEN_MAX_CONCURRENT": str(EACH)}
    with running_gateway(tmp_path, variables=usual) as gateway:
        shown = [bearer(each) for each in tokens(gateway, "open", GRANTS) for _ in range(EACH)]
        held: list[asyncio.Task[Response]] = []
        async with calling(held):
            for first in range(0, len(shown), EACH):
                held += calls_of(gateway, "open/events", shown[first : first + EACH])
                await call_as_another(gateway)
            responses = await asyncio.gather(*held)
            open_ = [each for each in responses if each.status == 200]
            assert len(open_) == gateway.state()["open streams"] == 2 * EACH
            assert {each.problem for each in responses if each not in open_} == {"busy"}
            for _ in range(20):
                await call_as_another(gateway)


async def call_as_another(gateway: Gateway) -> None:
    response = await send_call(gateway, "open/x", cookie(gateway, -1))
    response.writer.close()
    assert (response.status, response.problem) == (200, "")
