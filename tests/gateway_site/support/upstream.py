"""An upstream that returns its requests, and misbehaves on demand; run as a separate process.

    python -m tests.gateway_site.support.upstream PORT

State for tests is at `/_state`, which tests request without the gateway.
"""

import asyncio
import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Route, Router

from tests.oauth.support.dpop_checker import ProofChecker, Refused

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

PIECE = b"x" * 65536
state: Counter[str] = Counter()
told_to_go = asyncio.Event()
A_DAY = 24 * 3600.0  # seconds; the clock of the tests' gateway does not advance
checkers: dict[str, ProofChecker] = {}


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    path = scope["raw_path"].decode()
    query = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
    if path == "/_state":
        await respond(send, json.dumps(state).encode())
        return
    state["calls"] += 1
    state[path] += 1
    state[f"case {dict(scope['headers']).get(b'mcp-case', b'').decode()}"] += 1
    if path.startswith("/routed/"):
        await routed(scope, receive, send)  # type: ignore[arg-type]  # its own names for ASGI's
        return
    routes = {
        "/download": download,
        "/upload": upload,
        "/events": events,
        "/hang": hang,
        "/half": half,
        "/answer": respond_as,
        "/message": message,
        "/go": go,
        "/guarded": guarded,
        "/bound": bound,
        "/stalled-upload": stalled_upload,
    }
    await routes.get(path, echo)(scope, receive, send, query)


async def respond(
    send: Send, body: bytes, *, status: int = 200, headers: list[tuple[str, str]] | None = None
) -> None:
    named = headers if headers is not None else [("content-type", "application/json")]
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named]
    if not any(name.lower() in {b"content-length", b"transfer-encoding"} for name, _ in pairs):
        pairs.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


