"""What a server does once, at its start."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings

from gateway_site.server import lifespan


@pytest.fixture
def unfrozen() -> Iterator[None]:
    usual = gc.get_threshold()
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.set_threshold(*usual)


@pytest.mark.usefixtures("unfrozen")
async def test_collector_looks_at_nothing_that_was_there_at_the_start(settings: Settings) -> None:
    settings.DRAIN_SECONDS = 0
    there: list[object] = [[]]
    told: list[str] = []
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    for kind in ("startup", "shutdown"):
        messages.put_nowait({"type": f"lifespan.{kind}"})

    async def send(message: Any) -> None:
        told.append(message["type"])

    async def nothing(*_: Any) -> None:
        raise AssertionError

    await lifespan.asgi(nothing)({"type": "lifespan"}, messages.get, send)
    assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert not any(each is there for each in gc.get_objects())
    assert gc.get_freeze_count()
    assert gc.get_threshold()[0] == lifespan.YOUNG
