"""The connection to a real DynamoDB server, cut at any byte of a key change's exchange."""

import logging
from collections.abc import Iterable, Iterator

import pytest
from pytest_django import Settings

from sessions_kms import services
from sessions_kms.aws import calls
from tests.sessions_kms.support.exchange_proxy import ExchangeProxy, running_exchange_proxy
from tests.sessions_kms.support.key_browser import ADA, MIDDLEWARE, Browser
from tests.sessions_kms.support.sessions import save_session
from tests.sessions_kms.support.stacks import Stack, install

pytestmark = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)


@pytest.fixture
def proxy(
    stack: Stack,
    roto_url: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[ExchangeProxy]:
    settings.ROOT_URLCONF = "tests.sessions_kms.support.key_browser"
    settings.MIDDLEWARE = MIDDLEWARE
    settings.SESSION_COOKIE_SECURE = False
    caplog.set_level(logging.CRITICAL)
    monkeypatch.setattr(calls, "sleep", lambda _: None)
    with running_exchange_proxy(roto_url) as made:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", made.url)
        services.reset()
        install(services.build(stack.config, clock=stack.clock, sleep=lambda _: None))
        yield made
        services.reset()


def sign_in_browser() -> Browser:
    session = save_session(ADA)
    return Browser(str(session.session_key))


def whole(proxy: ExchangeProxy) -> int:
    """Return how many bytes the exchange of a key change has."""
    proxy.heal()
    sign_in_browser().ask("rotate")
    assert proxy.passed > 1000
    return proxy.passed


def count_sign_outs(proxy: ExchangeProxy, cuts: Iterable[int], *, down_then: bool) -> list[int]:
    """Cut after so many bytes, each in turn; return where that signed her out."""
    found = []
    for after in cuts:
        proxy.heal()
        ada = sign_in_browser()
        proxy.cut(after, down_then=down_then)
        status = ada.ask("rotate").status_code
        assert status == (503 if down_then else 200), after
        proxy.heal()
        if ada.ask("view").content.decode() != ADA:
            found.append(after)
    return found


@pytest.mark.parametrize("down_then", [False, True])
def test_cut_in_a_key_change_keeps_everyone_signed_in(
    proxy: ExchangeProxy, down_then: bool
) -> None:
    length = whole(proxy)
    cuts = [*range(0, length, 211), *range(length - 6, length)]
    assert count_sign_outs(proxy, cuts, down_then=down_then) == []


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("down_then", [False, True])
def test_cut_at_any_byte_of_a_key_change_keeps_everyone_signed_in(
    proxy: ExchangeProxy, down_then: bool
) -> None:
    assert count_sign_outs(proxy, range(whole(proxy)), down_then=down_then) == []
