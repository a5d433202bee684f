"""The TLS channel gives the same data for any split of the bytes."""

import ssl
from pathlib import Path

import pytest

from sessions_kms.aws.http_client.body import InvalidResponse
from sessions_kms.aws.http_client.connections import Connection, IdleConnections, TlsChannel
from sessions_kms.aws.http_client.response import Response, ResponseReader
from sessions_kms.http.connecting import tls_context
from tests.sessions_kms.aws.http_client.scripted import make_response
from tests.support.certificates import server_context


class Served:
    """The server's end of a channel, in memory."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)

    def shake(self, channel: TlsChannel) -> bytes:
        """Open the channel; return what the server sends then, by which it is resumed."""
        said, is_open = channel.handshake(b"")
        while True:
            self._in.write(said)
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                assert not is_open
            if is_open:
                return self._out.read()
            said, is_open = channel.handshake(self._out.read())

    def record(self, data: bytes) -> bytes:
        self._tls.write(data)
        return self._out.read()

    def end(self) -> bytes:
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.unwrap()
        return self._out.read()

    def reads(self, data: bytes) -> bytes:
        self._in.write(data)
        return self._tls.read()


def read(
    channel: TlsChannel | None, reader: ResponseReader, data: bytes
) -> tuple[bool, Response | None]:
    idle = IdleConnections[Connection](lambda: 0.0)
    return Connection(channel, 0.0, idle).read(reader, data)


@pytest.fixture
def served(tmp_path: Path) -> tuple[Served, TlsChannel]:
    context = server_context(tmp_path / "certificate.pem")
    channel = TlsChannel(tls_context(str(tmp_path / "certificate.pem")), "127.0.0.1", None)
    server = Served(context)
    tickets = server.shake(channel)
    # Records without data: the response has not begun.
    assert tickets
    assert read(channel, ResponseReader(), tickets) == (False, None)
    return server, channel


def test_records_split_anywhere_give_the_same_result(served: tuple[Served, TlsChannel]) -> None:
    server, channel = served
    for size in range(1, 40):
        records = server.record(b"a" * size) + server.record(b"b")
        said = b"".join(channel.decrypt(records[at : at + size]) for at in range(0, 400, size))
        assert said == b"a" * size + b"b"
    assert server.reads(channel.encrypt(b"question")) == b"question"


def test_records_behind_the_response_end_the_connection(served: tuple[Served, TlsChannel]) -> None:
    server, channel = served
    began, found = read(channel, ResponseReader(), server.record(make_response(b"a")))
    assert began
    assert found is not None
    assert found.keep_alive
    two = server.record(make_response(b"a")) + server.record(make_response(b"hers"))
    _, found = read(channel, ResponseReader(), two)
    assert found is not None
    assert (found.body, found.keep_alive) == (b"a", False)


def test_end_after_the_response_is_detected(served: tuple[Served, TlsChannel]) -> None:
    server, channel = served
    _, found = read(channel, ResponseReader(), server.record(make_response(b"a")) + server.end())
    assert found is not None
    assert channel.has_ended


def test_end_before_the_response_is_an_error(served: tuple[Served, TlsChannel]) -> None:
    server, channel = served
    with pytest.raises(ConnectionResetError):
        read(channel, ResponseReader(), server.end())


def test_end_within_the_response_is_garbled(served: tuple[Served, TlsChannel]) -> None:
    server, channel = served
    reader = ResponseReader()
    assert read(channel, reader, server.record(make_response(b"a")[:-1])) == (True, None)
    with pytest.raises(InvalidResponse):
        read(channel, reader, server.end())


def test_part_of_a_record_is_no_response_yet(served: tuple[Served, TlsChannel]) -> None:
    server, channel = served
    assert read(channel, ResponseReader(), server.record(b"a")[:-1]) == (False, None)
    assert read(None, ResponseReader(), b"H") == (True, None)


def test_altered_record_is_refused(served: tuple[Served, TlsChannel]) -> None:
    server, channel = served
    record = bytearray(server.record(make_response(b"a")))
    record[-1] ^= 1
    with pytest.raises(ssl.SSLError):
        channel.decrypt(bytes(record))
