"""A gateway in a separate process, called as by a client: `python -m …probe`.

It prints what its addresses answer, what was asked of the table, and which modules are loaded.
"""

import asyncio
import json
import sys
from typing import Any

import django

POSTED = ("/oauth/register", "/oauth/token", "/oauth/revoke", "/apps/end-all/")
FETCHED = (
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-protected-resource/gateway/tools",
    "/.well-known/oauth-authorization-server",
    "/oauth/authorize",
    "/apps/",
)


async def call(application: Any) -> str:
    """Call an upstream with a made-up token; return the challenge."""
    told: list[dict[str, Any]] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        told.append(message)

    path = "/gateway/tools/x"
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "scheme": "http",
        "headers": [(b"host", b"127.0.0.1"), (b"authorization", b"Bearer gwa_" + b"a" * 32)],
    }
    await application(scope, receive, send)
    headers = {name.lower(): value for name, value in told[0]["headers"]}
    return str(headers.get(b"www-authenticate", b""), "ascii")


def main() -> None:
    django.setup(set_prefix=False)
    from django.test import Client

    from gateway_site import asgi
    from tests.sessions_kms.support.stacks import fake_stack, install
    from tests.support.clock import FakeClock

    stack = fake_stack(FakeClock(1_800_000_000))
    install(stack.services)
    client = Client(headers={"host": "127.0.0.1"})
    responses = {path: client.post(path).status_code for path in POSTED}
    responses |= {path: client.get(path).status_code for path in FETCHED}
    challenge = asyncio.run(call(asgi.django_application))
    told = {
        "answers": responses,
        "challenge": challenge,
        "calls": stack.dynamodb.calls,
        "modules": sorted(sys.modules),
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
