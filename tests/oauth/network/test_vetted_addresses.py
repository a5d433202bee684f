"""Which network an address is in, whatever it is wrapped in."""

from __future__ import annotations

import asyncio
import socket
import ssl

import httpx2
import pytest

from oauth.network.vetted_addresses import (
    ANYWHERE,
    PUBLIC,
    AddressRejected,
    Network,
    Reach,
    VettedTransport,
    network_of,
)

GLOBAL, LOOPBACK, LINK_LOCAL, PRIVATE = (
    Network.GLOBAL,
    Network.LOOPBACK,
    Network.LINK_LOCAL,
    Network.PRIVATE,
)


@pytest.mark.parametrize(
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


def ask(url: str, *addresses: str, reach: Reach = PUBLIC) -> None:
    async def resolve(host: str) -> list[str]:
        return list(addresses)

    async def get() -> None:
        transport = VettedTransport(reach, verify=ssl.create_default_context(), resolve=resolve)
        async with httpx2.AsyncClient(transport=transport) as client:
            await client.get(url)

    asyncio.run(get())


@pytest.mark.parametrize("addresses", [["10.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["8.8.8.8", "::1"]])
def test_one_forbidden_address_rejects_the_host(addresses: list[str]) -> None:
    with pytest.raises(AddressRejected):
        ask("https://a.example/", *addresses)


def test_host_without_an_address_is_not_asked() -> None:
    with pytest.raises(OSError, match="no address"):
        ask("https://a.example/")


def test_invalid_response_of_the_resolver_is_rejected() -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        ask("https://a.example/", "inside", reach=ANYWHERE)


@pytest.mark.parametrize("host", ["xn--fa-hia.example", "faß.example"])
def test_name_is_looked_up_as_it_is_asked_for(host: str) -> None:
    """Python's own encoding of names is that of IDNA 2003, where `ß` is another name, `ss`."""
    asked = []

    async def resolve(name: str) -> list[str]:
        asked.append(name)
        return []

    async def get() -> None:
        transport = VettedTransport(PUBLIC, verify=ssl.create_default_context(), resolve=resolve)
        async with httpx2.AsyncClient(transport=transport) as client:
            await client.get(f"https://{host}/")

    with pytest.raises(OSError, match="no address"):
        asyncio.run(get())
    assert asked == ["xn--fa-hia.example"]


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
def test_both_kinds_of_address_are_tried_in_turn(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str], tried: list[str]
) -> None:
    """Many a network has IPv6 addresses that lead nowhere (RFC 8305 section 4)."""
    connected: list[str] = []

    def connect(own: socket.socket, address: tuple[str, int]) -> None:
        connected.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(httpx2.ConnectError):
        ask("https://a.example/", *addresses)
    assert connected == tried
