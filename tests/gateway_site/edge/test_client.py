"""Which request ends when the bodies that are being received take too much memory."""

import random
from dataclasses import dataclass, field

import pytest

from gateway_site.edge.client import BODY_KEY, Client, ReceivedBodies, ReceivedBody
from gateway_site.rules.body import CHUNKED, REPLAY_MAX, RequestBody

LIMIT = 1_000_000
PIECE = 100_000


@dataclass
class Request:
    """A request whose client sends and whose application takes, as a test tells them to."""

    bodies: ReceivedBodies
    body: ReceivedBody = field(init=False)
    has_ended: bool = False
    sent: list[bytes] = field(default_factory=list)  # and not taken

    def __post_init__(self) -> None:
        self.body = self.bodies.begin(self)
        self.client = Client({"headers": [], BODY_KEY: self.body}, self._receive)

    def end_body(self) -> None:
        self.has_ended = True

    def send(self, size: int) -> None:
        self.sent.append(b"x" * size)
        self.body.add(size)

    async def _receive(self) -> dict[str, object]:
        piece, self.sent = b"".join(self.sent), []
        return {"type": "http.request", "body": piece, "more_body": True}


@pytest.fixture
def bodies() -> ReceivedBodies:
    return ReceivedBodies(LIMIT)


def requests(bodies: ReceivedBodies, count: int) -> list[Request]:
    made = [Request(bodies) for _ in range(count)]
    for each in made:
        each.send(PIECE)
    return made


def test_no_request_is_ended_below_the_limit(bodies: ReceivedBodies) -> None:
    made = requests(bodies, LIMIT // PIECE)
    assert not any(each.has_ended for each in made)


def test_oldest_request_is_ended_whichever_client_sends_most(bodies: ReceivedBodies) -> None:
    made = requests(bodies, 5)
    made[4].send(LIMIT - 5 * PIECE)
    assert not any(each.has_ended for each in made)
    made[2].send(1)
    assert [each.has_ended for each in made] == [True] + [False] * 4


async def test_page_that_has_its_body_is_as_old_as_the_body(bodies: ReceivedBodies) -> None:
    made = requests(bodies, 10)
    await made[0].client.receive()
    Request(bodies).send(1)
    assert made[0].has_ended


async def test_work_that_has_begun_is_not_ended(bodies: ReceivedBodies) -> None:
    made = requests(bodies, 10)
    await made[0].client.receive()
    made[0].body.complete()
    made[0].client.start_work()
    assert bodies.size == 9 * PIECE
    Request(bodies).send(2 * PIECE)
    assert [each.has_ended for each in made] == [False, True] + [False] * 8


@pytest.mark.parametrize("is_taken", [False, True])
async def test_work_does_not_begin_before_the_body_is_complete(
    bodies: ReceivedBodies, is_taken: bool
) -> None:
    """Else a request that waits with its body unread would not count."""
    [request] = requests(bodies, 1)
    if is_taken:
        await request.client.receive()
    else:
        request.body.complete()
    request.client.start_work()
    assert bodies.size == PIECE


async def test_call_counts_for_the_piece_that_its_upstream_has_not_taken(
    bodies: ReceivedBodies,
) -> None:
    """And for that which waits behind it; what was passed on is nobody's memory."""
    request = Request(bodies)
    pieces = RequestBody(request.client, [CHUNKED], 10**9).pieces()
    for _ in range(50):
        request.send(PIECE)
        assert len(await anext(pieces)) == PIECE
        assert bodies.size <= 2 * PIECE
    request.send(PIECE)
    assert bodies.size == 2 * PIECE


async def test_call_counts_the_body_it_keeps_for_repetition(bodies: ReceivedBodies) -> None:
    request = Request(bodies)
    pieces = RequestBody(request.client, [CHUNKED], 10**9).pieces()
    for count in range(1, 9):
        request.send(REPLAY_MAX // 8)
        await anext(pieces)
        assert bodies.size == count * REPLAY_MAX // 8
    request.send(1)
    await anext(pieces)
    request.send(1)
    await anext(pieces)
    assert bodies.size == 1


async def test_call_that_moves_on_is_younger_than_one_that_stalls(bodies: ReceivedBodies) -> None:
    """So no flood ends an upload that has been going on for minutes."""
    long, stalled = Request(bodies), Request(bodies)
    pieces = RequestBody(long.client, [CHUNKED], 10**9).pieces()
    for _ in range(3):
        long.send(PIECE)
        await anext(pieces)
    stalled.send(PIECE)
    long.send(PIECE)
    await anext(pieces)
    for _ in range(2):
        flood = requests(bodies, LIMIT // PIECE // 2)
        assert not any(each.has_ended for each in flood)
        long.send(PIECE)
        await anext(pieces)
    assert (stalled.has_ended, long.has_ended) == (True, False)


@pytest.mark.parametrize("seed", range(8))
async def test_sum_is_kept_below_the_limit_whatever_happens(
    bodies: ReceivedBodies, seed: int
) -> None:
    dice = random.Random(seed)  # noqa: S311 - no secret
    made = [Request(bodies) for _ in range(50)]
    for _ in range(1000):
        request = dice.choice(made)
        match dice.randrange(8):
            case 0:
                await request.client.receive()
            case 1:
                request.client.stream_body()
            case 2:
                request.body.complete()
                request.client.start_work()
            case 3:
                request.body.close()
            case _:
                request.send(dice.randrange(PIECE))
        assert bodies.size == sum(each.body.size for each in made) <= LIMIT
        assert len(bodies) == sum(each.body.size > 0 for each in made)
    for request in made:
        request.body.close()
    assert (bodies.size, len(bodies)) == (0, 0)
