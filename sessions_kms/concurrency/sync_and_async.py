"""The base of middlewares that are written once, for Django's threads and for its event loop.

A middleware is a coroutine (`process`): it handles the request, calls `self.await_response`, and
handles the response. Under ASGI, Django's MiddlewareMixin runs both halves in separate thread
calls, and cannot hold a context manager around the view.
https://docs.djangoproject.com/en/stable/topics/http/middleware/#asynchronous-support

Does not depend on Django: requests and responses are opaque.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction

from sessions_kms.concurrency.threads import in_djangos_thread
from sessions_kms.concurrency.waits import BlockingCall, run_sync


class SyncAndAsyncMiddleware:
    """A middleware in the form that Django requires; subclasses define `process`."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any | Awaitable[Any]:
        """Return the response, or an awaitable of it."""
        coroutine = self.process(request)
        return coroutine if self._is_async else run_sync(coroutine)

    async def process(self, request: Any) -> Any:
        """Do this middleware's work around one request, and return the response."""
        raise NotImplementedError

    async def await_response(self, request: Any) -> Any:
        """Call the inner middlewares and the view; return their response."""
        response = self.get_response(request)
        return await response if self._is_async else response


class CallInDjangosThread(BlockingCall):
    """A call that may use Django's database: an event loop makes it in the request's thread."""

    async def suspend(self) -> Any:
        """Make it in the thread in which Django manages the connections."""
        return await in_djangos_thread(self.function, *self.args)
