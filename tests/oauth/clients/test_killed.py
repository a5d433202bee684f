"""A gateway killed (kill -9) at each write of a redemption and a refresh; its client tries again.

It dies before the write arrives, after that is applied, or while that is on its way: then it
arrives once the client's second try was answered.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

import pytest
import requests

from oauth.clients.consent import Consent
from oauth.clients.grants import grants
from oauth.clients.sealed_grant import TokenResponse
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.sealed_items.tokens import Tokens
from tests.gateway_site.support.client_tokens import CLIENT_ID, REDIRECT_URI
from tests.gateway_site.support.reborn import Reborn, running_reborn
from tests.oauth.support.grants import ASKED, BACKEND, CONSENT, TOKENS, VERIFIER, PeopleInMemory
from tests.sessions_kms.support.faults import Dropped, Exchange, FaultProxy, Response, running_proxy
from tests.sessions_kms.support.stacks import Stack, aws_stack, install, settings_of
from tests.support.clock import FakeClock
from tests.support.local_kms import LocalKMS
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

AGO = 30  # seconds before now that a grant began: a session that nothing changed in is not saved
WRITES = ("PutItem", "DeleteItem", "TransactWriteItems")
When = Literal["before", "after", "late"]
# The session is saved, then the token is spent in a transaction.
SAVE, SPEND = 0, 1


@dataclass
class Killing:
    """Kills a gateway at its n-th write; a late write continues when it is released."""

    gateway: Reborn
    left: int
    when: When
    struck: threading.Event = field(default_factory=threading.Event)
    goes: threading.Event = field(default_factory=threading.Event)
    arrived: threading.Event = field(default_factory=threading.Event)

    def __call__(self, exchange: Exchange) -> Response:
        self.left -= 1
        if self.left != -1:
            return exchange.forward()
        if self.when == "after":
            exchange.forward()
        self.gateway.kill()
        self.struck.set()
        if self.when == "late":
            assert self.goes.wait(60)
            exchange.forward()
        self.arrived.set()
        raise Dropped

    def let_go(self) -> None:
        self.goes.set()
        assert self.arrived.wait(60)


@dataclass
class Scene:
    """Grants, and requests of their client to the gateway over HTTP."""

    gateway: Reborn
    proxy: FaultProxy
    stack: Stack

    def begin(self, ago: int = AGO) -> str:
        """Begin a grant, the only one; return its code."""
        for item_id in self.stack.items():
            if not item_id.startswith("data-key#"):
                self.stack.delete_item(item_id)
        consent = Consent(
            **vars(CONSENT)
            | {"client_id": CLIENT_ID, "redirect_uri": REDIRECT_URI, "upstream": "open"}
            | {"resource": f"{self.gateway.url}/gateway/open"}
        )
        self.stack.clock.now = time.time() - ago
        return run_sync(
            grants().allow(PeopleInMemory.ada, consent, "corp", TOKENS, backend=BACKEND)
        ).code

    def begin_redeemed(self) -> str:
        """Begin a grant whose code was redeemed a while ago; return its refresh token."""
        return self.pair().refresh_token

    def pair(self, ago: int = AGO) -> TokenResponse:
        """Begin a grant whose code was redeemed so long ago; return its tokens."""
        code = self.begin(ago)
        asked = ASKED | {"client_id": CLIENT_ID, "redirect_uri": None}
        asked |= {"arrived_at": self.stack.clock()}
        return run_sync(grants().redeem(code, verifier=VERIFIER, **asked))

    def strike(self, number: int, when: When, ask: Callable[[], object]) -> Killing:
        """Kill the gateway at a write of what it is asked."""
        self.proxy.heal()
        killing = Killing(self.gateway, number, when)
        for operation in WRITES:
            self.proxy.on(operation, killing)
        with pytest.raises(requests.ConnectionError):
            ask()
        return killing

    def writes(self) -> list[str]:
        return [each for each in self.proxy.operations if each in WRITES]

    def redeem(self, code: str) -> requests.Response:
        return self.ask(grant_type="authorization_code", code=code, code_verifier=VERIFIER)

    def refresh(self, token: str) -> requests.Response:
        return self.ask(grant_type="refresh_token", refresh_token=token)

    def revoke(self, token: str) -> requests.Response:
        form = {"token": token, "client_id": CLIENT_ID}
        return requests.post(f"{self.gateway.url}/oauth/revoke", form, timeout=60)

    def ask(self, **form: str) -> requests.Response:
        form = {"client_id": CLIENT_ID, **form}
        return requests.post(f"{self.gateway.url}/oauth/token", form, timeout=60)

    def is_good(self, pair: dict[str, Any]) -> bool:
        """Return True if both tokens serve. Nobody listens at the upstream."""
        return self.call(pair["access_token"]) == 502 and self.refresh(pair["refresh_token"]).ok

    def call(self, access_token: str) -> int:
        """Call the upstream; return the status."""
        headers = {"Authorization": f"Bearer {access_token}"}
        url = f"{self.gateway.url}/gateway/open"
        return requests.get(url, headers=headers, timeout=60).status_code

    def has_item_of(self, token: str) -> bool:
        return Tokens(self.stack.services).id_of(token) in self.stack.items()

    def wait_for_deletion(self, token: str) -> None:
        wait_until(lambda: not self.has_item_of(token), "the item of a token is deleted")

    def kinds(self) -> list[str]:
        """Return the kinds of the items of grants."""
        ids = self.stack.items()
        found = (each.partition("#")[0] if "#" in each else "session" for each in ids)
        return sorted(each for each in found if each in {"session", "token", "answer"})


@pytest.fixture
def scene(local_kms: LocalKMS, roto_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", local_kms.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", roto_url)
    stack = aws_stack("servers", FakeClock(time.time()))
    install(stack.services)
    told = settings_of(stack.config) | {"REGION_NAME": stack.config.region_name}
    with running_proxy(roto_url) as proxy:
        endpoints = {"AWS_ENDPOINT_URL_KMS": local_kms.url, "AWS_ENDPOINT_URL_DYNAMODB": proxy.url}
        with running_reborn(told, endpoints, BACKEND) as gateway:
            yield Scene(gateway, proxy, stack)


def test_redemption_can_be_repeated_after_a_kill_unless_the_code_was_spent(scene: Scene) -> None:
    for number in (SAVE, SPEND):
        for when in get_args(When):
            code = scene.begin()
            killing = scene.strike(number, when, partial(scene.redeem, code))
            again = scene.redeem(code)
            if (number, when) == (SPEND, "after"):  # Nobody has the pair that it was spent for.
                assert again.json()["error"] == "invalid_grant"
                assert scene.kinds().count("token") == 3
                continue
            pair = again.json()
            killing.let_go()
            assert scene.kinds() == ["answer", "session", "token", "token", "token"]
            assert scene.is_good(pair)


def test_refresh_can_be_repeated_after_a_kill_and_gives_one_pair(scene: Scene) -> None:
    for number in (SAVE, SPEND):
        for when in get_args(When):
            old = scene.begin_redeemed()
            killing = scene.strike(number, when, partial(scene.refresh, old))
            before = scene.kinds()
            pair = scene.refresh(old).json()
            if (number, when) == (SPEND, "after"):
                assert scene.kinds() == before
            killing.let_go()
            # The code, and two pairs; the response to the code went with the first refresh.
            assert scene.kinds() == ["answer", "session", *["token"] * 5]
            again = scene.refresh(old).json()
            for name in ("access_token", "refresh_token"):
                assert again[name] == pair[name]
            assert scene.is_good(pair)


def test_refresh_deletes_expired_items_except_its_response(scene: Scene) -> None:
    held = scene.pair(ago=3700)
    assert scene.has_item_of(held.access_token)
    assert scene.is_good(scene.refresh(held.refresh_token).json())
    scene.wait_for_deletion(held.access_token)


def test_kill_at_a_deletion_loses_and_revives_nothing(scene: Scene) -> None:
    for when in get_args(When):
        held = scene.pair(ago=3700)
        scene.proxy.heal()
        killing = Killing(scene.gateway, 0, when)
        scene.proxy.on("DeleteItem", killing)
        told: dict[str, Any] | None = None
        with suppress(requests.ConnectionError):  # It goes beside the response.
            told = scene.refresh(held.refresh_token).json()
        assert killing.struck.wait(60)
        scene.proxy.heal()
        pair = scene.refresh(held.refresh_token).json()
        assert told is None or told["refresh_token"] == pair["refresh_token"]
        killing.let_go()
        assert scene.is_good(pair)
        assert scene.call(held.access_token) == 401
        scene.wait_for_deletion(held.access_token)


def test_revocation_deletes_beside_its_response_also_after_a_kill(scene: Scene) -> None:
    for when in get_args(When):
        held = scene.pair()
        scene.proxy.heal()
        killing = Killing(scene.gateway, 0, when)
        scene.proxy.on("DeleteItem", killing)
        with pytest.raises(requests.ConnectionError):  # The first one is that of the session.
            scene.revoke(held.refresh_token)
        scene.proxy.heal()
        assert scene.revoke(held.refresh_token).ok
        killing.let_go()
        assert scene.call(held.access_token) == 401
        scene.wait_for_deletion(held.refresh_token)


def test_redemption_and_refresh_make_exactly_these_writes(scene: Scene) -> None:
    code = scene.begin()
    assert scene.redeem(code).ok
    assert scene.writes() == ["PutItem", "TransactWriteItems"]
    token = scene.begin_redeemed()
    scene.proxy.heal()
    assert scene.refresh(token).ok
    assert scene.writes() == ["PutItem", "TransactWriteItems"]
