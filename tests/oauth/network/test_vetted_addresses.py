"""Networks of IP addresses, connections to permitted ones only, and name lookups."""

import asyncio
import errno
import gc
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from oauth.exceptions import ProviderUnavailable
from oauth.network import http, vetted_addresses
from oauth.network.vetted_addresses import (
    ANYWHERE,
    LOOKUPS_MAX,
    PUBLIC,
    AddressRejected,
    BoundedLoop,
    Lookups,
    Network,
    Reach,
    VettedTransport,
    network_of,
)
from sessions_kms.concurrency.threads import Refused
from tests.support.cases import each_case

GLOBAL, LOOPBACK, LINK_LOCAL, PRIVATE = (
    Network.GLOBAL,
    Network.LOOPBACK,
    Network.LINK_LOCAL,
    Network.PRIVATE,
)


@each_case(
    ("address", "network"),
    [
        ("8.8.8.8", GLOBAL),
        ("127.0.0.1", LOOPBACK),
        ("127.255.255.254", LOOPBACK),
        ("0.0.0.0", LOOPBACK),  # noqa: S104 - Linux connects it to itself
        ("0.1.2.3", LOOPBACK),
        ("169.254.169.254", LINK_LOCAL),
        ("10.0.0.1", PRIVATE),
        ("100.64.0.1", PRIVATE),
        ("172.31.255.255", PRIVATE),
        ("192.168.0.1", PRIVATE),
        ("192.0.2.1", PRIVATE),
        ("198.19.255.255", PRIVATE),
        ("224.0.0.251", PRIVATE),
        ("240.0.0.1", PRIVATE),
        ("255.255.255.255", PRIVATE),
        ("2606:4700::1111", GLOBAL),
        ("::1", LOOPBACK),
        ("::", LOOPBACK),
        ("fe80::1", LINK_LOCAL),
        ("fe80::1%eth0", LINK_LOCAL),
        ("fc00::1", PRIVATE),
        ("fd12:3456::1", PRIVATE),
        ("fec0::1", PRIVATE),
        ("ff02::1", PRIVATE),
        ("2001:db8::1", PRIVATE),
        ("2001:0:808:808::", PRIVATE),  # Teredo
        ("100::1", PRIVATE),
        ("5f00::1", PRIVATE),
        # IPv4-mapped and IPv4-compatible
        ("::ffff:8.8.8.8", GLOBAL),
        ("::ffff:127.0.0.1", LOOPBACK),
        ("::ffff:169.254.169.254", LINK_LOCAL),
        ("::ffff:10.0.0.1", PRIVATE),
        ("::127.0.0.1", LOOPBACK),
        ("::10.0.0.1", PRIVATE),
        # 6to4
        ("2002:808:808::1", PRIVATE),
        ("2002:7f00:1::1", LOOPBACK),
        ("2002:a9fe:a9fe::1", LINK_LOCAL),
        ("2002:a00:1::1", PRIVATE),
        # NAT64
        ("64:ff9b::8.8.8.8", GLOBAL),
        ("64:ff9b::127.0.0.1", LOOPBACK),
        ("64:ff9b::169.254.169.254", LINK_LOCAL),
        ("64:ff9b::10.0.0.1", PRIVATE),
        ("64:ff9b:1::8.8.8.8", PRIVATE),
    ],
)
def test_network(address: str, network: Network) -> None:
    assert network_of(address) is network


