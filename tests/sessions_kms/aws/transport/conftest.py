"""Both transports, asked in the same way."""

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest

from sessions_kms.aws.http1.answer import Answer, as_it_is
from sessions_kms.aws.http1.endpoint import Endpoint
from sessions_kms.aws.transport.blocking import BlockingTransport
from sessions_kms.aws.transport.looping import LoopingTransport
from sessions_kms.concurrency.deadline import Limits

PATIENT = Limits(connect=30, first_byte=30, attempt=30, call=30)


class Asks(Protocol):
    """A transport that blocks."""

    def ask(self, request: bytes, read: Callable[[Answer], Any] = ...) -> Any: ...


class InALoop:
    """The transport of event loops, whose loop stands still between two calls."""

    def __init__(self, transport: LoopingTransport, runner: asyncio.Runner) -> None:
        self._transport = transport
        self._runner = runner

    def ask(self, request: bytes, read: Callable[[Answer], Any] = as_it_is) -> Any:
        here = contextvars.copy_context()  # deadlines stand in it
        return self._runner.run(self._transport.ask(request, read), context=here)


Transport = Callable[..., Asks]


@pytest.fixture(params=["blocking", "looping"])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    """Make transports to a port, or an endpoint."""
    made: list[BlockingTransport] = []
    with asyncio.Runner() as runner:

        def make(to: int | Endpoint, *args: Any, limits: Limits = PATIENT, **kwargs: Any) -> Asks:
            endpoint = to if isinstance(to, Endpoint) else Endpoint("127.0.0.1", to, tls=False)
            if request.param == "looping":
                looping = LoopingTransport(endpoint, *args, limits=limits, **kwargs)
                return InALoop(looping, runner)
            made.append(BlockingTransport(endpoint, *args, limits=limits, **kwargs))
            return made[-1]

        yield make
    for each in made:
        each.close()
