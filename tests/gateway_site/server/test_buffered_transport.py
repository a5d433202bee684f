"""Writes are combined, and sent in order without loss or delay."""

import asyncio
from typing import Any

from gateway_site.server.buffered_transport import SMALL, BufferedTransport
from tests.gateway_site.server.served import Served, read_all


class Wire:
    """Takes down what is written, as a transport's other end would."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def is_closing(self) -> bool:
        return False


def responses() -> tuple[BufferedTransport, list[bytes]]:
    wire: Any = Wire()
    return BufferedTransport(wire, lambda: None, asyncio.get_running_loop()), wire.writes


async def test_head_and_available_body_are_one_write() -> None:
    transport, writes = responses()
    transport.write(b"head ")
    transport.write(b"body")
    assert writes == [b"head body"]
    await asyncio.sleep(0)
    assert writes == [b"head body"]


async def test_head_without_a_body_is_sent_in_the_next_loop_turn() -> None:
    transport, writes = responses()
    transport.write(b"head")
    assert writes == []
    await asyncio.sleep(0)
    assert writes == [b"head"]


async def test_every_byte_goes_out_once_and_in_order() -> None:
    transport, writes = responses()
    sizes = (1, SMALL, SMALL + 1, 0, 2, 3 * SMALL, 5, 6, 0, 7)
    pieces = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
    for number, piece in enumerate(pieces):
        transport.write(piece)
        if number % 3 == 1:
            await asyncio.sleep(0)
    transport.flush()
    await asyncio.sleep(0)
    assert b"".join(writes) == b"".join(pieces)
    assert all(writes)


async def test_large_body_is_not_buffered() -> None:
    transport, writes = responses()
    transport.write(b"x" * (SMALL + 1))
    assert len(writes) == 1


def test_response_without_a_body_arrives_though_the_connection_is_closed_after_it(
    served: Served,
) -> None:
    for path in (b"/", b"/heavy"):
        request = b"HEAD %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path
        found = read_all(served.connect(request))
        assert found.startswith(b"HTTP/1.1 200 OK\r\n")
        assert found.endswith(b"\r\n\r\n")
