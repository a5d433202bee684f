"""Code exchanges are bounded: anybody can have them made, with codes that are made up."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from oauth.exceptions import ProviderBusy
from oauth.network import http
from oauth.network.concurrency import ConcurrencyLimit
from oauth.sign_in.oauth2_adapter import EXCHANGES_MAX, exchanges
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor


def status_of(visitor: Visitor, address: str) -> int:
    try:
        status: int = visitor.client.get(address).status_code
    finally:
        for each in connections.all(initialized_only=True):  # those of this thread
            if each.connection is not None:
                each.connection.close()  # Django itself leaves one of a database in memory open
    return status


@pytest.mark.django_db(transaction=True)
def test_seventeenth_concurrent_exchange_is_told_to_retry(
    corp: FakeProvider, other: FakeProvider, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page says so, no request is sent, and other providers are not affected."""
    monkeypatch.setattr(http, "POST_TIMEOUT", 60)
    waiting = [Visitor() for _ in range(EXCHANGES_MAX)]
    addresses = [each.callback_address(corp) for each in waiting]
    late = visitor.callback_address(corp)
    arrived, go_on = threading.Semaphore(0), threading.Event()

    def hang() -> None:
        arrived.release()
        go_on.wait(60)

    corp.hooks["/token"] = hang
    corp.failing["/token"] = lambda: (400, "application/json", b'{"error": "invalid_grant"}')
    with ThreadPoolExecutor(EXCHANGES_MAX) as pool:
        try:
            pairs = zip(waiting, addresses, strict=True)
            responses = [pool.submit(status_of, each, address) for each, address in pairs]
            assert all(arrived.acquire(timeout=30) for _ in range(EXCHANGES_MAX))
            refused = visitor.client.get(late)
            assert visitor.sign_in(other, "other").status_code == 302
        finally:
            go_on.set()
        assert [response.result() for response in responses] == [401] * EXCHANGES_MAX
    assert refused.status_code == 503
    assert int(refused["Retry-After"]) > 0
    assert "Too many sign-ins at once" in refused.content.decode()
    assert not arrived.acquire(blocking=False)  # it was not sent
    corp.hooks.clear()
    corp.failing.clear()
    assert visitor.sign_in(corp).status_code == 302


def test_place_of_one_that_failed_is_free_again() -> None:
    limit = ConcurrencyLimit(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), limit.slot("a"):
            raise ZeroDivisionError
    with limit.slot("a"), limit.slot("b"):
        with pytest.raises(ProviderBusy), limit.slot("a"):
            raise AssertionError
        with pytest.raises(ProviderBusy), limit.slot("b"):
            raise AssertionError


def test_sixteen_are_exchanged_at_once() -> None:
    assert EXCHANGES_MAX == 16
    assert exchanges._maximum == EXCHANGES_MAX