@pytest.mark.parametrize("address", ["", "localhost", "127.1", "0x7f.1", "1.2.3.4.5"])
def test_invalid_address_is_in_no_network(address: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        network_of(address)


def get(url: str, *addresses: str, reach: Reach = PUBLIC, names: list[str] | None = None) -> None:
    """Send a request to a host with these addresses; add the names that are looked up."""

    async def resolve(host: str) -> list[str]:
        if names is not None:
            names.append(host)
        return list(addresses)

    async def send() -> None:
        transport = VettedTransport(reach, verify=ssl.create_default_context(), resolve=resolve)
        async with httpx2.AsyncClient(transport=transport) as client:
            await client.get(url)

    asyncio.run(send())


@pytest.mark.parametrize("addresses", [["10.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["8.8.8.8", "::1"]])
def test_one_forbidden_address_rejects_the_host(addresses: list[str]) -> None:
    with pytest.raises(AddressRejected):
        get("https://a.example/", *addresses)


def test_host_without_an_address_is_rejected() -> None:
    with pytest.raises(OSError, match="no address"):
        get("https://a.example/")


def test_invalid_response_of_the_resolver_is_rejected() -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        get("https://a.example/", "inside", reach=ANYWHERE)


@pytest.mark.parametrize("host", ["xn--fa-hia.example", "faß.example"])
def test_name_is_looked_up_in_the_encoding_of_idna_2008(host: str) -> None:
    """Python encodes names as IDNA 2003 does, which maps `ß` to `ss`, a different name."""
    names: list[str] = []
    with pytest.raises(OSError, match="no address"):
        get(f"https://{host}/", names=names)
    assert names == ["xn--fa-hia.example"]


SIX, FOUR = [f"2606:4700::{each}" for each in range(1, 9)], ["8.8.8.8", "8.8.4.4"]


@pytest.mark.parametrize(
    ("addresses", "tried"),
    [
        ([*SIX, *FOUR], [SIX[0], FOUR[0], SIX[1]]),
        ([*FOUR, *SIX], [FOUR[0], SIX[0], FOUR[1]]),
        (SIX, SIX[:3]),
        (FOUR, FOUR),
    ],
)
def test_ipv6_and_ipv4_addresses_are_tried_alternately(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str], tried: list[str]
) -> None:
    """IPv6 connections fail in many networks (RFC 8305 section 4)."""
    connected: list[str] = []

    def connect(own: socket.socket, address: tuple[str, int]) -> None:
        connected.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(httpx2.ConnectError):
        get("https://a.example/", *addresses)
    assert connected == tried


ROW = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 0))


class SilentResolver:
    """A resolver that does not answer until `go_on` is set; records the names looked up."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.go_on = threading.Event()

    def __call__(self, host: str | bytes, *_: Any) -> list[Any]:
        self.names.append(host if isinstance(host, str) else host.decode())
        self.go_on.wait(60)
        return [ROW]


@pytest.fixture
def silent() -> Iterator[SilentResolver]:
    resolver = SilentResolver()
    yield resolver
    resolver.go_on.set()


def test_concurrent_lookups_of_one_name_are_shared(silent: SilentResolver) -> None:
    lookups = Lookups(silent)
    flights = [lookups.start("a.example", None) for _ in range(100)]
    silent.go_on.set()
    assert [each.result(10) for each in flights] == [[ROW]] * 100
    assert silent.names == ["a.example"]


def test_further_lookup_is_rejected_immediately_while_all_hang(silent: SilentResolver) -> None:
    lookups = Lookups(silent)
    hanging = [lookups.start(f"{number}.example", None) for number in range(LOOKUPS_MAX)]
    with pytest.raises(Refused):
        lookups.start("one-more.example", None)
    lookups.start("0.example", None)  # joins the one in progress
    silent.go_on.set()
    assert [each.result(10) for each in hanging] == [[ROW]] * LOOKUPS_MAX
    assert lookups.start("one-more.example", None).result(10) == [ROW]


def test_failed_lookup_fails_all_waiters_and_is_retried() -> None:
    responses = iter([socket.gaierror("no such name"), None])

    def resolve(*_: Any) -> list[Any]:
        if (error := next(responses)) is not None:
            raise error
        return [ROW]

    lookups = Lookups(resolve)
    with pytest.raises(socket.gaierror):
        lookups.start("a.example").result(10)
    assert lookups.start("a.example").result(10) == [ROW]


def test_cancelling_one_waiter_does_not_end_the_lookup(silent: SilentResolver) -> None:
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
    silent: SilentResolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vetted_addresses, "_lookups", Lookups(silent))
    before = threading.active_count()
    for number in range(3 * LOOKUPS_MAX):
        with pytest.raises(ProviderUnavailable):
            http.get(f"https://{number}.example/", timeout=0.01)
    assert len(silent.names) == LOOKUPS_MAX
    assert threading.active_count() - before <= LOOKUPS_MAX


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "HTTP_PROXY"])
def test_name_of_a_proxy_is_looked_up_in_the_same_threads(
    silent: SilentResolver, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setattr(vetted_addresses, "_lookups", Lookups(silent))
    monkeypatch.setenv(variable, "http://proxy.example:3128")
    scheme = variable.partition("_")[0].lower()
    for _ in range(5):
        with pytest.raises(ProviderUnavailable):
            http.get(f"{scheme}://a.example/", timeout=0.01)
    assert silent.names == ["proxy.example"]


def test_ip_address_is_not_looked_up(
    silent: SilentResolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vetted_addresses, "_lookups", Lookups(silent))
    for host in ("127.0.0.1", "[::1]"):
        with pytest.raises(ProviderUnavailable):
            http.get(f"http://{host}:9/", reach=ANYWHERE)
    assert silent.names == []


def test_missing_file_descriptor_raises_one_error_and_prints_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def socketpair(*_: Any) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket, "socketpair", socketpair)
    with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        BoundedLoop()
    gc.collect()
    assert capsys.readouterr().err == ""
