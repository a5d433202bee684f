"""The calls of KMS and DynamoDB that real requests make, counted by a hook in boto."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django
from django.core.management import call_command

from sessions_kms.services import services
from tests.bench import aws
from tests.bench.calls import counted, deletes, puts, reads
from tests.bench.gateway_environment import environment
from tests.bench.result import Section, Table, Target
from tests.bench.scale import Scale
from tests.oauth.support import fake_provider
from tests.oauth.support.fake_provider import FakeProvider

PER = 1000
LOGIN = "/accounts/oidc/corp/login/"
# Of the puts one is the tombstone of the key before the sign-in, and one what lists show.
LIMITS = {"puts": (puts, 6), "deletes": (deletes, 0), "reads": (reads, 3)}
NOTES = [
    "The gateway itself, in process, with its whole middleware; KMS is the local one, DynamoDB is "
    "roto, which stores and checks conditions. An operation that takes two requests (a sign-in is "
    "a start and a callback) counts as one here.",
    "A process reads the item of the moment before which no session counts every 30 s, however "
    "many requests it serves: it has a column of its own.",
]


def run(scale: Scale, folder: Path) -> Section:
    section = Section("Calls of AWS, for 1,000 requests", list(NOTES))
    with aws.running("storing", folder) as found, fake_provider.serving(FakeProvider) as provider:
        os.environ |= environment(
            found, folder, issuer=provider.issuer, upstream="http://127.0.0.1:9"
        )
        django.setup(set_prefix=False)
        call_command("migrate", verbosity=0)
        with counted() as calls:
            services().probe()  # A process's first data key is not a request's.
            counts = _counts(calls, provider, scale.counted)
    operations = sorted({name for each in counts.values() for name in each})
    rows = [
        (name, *(f"{each[operation] * PER / scale.counted:,.0f}" for operation in operations))
        for name, each in counts.items()
    ]
    section.tables.append(Table("Calls for 1,000 requests", ("", *operations), rows))
    signed_in = counts["sign-in"]
    for what, (number, limit) in LIMITS.items():
        each = round(number(signed_in) / scale.counted, 2)
        section.targets.append(Target(f"sign-in: {what}", limit, each))
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
    return found


class Person:
    """Somebody at a browser: the gateway in process, the provider over HTTP."""

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


def _expect(response: Any, status: int) -> None:
    if response.status_code != status:
        raise RuntimeError(f"{response.status_code} instead of {status}: {response.content!r}")
