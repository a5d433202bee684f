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
def usual() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("usual")
async def test_collector_looks_at_nothing_that_was_there_at_the_start(settings: Settings) -> None:
    settings.DRAIN_SECONDS = 0
    frozen = gc.get_freeze_count()  # by the run of the tests: see conftest
    there: list[object] = [[]]
    assert any(each is there for each in gc.get_objects())
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
    assert gc.get_freeze_count() > frozen
    assert gc.get_threshold()[0] == lifespan.YOUNG
