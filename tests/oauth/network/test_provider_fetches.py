"""Anonymous requests cause at most one fetch per minute from a provider."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from oauth.exceptions import ProviderUnavailable
from oauth.provider import jwks, metadata
from oauth.provider.config import find_provider
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.hostile import HostileProvider
from tests.oauth.support.hostile_fixtures import come_back, hostile, internet
from tests.oauth.support.logout_fixtures import post
from tests.oauth.support.logout_provider import SigningKey, sign
from tests.sessions_kms.support.stacks import Stack

__all__ = ["hostile", "internet"]
DISCOVERY = "/.well-known/openid-configuration"
KEY = SigningKey.new()
PAUSE = 60  # seconds


def junk(key_id: str) -> str:
    return sign({"iss": "x"}, KEY.private, KEY.algorithm, {"kid": key_id, "typ": "logout+jwt"})


def start(count: int) -> None:
    for _ in range(count):
        Visitor().start()


def come_back_with_made_up_codes(count: int) -> None:
    for number in range(count):
        Visitor().client.get(f"/accounts/oidc/corp/login/callback/?code=x&state={number}")


def send_junk(count: int) -> None:
    for number in range(count):
        post(junk(str(number)))


ANYBODY: dict[str, Callable[[int], None]] = {
    "sign-ins": start,
    "callbacks": come_back_with_made_up_codes,
    "logout tokens": send_junk,
}


def all_of_them(count: int) -> None:
    for hammer in ANYBODY.values():
        hammer(count)


def fail(_: dict[str, str]) -> tuple[int, bytes]:
    return 500, b""


@pytest.mark.parametrize("hammer", ANYBODY)
@pytest.mark.parametrize("fails", [False, True])
def test_metadata_is_fetched_once_a_minute_at_most(
    hostile: HostileProvider, store: Stack, hammer: str, fails: bool
) -> None:
    if fails:
        hostile.paths[DISCOVERY] = fail
    for _ in range(3):
        ANYBODY[hammer](5)
        store.clock.advance(PAUSE / 2)
    assert hostile.asked.count(DISCOVERY) <= (2 if fails else 1)


@pytest.mark.parametrize("fails", [False, True])
def test_keys_are_fetched_once_a_minute_at_most(
    hostile: HostileProvider, store: Stack, fails: bool
) -> None:
    hostile.keys = {"keys": [KEY.jwk()]}
    if fails:
        hostile.paths["/jwks"] = fail
    for minute in range(1, 4):
        send_junk(10)
        assert hostile.asked.count("/jwks") == minute
        store.clock.advance(PAUSE - 1)
        send_junk(10)
        assert hostile.asked.count("/jwks") == minute
        store.clock.advance(1)


def test_start_and_callback_and_logout_share_one_fetch(
    hostile: HostileProvider, visitor: Visitor
) -> None:
    come_back(visitor, hostile)
    all_of_them(3)
    assert visitor.user_id is not None
    assert hostile.asked.count(DISCOVERY) == 1


@pytest.mark.parametrize("fails", [False, True])
def test_forty_concurrent_requests_share_one_fetch(hostile: HostileProvider, fails: bool) -> None:
    if fails:
        hostile.paths[DISCOVERY] = fail
    barrier = threading.Barrier(40)
    corp = find_provider("corp")
    assert corp is not None

    def ask(_: int) -> bool:
        barrier.wait(30)
        with suppress(ProviderUnavailable):
            return bool(metadata.load_metadata(corp).token_endpoint)
        return False

    with ThreadPoolExecutor(40) as pool:
        responses = list(pool.map(ask, range(40)))
    assert responses == [not fails] * 40
    assert hostile.asked == [DISCOVERY]


def test_forty_unknown_keys_share_one_fetch(hostile: HostileProvider, store: Stack) -> None:
    barrier = threading.Barrier(40)
    url = f"{hostile.issuer}/jwks"

    def ask(number: int) -> bool:
        barrier.wait(30)
        try:
            return jwks.find_signing_keys(url, key_id=str(number), algorithm="ES256") == []
        except ProviderUnavailable:
            return True

    with ThreadPoolExecutor(40) as pool:
        assert all(pool.map(ask, range(40)))
        assert hostile.asked == ["/jwks"]
        store.clock.advance(PAUSE)
        assert all(pool.map(ask, range(40)))
    assert hostile.asked == ["/jwks"] * 2


def test_cached_keys_are_used_while_another_thread_fetches(
    hostile: HostileProvider, store: Stack
) -> None:
    hostile.keys = {"keys": [KEY.jwk()]}
    url, asking, go_on = f"{hostile.issuer}/jwks", threading.Event(), threading.Event()
    assert jwks.find_signing_keys(url, key_id=KEY.id, algorithm=KEY.algorithm)
    store.clock.advance(PAUSE)

    def hang(_: dict[str, str]) -> tuple[int, bytes]:
        asking.set()
        go_on.wait(30)
        return 500, b""

    hostile.paths["/jwks"] = hang
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(lambda: jwks.find_signing_keys(url, key_id="new", algorithm="ES256"))
        assert asking.wait(10)
        assert jwks.find_signing_keys(url, key_id=KEY.id, algorithm=KEY.algorithm)
        with pytest.raises(ProviderUnavailable):  # not "no such key": it may be there by now
            jwks.find_signing_keys(url, key_id="newer", algorithm="ES256")
        assert not slow.done()
        go_on.set()
        assert isinstance(slow.exception(), ProviderUnavailable)


def test_old_keys_are_used_during_an_outage_for_at_most_a_day(
    hostile: HostileProvider, store: Stack
) -> None:
    hostile.keys = {"keys": [KEY.jwk()]}
    url = f"{hostile.issuer}/jwks"
    assert jwks.find_signing_keys(url, key_id=KEY.id, algorithm=KEY.algorithm)
    hostile.paths["/jwks"] = fail
    store.clock.advance(jwks.KEYS_MAX_STALE - 1)
    assert jwks.find_signing_keys(url, key_id=KEY.id, algorithm=KEY.algorithm)
    store.clock.advance(1)
    with pytest.raises(ProviderUnavailable):
        jwks.find_signing_keys(url, key_id=KEY.id, algorithm=KEY.algorithm)


def test_old_metadata_is_used_during_an_outage(
    hostile: HostileProvider, visitor: Visitor, store: Stack
) -> None:
    visitor.start()
    hostile.paths[DISCOVERY] = fail
    store.clock.advance(30 * 24 * 3600)
    come_back(visitor, hostile)
    assert visitor.user_id is not None
