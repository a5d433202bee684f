"""What a connection's bytes say, in the clear or under TLS. Bytes enter and leave; no socket.

https://docs.python.org/3/library/ssl.html#memory-bio-support
"""

import ssl
from typing import Final, Protocol

from sessions_kms.aws.http1.answer import Answer, AnswerReader

RECORD: Final = 16 * 1024  # bytes that one record of TLS holds at most: RFC 8446, 5.1


class Channel(Protocol):
    """The two ways through a connection."""

    is_over: bool  # the other side has said that it sends no more

    def opening(self, heard: bytes) -> tuple[bytes, bool]:
        """Take what came, nothing at first; return what is to be sent, and whether it is open."""
        ...

    def sealed(self, data: bytes) -> bytes:
        """Return the bytes that say this."""
        ...

    def opened(self, data: bytes) -> bytes:
        """Return what these bytes say, and those before them that said nothing yet."""
        ...


class Clear:
    """Bytes that say themselves."""

    is_over = False

    def opening(self, _heard: bytes) -> tuple[bytes, bool]:
        """Be open."""
        return b"", True

    def sealed(self, data: bytes) -> bytes:
        """Return them."""
        return data

    def opened(self, data: bytes) -> bytes:
        """Return them."""
        return data


class Tls:
    """Bytes under TLS. Raises ssl.SSLError."""

    def __init__(self, context: ssl.SSLContext, host: str, session: ssl.SSLSession | None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=host, session=session
        )
        self.is_over = False

    def opening(self, heard: bytes) -> tuple[bytes, bool]:
        """Go on with the handshake."""
        self._incoming.write(heard)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return self._outgoing.read(), False
        return self._outgoing.read(), True

    def sealed(self, data: bytes) -> bytes:
        """Encrypt, behind whatever TLS itself has to say."""
        __traceback_hide__ = True
        left = memoryview(data)
        while left:
            left = left[self._tls.write(left) :]
        return self._outgoing.read()

    def opened(self, data: bytes) -> bytes:
        """Decrypt all whole records."""
        __traceback_hide__ = True
        self._incoming.write(data)
        pieces = []
        try:
            while piece := self._tls.read(RECORD):
                pieces.append(piece)
            self.is_over = True
        except ssl.SSLWantReadError:
            pass
        return b"".join(pieces)

    def session(self) -> ssl.SSLSession | None:
        """Return what resumes it: in TLS 1.3, once an answer has come. RFC 8446, 4.6.1."""
        return self._tls.session


def heard(channel: Channel, reader: AnswerReader, data: bytes) -> tuple[bool, Answer | None]:
    """Read what came, b"" for the end; return whether the answer has begun, and it, if whole.

    Raises GarbledAnswer, ssl.SSLError, or ConnectionResetError where the connection ended first.
    """
    __traceback_hide__ = True
    plain = channel.opened(data) if data else b""
    if plain and (answer := reader.feed(plain)) is not None:
        return True, answer
    if not data or channel.is_over:
        reader.end()
        raise ConnectionResetError("The connection was closed without an answer.")
    return bool(plain), None
