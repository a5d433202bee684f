"""Fixtures for both transports."""

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest

from sessions_kms.aws.http_client.asynchronous import AsyncPool
from sessions_kms.aws.http_client.blocking import BlockingPool
from sessions_kms.aws.http_client.connections import return_response
from sessions_kms.aws.http_client.response import Response
from sessions_kms.concurrency.deadline import Limits
from sessions_kms.http.connecting import Origin

PATIENT = Limits(connect=30, first_byte=30, attempt=30, call=30)


class Asks(Protocol):
    """A transport that blocks."""

    def send(self, request: bytes, read: Callable[[Response], Any] = ...) -> Any: ...


class InALoop:
    """The transport of event loops, whose loop does not run between two calls."""

    def __init__(self, transport: AsyncPool, runner: asyncio.Runner) -> None:
        self._transport = transport
        self._runner = runner

    def send(self, request: bytes, read: Callable[[Response], Any] = return_response) -> Any:
        here = contextvars.copy_context()  # deadlines stand in it
        return self._runner.run(self._transport.send(request, read), context=here)


Transport = Callable[..., Asks]


@pytest.fixture(params=["blocking", "looping"])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    """Make transports to a port, or an endpoint."""
    made: list[BlockingPool] = []
    with asyncio.Runner() as runner:

        def make(to: int | Origin, *args: Any, limits: Limits = PATIENT, **kwargs: Any) -> Asks:
            endpoint = to if isinstance(to, Origin) else Origin("127.0.0.1", to, tls=False)
            if request.param == "looping":
                looping = AsyncPool(endpoint, *args, limits=limits, **kwargs)
                return InALoop(looping, runner)
            made.append(BlockingPool(endpoint, *args, limits=limits, **kwargs))
            return made[-1]

        yield make
    for each in made:
        each.close()
