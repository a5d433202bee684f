"""Requests of a handler in this process, as an ASGI server makes them."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User

from gateway_site.forwarding.asgi import GatewayHandler
from sessions_kms.backend import SessionStore

Response = tuple[int, bytes, list[tuple[bytes, bytes]]]
TIMEOUT = 30  # seconds until a test that waits forever fails


def a_session(**content: Any) -> str:
    session = SessionStore()
    session.update(content)
    session.save()
    return str(session.session_key)


def signed_in_key(person: int) -> str:
    return a_session(
        **{
            SESSION_KEY: str(person),
            BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
            HASH_SESSION_KEY: User(pk=person).get_session_auth_hash(),
        }
    )


def in_a_new_loop(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run in a thread that has no connection to the database, as a server's has none."""

    async def run_bounded() -> Any:
        async with asyncio.timeout(TIMEOUT):
            return await work()

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(lambda: asyncio.run(run_bounded())).result()


async def ask(
    handler: GatewayHandler,
    address: str,
    key: str = "",
    root: str = "",
    *,
    method: str = "GET",
    token: str | None = None,
) -> Response:
    """Return status, content and headers of a raw ASGI call."""
    where, _, query = address.partition("?")
    told: list[dict[str, Any]] = []
    shown = (b"cookie", f"gateway_sessionid={key}".encode())
    if token is not None:
        shown = (b"authorization", f"Bearer {token}".encode())
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": root + where,
        "raw_path": (root + where).encode(),
        "query_string": query.encode(),
        "root_path": root,
        "scheme": "http",
        "headers": [(b"host", b"127.0.0.1"), shown],
    }

    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        return await asyncio.get_running_loop().create_future()  # The client stays.

    async def send(message: Any) -> None:
        told.append(message)

    await asyncio.create_task(handler(scope, receive, send))
    start, *pieces = told
    return start["status"], b"".join(piece.get("body", b"") for piece in pieces), start["headers"]


async def forward_call(call: Any, client: Any, send: Any, extra: Any) -> None:
    """Answer in place of the proxy, with the person's id."""
    await send({"type": "http.response.start", "status": 200, "headers": extra})
    await send({"type": "http.response.body", "body": call.owner.person.encode()})
