"""Upstreams of a private network without TLS, and those with a private certificate authority."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway_site.rules.upstream import Upstream, read_upstreams
from gateway_site.transport import upstream_client as client
from gateway_site.transport.failures import ConnectError
from gateway_site.transport.messages import build_request
from gateway_site.transport.pool import Owner
from tests.oauth.support import fake_provider, hostile
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.hostile import HostileProvider, certificates, good

ADA = Owner("session-a", "1")


def upstream(url: str, **more: str) -> Upstream:
    variables = {"URL": url, "PROVIDER": "corp"} | more
    return read_upstreams({f"UPSTREAM_API_{name}": text for name, text in variables.items()})["api"]


async def status_of(found: Upstream) -> int:
    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    asked = build_request(found, "GET", f"{found.origin}/x", [], nothing())
    response = await client.send(ADA, found, asked)
    response.close()
    return response.status


@pytest.mark.parametrize(("address", "is_asked"), [("10.1.2.3", True), ("93.184.215.14", False)])
async def test_without_tls_nothing_is_sent_to_the_internet(
    monkeypatch: pytest.MonkeyPatch, address: str, is_asked: bool
) -> None:
    """The address that counts is the one that was connected to, whatever the name meant before."""
    asked: list[str] = []
    with fake_provider.serving(FakeProvider) as server:
        server.hooks["/x"] = lambda: asked.append("/x")
        found = upstream(server.issuer, ALLOW_HTTP="1")
        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "getpeername", lambda _: (address, 80))
            if is_asked:
                assert await status_of(found) == 404
            else:
                with pytest.raises(ConnectError):
                    await status_of(found)
        await client.close()
    assert asked == ["/x"] * is_asked


async def test_configured_authority_replaces_the_public_ones(tmp_path: Path) -> None:
    own, tls = certificates(tmp_path, "localhost")
    (tmp_path / "other").mkdir()
    other, _ = certificates(tmp_path / "other", "localhost")
    server = HostileProvider()
    server.paths["/x"] = lambda _: good({})
    with hostile.serving(server, tls) as port:
        url = f"https://localhost:{port}"
        assert await status_of(upstream(url, CA_FILE=str(own))) == 200
        for refused in (upstream(url), upstream(url, CA_FILE=str(other))):
            with pytest.raises(ConnectError):
                await status_of(refused)
        await client.close()
    assert server.asked == ["/x"]


async def test_file_of_an_authority_that_cannot_be_read_is_an_upstream_out_of_reach(
    tmp_path: Path,
) -> None:
    own, _ = certificates(tmp_path, "localhost")
    found = upstream("https://localhost:1", CA_FILE=str(own))
    own.unlink()
    with pytest.raises(ConnectError):
        await status_of(found)
    await client.close()
