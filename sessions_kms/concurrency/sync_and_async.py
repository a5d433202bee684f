"""The shell of a middleware that is written once, for Django's threads and for its event loop.

A middleware is a generator of steps (`steps`): what it does with a request, `yield from
self.answer(request)`, what it does with the response. Django's own MiddlewareMixin sends both
halves through a thread of their own under ASGI, and has no place for what is held meanwhile.
https://docs.djangoproject.com/en/stable/topics/http/middleware/#asynchronous-support

Knows no Django: requests and responses are whatever goes through.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction

from sessions_kms.concurrency.executors import in_djangos_thread
from sessions_kms.concurrency.steps import Call, Steps, arun, run


class SyncAndAsyncMiddleware:
    """A middleware's steps in the form that Django wants; subclasses give the steps."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any | Awaitable[Any]:
        """Return the response, or what is awaited for it."""
        steps = self.steps(request)
        return arun(steps) if self._is_async else run(steps)

    def steps(self, request: Any) -> Steps[Any]:
        """Return the work of this middleware around one request."""
        raise NotImplementedError

    def answer(self, request: Any) -> Steps[Any]:
        """Have what is further in answer the request, and return its response."""
        if not self._is_async:
            return self.get_response(request)  # A wait for it would cost more than all else here.
        return (yield _Answer(self.get_response, request))


@dataclass(frozen=True)
class _Answer:
    """What is further in answers."""

    get_response: Callable[[Any], Any]
    request: Any

    def blocking(self) -> Any:
        raise NotImplementedError  # There it is called without a wait.

    async def looping(self) -> Any:
        return await self.get_response(self.request)


class CallInDjangosThread(Call):
    """A call that may use Django's database: an event loop has it made in the request's thread."""

    async def looping(self) -> Any:
        """Make it where Django looks after the connections."""
        return await in_djangos_thread(self.function, *self.args)
