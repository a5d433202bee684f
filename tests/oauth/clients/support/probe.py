"""A gateway in a separate process, called as by a client: `python -m …probe`.

It prints what its addresses answer, what was asked of the table, and which modules are loaded.
"""

from __future__ import annotations

import json
import sys

import django

POSTED = ("/oauth/register", "/oauth/token", "/oauth/revoke", "/apps/end-all/")
FETCHED = (
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-protected-resource/gateway/tools",
    "/.well-known/oauth-authorization-server",
    "/oauth/authorize",
    "/apps/",
)


def main() -> None:
    django.setup(set_prefix=False)
    from django.test import Client

    from gateway_site import asgi  # noqa: F401 - as a server does
    from tests.sessions_kms.support.stacks import fake_stack, install
    from tests.support.clock import FakeClock

    stack = fake_stack(FakeClock(1_800_000_000))
    install(stack.services)
    client = Client(headers={"host": "127.0.0.1"})
    answers = {path: client.post(path).status_code for path in POSTED}
    answers |= {path: client.get(path).status_code for path in FETCHED}
    bearer = {"authorization": "Bearer gwa_" + "a" * 32}
    called = client.post("/gateway/tools/x", headers=bearer)
    told = {
        "answers": answers,
        "challenge": called.get("WWW-Authenticate", ""),
        "calls": stack.dynamodb.calls,
        "modules": sorted(sys.modules),
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
