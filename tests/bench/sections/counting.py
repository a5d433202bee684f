"""The calls to KMS and DynamoDB that real requests make, counted where they are sent."""

from __future__ import annotations

import asyncio
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import django
from django.core.management import call_command

from oauth.clients.token_pair import REFRESHES_MAX
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.services import services
from tests.bench import aws
from tests.bench.calls import counted, deletes, lone_puts, puts, reads, transactions, writes
from tests.bench.gateway_environment import CLIENTS, UPSTREAM, environment
from tests.bench.result import Section, Table, Target
from tests.bench.scale import Scale
from tests.oauth.support import fake_provider
from tests.oauth.support.fake_provider import FakeProvider

PER = 1000
LOGIN = "/accounts/oidc/corp/login/"
# One of the puts is the tombstone of the session key before the sign-in, and one the metadata for
# lists. One of the reads, also of a refresh, reads again what the transaction has written.
LIMITS = {
    "sign-in": {"puts": (puts, 6), "deletes": (deletes, 0), "reads": (reads, 4)},
    "a client's call": {"reads": (reads, 1), "writes": (writes, 0)},
    "a client's refresh": {
        "reads": (reads, 3),
        "puts": (lone_puts, 1),
        "transactions": (transactions, 1),
    },
}
NOTES = [
    "The gateway itself, in process, with its whole middleware; KMS is the local one, DynamoDB is "
    "roto, which stores items and checks conditions. An operation of two requests (a sign-in is a "
    "start and a callback) counts as one.",
    "Each process reads the item of the not-before cutoff every 30 s, regardless of the number of "
    "requests: it has a separate column. If there is no such item, it is read twice.",
    "The items of a transaction are read once more, on another connection: one read for each "
    "sign-in and each refresh.",
]


def run(scale: Scale, folder: Path) -> Section:
    section = Section("Calls of AWS, for 1,000 requests", list(NOTES), on_page=False)
    with aws.running("storing", folder) as found, fake_provider.serving(FakeProvider) as provider:
        os.environ |= environment(
            found, folder, issuer=provider.issuer, upstream="http://127.0.0.1:9"
        )
        # Without the gateway's log lines about the missing upstream.
        os.environ |= CLIENTS | {"LOG_LEVEL": "ERROR"}
        django.setup(set_prefix=False)
        call_command("migrate", verbosity=0)
        with counted() as calls:
            services().probe()  # The process's first data key does not count for a request.
            counts = _counts(calls, provider, scale.counted)
    operations = sorted({name for each in counts.values() for name in each})
    rows = [
        (name, *(f"{each[operation] * PER / scale.counted:,.0f}" for operation in operations))
        for name, each in counts.items()
    ]
    section.tables.append(Table("Calls for 1,000 requests", ("", *operations), rows))
    for name, limits in LIMITS.items():
        for what, (number, limit) in limits.items():
            each = round(number(counts[name]) / scale.counted, 2)
            section.targets.append(Target(f"{name}: {what}", limit, each))
    return section


def _counts(calls: Counter[str], provider: FakeProvider, times: int) -> dict[str, Counter[str]]:
    def count(request: Callable[[], Any]) -> Counter[str]:
        before = calls.copy()
        for _ in range(times):
            request()
        return calls - before

    person = Person(provider)
    found = {"anonymous page": count(lambda: person.anonymous().get("/"))}
    others = [Person(provider) for _ in range(times)]
    signing_in, signing_out = iter(others), iter(others)
    found["sign-in"] = count(lambda: next(signing_in).sign_in())
    found["sign-out"] = count(lambda: next(signing_out).sign_out())
    person.sign_in()
    found["read the session"] = count(lambda: person.get("/bench/read"))
    found["modify the session"] = count(lambda: person.get("/bench/modify"))
    found["home page, signed in"] = count(lambda: person.get("/"))
    client = Client()
    client.call()  # The session of a token is looked up once a minute.
    found["a client's call"] = count(client.call)
    # A grant may be refreshed ten times a minute.
    refreshing = cycle([Client() for _ in range(math.ceil(times / REFRESHES_MAX))])
    found["a client's refresh"] = count(lambda: next(refreshing).refresh())
    return found


class Person:
    """A person with a browser: the gateway runs in process, the provider over HTTP."""

    def __init__(self, provider: FakeProvider) -> None:
        self._provider = provider
        self._client = self.anonymous()

    @staticmethod
    def anonymous() -> Any:
        from django.test import Client

        return Client(SERVER_NAME="127.0.0.1")

    def get(self, path: str) -> None:
        _expect(self._client.get(path), 200)

    def sign_in(self) -> None:
        started = self._client.post(LOGIN)
        _expect(started, 302)
        _expect(self._client.get(self._provider.consent(started["Location"])), 302)

    def sign_out(self) -> None:
        _expect(self._client.post("/accounts/logout/"), 302)


class Client:
    """An OAuth client that a person allowed."""

    def __init__(self) -> None:
        from tests.bench.person import client_token

        self._issued = client_token()

    def call(self) -> None:
        """Call the upstream, which does not listen: everything but the call itself is done."""
        status = asyncio.run(_call(f"/gateway/{UPSTREAM}/", self._issued.access_token))
        if status != 502:
            raise RuntimeError(f"{status} instead of 502")

    def refresh(self) -> None:
        from oauth.clients.grants import grants

        self._issued = run_sync(
            grants().refresh(
                self._issued.refresh_token,
                client_id="client",
                resource=None,
                scope=None,
                arrived_at=services().clock(),
                is_allowed=lambda _: True,
            )
        )


async def _call(path: str, token: str) -> int:
    """Call the gateway's ASGI application with a token; return the status."""
    from gateway_site.asgi import application

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {token}".encode())],
    }
    told: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            told.append(message["status"])

    await application(scope, receive, send)
    return told[0]


def _expect(response: Any, status: int) -> None:
    if response.status_code != status:
        raise RuntimeError(f"{response.status_code} instead of {status}: {response.content!r}")
