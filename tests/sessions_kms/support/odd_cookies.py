"""White space and other characters in cookies, sent under ASGI."""

import asyncio
from typing import Any

from django.test import AsyncClient

BY_SERVERS = b" \t\r\n"  # what no header's value may hold, or what a browser trims itself

SPACES = [chr(code) for code in range(0x10000) if chr(code).isspace()]  # none is beyond

ODD_BYTES = sorted(
    {space.encode("latin-1") for space in SPACES if ord(space) < 256}.union(
        space.encode() for space in SPACES
    ).difference(bytes([each]) for each in BY_SERVERS)
)


def get_by_asgi(cookie: bytes, path: str) -> Any:
    return asyncio.run(AsyncClient().get(path, headers={"Cookie": cookie.decode("latin-1")}))
