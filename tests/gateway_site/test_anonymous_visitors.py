"""What visitors without an account can make the gateway store and read, by raw HTTP.

The attacker knows no more than what the pages say; the bystander signs in meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import pytest
from django.conf import settings
from pytest_django import Settings

from sessions_kms.format.attributes import item_size
from tests.gateway_site.server.served import exchange
from tests.gateway_site.support import made_up
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.sessions_kms.sites import serving
from tests.sessions_kms.support.stacks import Stack

SIGN_IN = "/accounts/oidc/corp/login/"
TOO_MUCH = 395 * 1024  # bytes: nearly what an item of DynamoDB takes
KEPT = 9 * 1024  # bytes: eight for what waits, and what a record adds


@dataclass
class Attacker:
    """Speaks HTTP/1.1 over a socket, and keeps the cookies that it is given."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict)
    token: str = ""

    def get(self, target: str) -> int:
        return self._send("GET", target)

    def post(self, target: str, more: str = "", **form: str) -> int:
        """Post a form; ``more`` are fields that are encoded already."""
        fields = urlencode({"csrfmiddlewaretoken": self.token, **form})
        return self._send("POST", target, f"{fields}&{more}" if more else fields)

    def arrive(self) -> Attacker:
        self.get("/")
        return self

    def _send(self, method: str, target: str, body: str = "") -> int:
        head = [
            f"{method} {target} HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            "Cookie: " + "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            "Content-Type: application/x-www-form-urlencoded",
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        response = exchange(self.port, "\r\n".join([*head, "", body]).encode()).decode()
        self._keep(response)
        return int(response.split(" ", 2)[1])

    def _keep(self, response: str) -> None:
        self.cookies |= re.findall(r"(?im)^set-cookie: ([^=]+)=([^;]*)", response)
        if found := re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', response):
            self.token = found[1]


@pytest.fixture
def port(corp: FakeProvider, database_file: Path, settings: Settings) -> Iterator[int]:
    settings.ALLOWED_HOSTS = ["127.0.0.1", "testserver"]
    with serving.asgi() as found:
        yield found


@pytest.fixture
def attacker(port: int) -> Attacker:
    return Attacker(port).arrive()


def sizes(store: Stack) -> list[int]:
    return [item_size(item) for item in store.sessions().values()]


HUGE = {
    "process": {"process": "x" * TOO_MUCH},
    "next": {"next": "/" + "x" * TOO_MUCH},
    "next, a little": {"next": "/" + "x" * 2000},
    "next, in characters of three bytes": {"next": "/" + "\N{EURO SIGN}" * 667},
    "next, of characters that grow in JSON": {"next": "/" + "\x01" * 1999},
    "unknown process": {"process": "anything"},
}


@pytest.mark.parametrize("form", HUGE.values(), ids=HUGE)
def test_too_much_is_400_and_not_kept(
    attacker: Attacker, store: Stack, corp: FakeProvider, form: dict[str, str]
) -> None:
    assert attacker.post(SIGN_IN, **form) == 400
    assert store.sessions() == {}

    bystander = Visitor()
    bystander.sign_in(corp)
    assert bystander.load_tokens() is not None


def test_too_much_in_the_address_is_400_and_not_kept(attacker: Attacker, store: Stack) -> None:
    for name in ("process", "next"):
        address = f"{SIGN_IN}?{urlencode({name: '/' + 'x' * 8000})}"
        assert attacker.get(address) == 400
        assert attacker.post(address) == 400
    assert store.sessions() == {}


def test_scope_and_its_like_are_not_kept(attacker: Attacker, store: Stack) -> None:
    wishes = dict.fromkeys(("scope", "auth_params", "action", "anything"), "x" * 8000)
    for name, value in wishes.items():
        assert attacker.post(f"{SIGN_IN}?{urlencode({name: value})}", **wishes) == 302
    assert max(sizes(store)) < KEPT


def test_many_sign_ins_are_kept_within_the_bound(attacker: Attacker, store: Stack) -> None:
    for number in range(30):
        assert attacker.post(SIGN_IN, next=f"/{number}/" + "x" * 1900) == 302
        assert max(sizes(store)) < KEPT
    assert len(store.sessions()) == 1


def test_rejected_request_keeps_the_earlier_content(attacker: Attacker, store: Stack) -> None:
    attacker.post(SIGN_IN)
    before = store.sessions()
    assert before
    assert attacker.post(SIGN_IN, next="/" + "\x01" * 1999) == 400
    assert store.sessions() == before
    assert attacker.post(SIGN_IN) == 302


OTHERS = (
    "/accounts/login/",
    "/admin/login/",
    "/accounts/3rdparty/",
    "/accounts/3rdparty/signup/",
    "/accounts/3rdparty/login/cancelled/",
    "/accounts/oidc/corp/login/callback/",
    "/accounts/logout/",
    "/accounts/logout/done/",
    "/accounts/inactive/",
    "/sessions/end/",
    "/try/echo/",
    "/gateway/",
)


@pytest.mark.parametrize("shape", made_up.SHAPES.values(), ids=made_up.SHAPES)
def test_made_up_cookies_of_key_changes_cost_two_reads_at_most(
    attacker: Attacker, store: Stack, shape: made_up.Shape
) -> None:
    read = store.dynamodb.calls
    for target in ("/", SIGN_IN, *OTHERS):
        for ask in (attacker.get, attacker.post):
            attacker.cookies |= shape(settings.SESSION_COOKIE_NAME)
            before = len(read)
            assert ask(target) < 500, target
            made = [call for call in read[before:] if call == "GetItem session"]
            assert len(made) <= 2, (target, made)


def test_no_other_door_keeps_anything(attacker: Attacker, store: Stack) -> None:
    wishes = dict.fromkeys(("next", "process", "state", "code", "error"), "/" + "x" * 8000)
    much = urlencode(dict.fromkeys(wishes, "/" + "x" * TOO_MUCH))
    for target in OTHERS:
        assert attacker.get(f"{target}?{urlencode(wishes)}") < 500, target
        assert attacker.post(target, much) < 500, target
        assert store.sessions() == {}, target