async def body_of(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def echo(scope: Scope, receive: Receive, send: Send, query: dict[str, str]) -> None:
    body = await body_of(receive)
    got = {
        "method": scope["method"],
        "path": scope["raw_path"].decode(),
        "query": scope["query_string"].decode(),
        "headers": [[name.decode("latin-1"), v.decode("latin-1")] for name, v in scope["headers"]],
        "body": body.decode("latin-1"),
    }
    await respond(send, json.dumps(got).encode())


async def download(scope: Scope, receive: Receive, send: Send, query: dict[str, str]) -> None:
    size = int(query["size"])
    headers = [(b"content-type", b"application/octet-stream")]
    if "length" in query:
        headers.append((b"content-length", str(size).encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    sent = 0
    while sent < size:
        piece = PIECE[: size - sent]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        sent += len(piece)
        state["bytes"] += len(piece)
    await send({"type": "http.response.body", "body": b""})


async def upload(scope: Scope, receive: Receive, send: Send, query: dict[str, str]) -> None:
    digest, size, more = hashlib.sha256(), 0, True
    case = query.get("case", "")  # so that a test counts its own uploads alone
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            state[f"aborted uploads {case}"] += 1
            return
        digest.update(message.get("body", b""))
        size += len(message.get("body", b""))
        state[f"bytes taken {case}"] = size
        more = message.get("more_body", False)
    await respond(send, json.dumps({"size": size, "sha256": digest.hexdigest()}).encode())


async def stalled_upload(scope: Scope, receive: Receive, send: Send, query: dict[str, str]) -> None:
    """Read nothing until a request of `/go`."""
    await told_to_go.wait()
    await upload(scope, receive, send, query)


async def go(scope: Scope, receive: Receive, send: Send, query: dict[str, str]) -> None:
    told_to_go.set()
    await respond(send, b"")


async def events(scope: Scope, receive: Receive, send: Send, query: dict[str, str]) -> None:
    """Send events after Last-Event-ID; after `count` events wait until the client disconnects.

    `case` in the query is part of the counter's name, so that a test counts its own streams only.
    """
    counter = f"open streams {query.get('case', '')}".rstrip()
    headers = dict(scope["headers"])
    first = int(headers.get(b"last-event-id", b"0")) + 1
    start = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": start})
    state[counter] += 1
    try:
        for number in range(first, first + int(query.get("count", "1"))):
            event = f"id: {number}\ndata: event {number}\n\n".encode()
            await send({"type": "http.response.body", "body": event, "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
    finally:
        state[counter] -= 1


async def hang(scope: Scope, receive: Receive, send: Send, query: dict[str, str]) -> None:
    """Never respond. `case` as for `events`."""
    counter = f"hanging {query.get('case', '')}".rstrip()
    state[counter] += 1
    try:
        while (await receive())["type"] != "http.disconnect":
            pass
    finally:
        state[counter] -= 1


async def half(scope: Scope, receive: Receive, send: Send, query: dict[str, str]) -> None:
    """Start a response, then close the connection, or with `silent` send nothing more."""
    headers = [(b"content-type", b"text/plain")]
    if "length" in query:
        headers.append((b"content-length", b"1000"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    if "silent" in query:
        await hang(scope, receive, send, query)


async def respond_as(scope: Scope, receive: Receive, send: Send, query: dict[str, str]) -> None:
    """Send the response in the query: `status`, `body`, and `headers` as a JSON list of pairs."""
    await body_of(receive)
    headers = [(name, value) for name, value in json.loads(query.get("headers", "[]"))]
    body = query.get("body", "").encode("latin-1")
    await respond(send, body, status=int(query.get("status", "200")), headers=headers)


async def message(scope: Scope, receive: Receive, send: Send, query: dict[str, str]) -> None:
    """Answer with a JSON-RPC result that has the request's headers and body."""
    body = await body_of(receive)
    headers = [[name.decode("latin-1"), v.decode("latin-1")] for name, v in scope["headers"]]
    result = {"method": scope["method"], "headers": headers, "body": body.decode("latin-1")}
    await respond(send, json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode())


async def guarded(scope: Scope, receive: Receive, send: Send, query: dict[str, str]) -> None:
    """Accept only the token in the query; with `early`, respond before the body has arrived."""
    body = b"" if "early" in query else await body_of(receive)
    token = dict(scope["headers"]).get(b"authorization", b"").decode()
    if token != f"Bearer {query['token']}":
        state["refused"] += 1
        await respond(
            send,
            b"refused",
            status=401,
            headers=[("www-authenticate", 'Bearer error="invalid_token"')],
        )
        return
    await respond(send, body)


async def bound(scope: Scope, receive: Receive, send: Send, query: dict[str, str]) -> None:
    """Accept only a token that is bound to the key of the proof, with the query's `nonce`.

    The nonces are those of a `case`. The token ends with the thumbprint of its key.
    """
    body = await body_of(receive)
    pairs = [(name.lower(), value.decode()) for name, value in scope["headers"]]
    named = dict(pairs)
    scheme, _, token = named.get(b"authorization", "").partition(" ")
    checker = checkers.setdefault(query["case"], ProofChecker(age_max=A_DAY))
    checker.nonce = query.get("nonce")
    url = f"http://{named[b'host']}{scope['raw_path'].decode()}?{scope['query_string'].decode()}"
    proofs = [value for name, value in pairs if name == b"dpop"]
    state[f"bound {query['case']}"] += 1
    headers = [("dpop-nonce", checker.nonce)] if checker.nonce else []
    try:
        jkt = checker.check(proofs, scope["method"], url, token, now=time.time())
        is_good = scheme == "DPoP" and token.removesuffix("-2").endswith(jkt)
        error = "" if is_good and query.get("token", "") in token else "invalid_token"
    except Refused as refused:
        error = refused.error
    if error:
        headers.append(("www-authenticate", f'DPoP error="{error}", algs="ES256"'))
        await respond(send, error.encode(), status=401, headers=headers)
        return
    headers.append(("dpop", "the-upstream's-own"))
    await respond(send, body, headers=headers)


async def listed(request: Request) -> RedirectResponse:
    """Redirect to a URL that is built from scheme and `Host`, as programs do."""
    return RedirectResponse(request.url_for("items"), headers={"X-Scheme": request.url.scheme})


async def items(request: Request) -> RedirectResponse:
    return RedirectResponse("/x")


# As in FastAPI: /routed/items is redirected to /routed/items/.
routed = Router([Route("/routed/items/", items, name="items"), Route("/routed/listed", listed)])


if __name__ == "__main__":
    uvicorn.run(application, port=int(sys.argv[1]), log_level="error", lifespan="off")
