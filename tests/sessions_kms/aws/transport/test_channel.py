"""What bytes say under TLS, whichever way they are cut, and what is left over."""

import ssl
from pathlib import Path

import pytest

from sessions_kms.aws.http1.answer import AnswerReader
from sessions_kms.aws.http1.garbled import GarbledAnswer
from sessions_kms.aws.transport.channel import Clear, Tls, heard
from sessions_kms.aws.transport.channels import context_for
from tests.sessions_kms.aws.transport.scripted import answer
from tests.support.certificates import server_context


class Served:
    """The server's end of a channel, in memory."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)

    def shake(self, channel: Tls) -> bytes:
        """Open the channel; return what the server sends then, by which it is resumed."""
        said, is_open = channel.opening(b"")
        while True:
            self._in.write(said)
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                assert not is_open
            if is_open:
                return self._out.read()
            said, is_open = channel.opening(self._out.read())

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


@pytest.fixture
def served(tmp_path: Path) -> tuple[Served, Tls]:
    context = server_context(tmp_path / "certificate.pem")
    channel = Tls(context_for(str(tmp_path / "certificate.pem")), "127.0.0.1", None)
    server = Served(context)
    tickets = server.shake(channel)
    # Records without data: the silence before the answer goes on.
    assert tickets
    assert heard(channel, AnswerReader(), tickets) == (False, None)
    return server, channel


def test_every_cut_of_the_records_says_the_same(served: tuple[Served, Tls]) -> None:
    server, channel = served
    for size in range(1, 40):
        records = server.record(b"a" * size) + server.record(b"b")
        said = b"".join(channel.opened(records[at : at + size]) for at in range(0, 400, size))
        assert said == b"a" * size + b"b"
    assert server.reads(channel.sealed(b"question")) == b"question"


def test_records_behind_the_answer_end_the_connection(served: tuple[Served, Tls]) -> None:
    server, channel = served
    began, found = heard(channel, AnswerReader(), server.record(answer(b"a")))
    assert began
    assert found is not None
    assert found.keeps_alive
    two = server.record(answer(b"a")) + server.record(answer(b"hers"))
    _, found = heard(channel, AnswerReader(), two)
    assert found is not None
    assert (found.body, found.keeps_alive) == (b"a", False)


def test_end_behind_the_answer_is_heard(served: tuple[Served, Tls]) -> None:
    server, channel = served
    _, found = heard(channel, AnswerReader(), server.record(answer(b"a")) + server.end())
    assert found is not None
    assert channel.is_over


def test_end_before_the_answer_is_none(served: tuple[Served, Tls]) -> None:
    server, channel = served
    with pytest.raises(ConnectionResetError):
        heard(channel, AnswerReader(), server.end())


def test_end_within_the_answer_is_garbled(served: tuple[Served, Tls]) -> None:
    server, channel = served
    reader = AnswerReader()
    assert heard(channel, reader, server.record(answer(b"a")[:-1])) == (True, None)
    with pytest.raises(GarbledAnswer):
        heard(channel, reader, server.end())


def test_part_of_a_record_is_no_answer_yet(served: tuple[Served, Tls]) -> None:
    server, channel = served
    assert heard(channel, AnswerReader(), server.record(b"a")[:-1]) == (False, None)
    assert heard(Clear(), AnswerReader(), b"H") == (True, None)


def test_altered_record_is_refused(served: tuple[Served, Tls]) -> None:
    server, channel = served
    record = bytearray(server.record(answer(b"a")))
    record[-1] ^= 1
    with pytest.raises(ssl.SSLError):
        channel.opened(bytes(record))
