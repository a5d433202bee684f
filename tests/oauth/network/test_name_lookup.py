"""Looking names up takes few threads, however many ask and however silent the resolver is."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from oauth.exceptions import ProviderUnavailable
from oauth.network import http, vetted_addresses
from oauth.network.vetted_addresses import ANYWHERE, LOOKUPS_MAX, BoundedLoop, Lookups
from sessions_kms.concurrency.threads import Refused

ROW = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 0))


class Silent:
    """A resolver that answers nobody until told; notes who asks."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go_on = threading.Event()

    def __call__(self, host: str | bytes, *_: Any) -> list[Any]:
        self.asked.append(host if isinstance(host, str) else host.decode())
        self.go_on.wait(60)
        return [ROW]


@pytest.fixture
def silent() -> Iterator[Silent]:
    resolver = Silent()
    yield resolver
    resolver.go_on.set()


def test_concurrent_lookups_of_one_name_are_shared(silent: Silent) -> None:
    lookups = Lookups(silent)
    flights = [lookups.start("a.example", None) for _ in range(100)]
    silent.go_on.set()
    assert [each.result(10) for each in flights] == [[ROW]] * 100
    assert silent.asked == ["a.example"]


def test_further_lookup_is_rejected_immediately_while_all_hang(silent: Silent) -> None:
    lookups = Lookups(silent)
    hanging = [lookups.start(f"{number}.example", None) for number in range(LOOKUPS_MAX)]
    with pytest.raises(Refused):
        lookups.start("one-more.example", None)
    lookups.start("0.example", None)  # one that is under way is joined
    silent.go_on.set()
    assert [each.result(10) for each in hanging] == [[ROW]] * LOOKUPS_MAX
    assert lookups.start("one-more.example", None).result(10) == [ROW]


def test_failed_lookup_fails_all_waiters_and_is_retried() -> None:
    answers = iter([socket.gaierror("no such name"), None])

    def resolve(*_: Any) -> list[Any]:
        if (error := next(answers)) is not None:
            raise error
        return [ROW]

    lookups = Lookups(resolve)
    with pytest.raises(socket.gaierror):
        lookups.start("a.example").result(10)
    assert lookups.start("a.example").result(10) == [ROW]


def test_cancelling_one_waiter_does_not_end_the_lookup(silent: Silent) -> None:
    lookups = Lookups(silent)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.wrap_future(lookups.start("a.example"))

    other = lookups.start("a.example")
    asyncio.run(give_up())
    silent.go_on.set()
    assert other.result(10) == [ROW]


def test_silent_resolver_blocks_only_a_few_threads(
    silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vetted_addresses, "_lookups", Lookups(silent))
    before = threading.active_count()
    for number in range(3 * LOOKUPS_MAX):
        with pytest.raises(ProviderUnavailable):
            http.get(f"https://{number}.example/", timeout=0.01)
    assert len(silent.asked) == LOOKUPS_MAX
    assert threading.active_count() - before <= LOOKUPS_MAX


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "HTTP_PROXY"])
def test_name_of_a_proxy_is_looked_up_there_too(
    silent: Silent, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setattr(vetted_addresses, "_lookups", Lookups(silent))
    monkeypatch.setenv(variable, "http://proxy.example:3128")
    scheme = variable.partition("_")[0].lower()
    for _ in range(5):
        with pytest.raises(ProviderUnavailable):
            http.get(f"{scheme}://a.example/", timeout=0.01)
    assert silent.asked == ["proxy.example"]


def test_address_is_not_looked_up(silent: Silent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vetted_addresses, "_lookups", Lookups(silent))
    for host in ("127.0.0.1", "[::1]"):
        with pytest.raises(ProviderUnavailable):
            http.get(f"http://{host}:9/", reach=ANYWHERE)
    assert silent.asked == []


def test_missing_file_descriptor_is_one_error_without_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def socketpair(*_: Any) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket, "socketpair", socketpair)
    with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        BoundedLoop()
    gc.collect()
    assert capsys.readouterr().err == ""
