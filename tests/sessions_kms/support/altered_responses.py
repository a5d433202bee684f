# ruff: noqa: S311 - no secrets
"""HTTP responses with random alterations."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

from tests.sessions_kms.aws.http_client.responses import ALL

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0")) or 4000

ODD = (
    b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b";", b",", b"0", b"1", b"+", b"-", b"_",
    b"\x0b", b"\x0c", b"\x1c", b"\x85", b"\xa0", b"\xff",
    b"\r\n ", b"\r\n\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n", b"HTTP/1.1 200 OK\r\n", b"0\r\n\r\n",
)  # fmt: skip


def insert(data: bytes, at: int) -> bytes:
    return data[:at] + random.choice(ODD) + data[at:]


def remove(data: bytes, at: int) -> bytes:
    return data[:at] + data[at + random.randint(1, 3) :]


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([random.randrange(256)]) + data[at + 1 :]


def repeat_a_line(data: bytes, at: int) -> bytes:
    lines = data.split(b"\r\n")
    number = at % len(lines)
    return b"\r\n".join([*lines[:number], lines[number], *lines[number:]])


def drop_a_line(data: bytes, at: int) -> bytes:
    lines = data.split(b"\r\n")
    del lines[at % len(lines)]
    return b"\r\n".join(lines)


def swap_an_end(data: bytes, at: int) -> bytes:
    return data[:at] + data[at:].replace(b"\r\n", random.choice((b"\n", b"\r", b"\n\r")), 1)


ALTERATIONS: tuple[Callable[[bytes, int], bytes], ...] = (
    insert,
    remove,
    flip,
    repeat_a_line,
    drop_a_line,
    swap_an_end,
)


def random_response() -> bytes:
    data = random.choice(ALL)
    for _ in range(random.choice((0, 1, 1, 1, 2, 3))):
        data = random.choice(ALTERATIONS)(data, random.randrange(len(data) or 1))
    return data
