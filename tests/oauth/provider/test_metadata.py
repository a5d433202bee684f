"""A provider's metadata: fetched seldom, believed only if it is the provider's own."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest
from pytest_django import Settings

from oauth.exceptions import ProviderUnavailable
from oauth.network.document_cache import FETCH_PAUSE
from oauth.provider import metadata as endpoints
from oauth.provider.config import find_provider
from oauth.provider.metadata import GRANT_FETCH_PAUSE, METADATA_AGE, Metadata
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import configure, environment
from tests.oauth.support.provider_failures import DISCOVERY, NONSENSE, stall
from tests.sessions_kms.support.stacks import Stack


def metadata(name: str = "corp", *, anonymous: bool = True) -> Metadata:
    configured = find_provider(name)
    assert configured is not None
    return endpoints.load_metadata(configured, anonymous=anonymous)


def count_fetches(corp: FakeProvider) -> list[int]:
    asked: list[int] = []
    corp.hooks[DISCOVERY] = lambda: asked.append(1)
    return asked


def test_valid_metadata_is_parsed(corp: FakeProvider) -> None:
    corp.more_of_metadata = {"revocation_endpoint": f"{corp.issuer}/revoke"}
    found = metadata()
    assert found.issuer == corp.issuer
    assert found.token_endpoint == f"{corp.issuer}/token"
    assert found.revocation_endpoint == f"{corp.issuer}/revoke"
    assert found.auth_methods == ("client_secret_post",)


def test_metadata_is_fetched_once_an_hour(corp: FakeProvider, store: Stack) -> None:
    asked = count_fetches(corp)
    metadata()
    store.clock.advance(METADATA_AGE - 1)
    metadata()
    assert len(asked) == 1
    store.clock.advance(1)
    metadata()
    assert len(asked) == 2


@pytest.mark.parametrize("what", NONSENSE)
def test_last_metadata_is_used_while_none_can_be_fetched(
    corp: FakeProvider, store: Stack, what: str
) -> None:
    found = metadata()
    store.clock.advance(METADATA_AGE)
    corp.failing[DISCOVERY] = NONSENSE[what]
    assert metadata() == found


@pytest.mark.parametrize(("anonymous", "pause"), [(True, FETCH_PAUSE), (False, GRANT_FETCH_PAUSE)])
@pytest.mark.parametrize("known", [True, False])
def test_failed_fetch_is_not_retried_immediately(
    corp: FakeProvider, store: Stack, known: bool, anonymous: bool, pause: int
) -> None:
    if known:
        metadata()
        store.clock.advance(METADATA_AGE)
    asked = count_fetches(corp)
    corp.failing[DISCOVERY] = NONSENSE["server error"]
    for _ in range(3):
        with nullcontext() if known else pytest.raises(ProviderUnavailable):
            metadata(anonymous=anonymous)
        store.clock.advance(pause / 3)
    assert len(asked) == 1
    corp.failing.clear()
    assert metadata(anonymous=anonymous).issuer == corp.issuer
    assert len(asked) == 2


def test_provider_that_hangs_is_not_retried_immediately(corp: FakeProvider, store: Stack) -> None:
    asked: list[int] = []

    def hang() -> None:
        asked.append(1)
        store.clock.advance(10 * FETCH_PAUSE)

    corp.hooks[DISCOVERY] = hang
    corp.failing[DISCOVERY] = NONSENSE["server error"]
    for _ in range(4):
        with pytest.raises(ProviderUnavailable):
            metadata()
    assert len(asked) == 1


def test_clock_that_is_set_back_does_not_extend_the_cache(corp: FakeProvider, store: Stack) -> None:
    asked = count_fetches(corp)
    metadata()
    store.clock.advance(-10 * METADATA_AGE)
    metadata()
    assert len(asked) == 2


def test_concurrent_requests_share_one_fetch(corp: FakeProvider) -> None:
    asked = count_fetches(corp)
    barrier = threading.Barrier(20)

    def ask(_: int) -> Metadata:
        barrier.wait(10)
        return metadata()

    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(ask, range(20)))
    assert len(asked) == 1
    assert found == [metadata()] * 20


def test_nobody_waits_for_a_fetch_while_older_metadata_is_cached(
    corp: FakeProvider, store: Stack
) -> None:
    found = metadata()
    store.clock.advance(METADATA_AGE)
    asking, go_on = stall(corp, DISCOVERY)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(metadata)
        assert asking.wait(10)
        assert metadata() == found
        assert not slow.done()
        go_on.set()


@pytest.mark.parametrize("what", NONSENSE)
def test_metadata_that_cannot_be_fetched_is_an_unavailable_provider(
    corp: FakeProvider, store: Stack, what: str
) -> None:
    corp.failing[DISCOVERY] = NONSENSE[what]
    with pytest.raises(ProviderUnavailable):
        metadata()
    corp.failing.clear()
    store.clock.advance(FETCH_PAUSE)
    assert metadata().issuer == corp.issuer


@pytest.mark.parametrize(
    "more",
    [
        {"issuer": "http://127.0.0.1:9"},
        {"token_endpoint": "ftp://127.0.0.1/token"},
        {"token_endpoint": "http:/token"},
        {"token_endpoint": None},
        {"revocation_endpoint": "javascript:alert(1)"},
        {"end_session_endpoint": "/logout"},
        {"jwks_uri": ["https://evil.example"]},
    ],
)
def test_unusable_metadata_is_rejected(corp: FakeProvider, more: dict[str, Any]) -> None:
    corp.more_of_metadata = more
    with pytest.raises(ProviderUnavailable):
        metadata()


def test_revocation_address_of_the_settings_wins(corp: FakeProvider, settings: Settings) -> None:
    configure(settings, environment("corp", corp, REVOCATION_URL=f"{corp.issuer}/other"))
    corp.more_of_metadata = {"revocation_endpoint": f"{corp.issuer}/revoke"}
    assert metadata().revocation_endpoint == f"{corp.issuer}/other"


def test_provider_without_discovery_has_fixed_endpoints(github: FakeProvider) -> None:
    found = metadata("github")
    assert found.issuer is None
    assert found.token_endpoint == f"{github.issuer}/login/oauth/access_token"
    assert found.auth_methods == ("client_secret_post",)
