"""An answer, read from the bytes of a connection as they come.

Bytes enter, an `Answer` leaves once it is whole, and GarbledAnswer is raised for what is not
exactly one answer of HTTP/1.1. Knows no socket, no TLS and no operation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sessions_kms.aws.http1.chunks import Chunks
from sessions_kms.aws.http1.garbled import GarbledAnswer
from sessions_kms.aws.http1.head import HEAD_MAX, Head, parsed
from sessions_kms.aws.http1.known_head import known
from sessions_kms.aws.http1.sized import BODY_MAX, Sized

INTERIM_MAX: Final = 8  # answers such as 100 Continue before the one that counts
SWITCHING_PROTOCOLS: Final = 101
FINAL: Final = 200  # the statuses below are of interim answers: RFC 9110, 15.2
BODILESS: Final = frozenset({204, 304})  # RFC 9110, 6.4.1; DynamoDB sends neither

_HEAD_ENDS = b"\r\n\r\n"


@dataclass(slots=True)
class Answer:
    """A whole answer; ``keeps_alive`` tells whether its connection may be asked again.

    ``connection`` is the one that it came on, for a caller that wants another one next.
    """

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes = field(repr=False)
    keeps_alive: bool
    connection: Any = field(default=None, repr=False, compare=False)


def as_it_is(answer: Answer) -> Answer:
    """Return an answer, and find nothing wrong with what it says."""
    return answer


class AnswerReader:
    """Reads one answer of a connection."""

    # Of the class, as most answers come at once: to make a reader then takes no function.
    _has_begun = False
    _held = b""  # of the head
    _taken = 0  # bytes of heads
    _interim = 0
    _head: Head | None = None
    _body: Sized | Chunks | None = None

    def feed(self, data: bytes) -> Answer | None:
        """Take bytes; return the answer once it is whole, else None. Raises GarbledAnswer.

        Takes no more once it has returned the answer, or has raised.
        """
        __traceback_hide__ = True
        if not self._has_begun:
            self._has_begun = True
            begin = data.find(_HEAD_ENDS) + len(_HEAD_ENDS)
            is_head = len(_HEAD_ENDS) <= begin <= HEAD_MAX
            headers = known.read(data[: begin - 2].decode("latin-1")) if is_head else None
            if headers is not None:
                length = int(headers["content-length"])
                if length == len(data) - begin <= BODY_MAX:  # Nearly always it is all there.
                    return Answer(FINAL, headers, data[begin:], keeps_alive=True)
                self._taken, self._head, self._body = begin, Head(1, FINAL, headers), Sized(length)
                data = data[begin:]
        if self._body is None:
            self._held += data
            if not self._has_head():
                return None
            data = self._held
        return self._answer(data)

    @property
    def left(self) -> int:
        """How many bytes of the body have yet to come; 0 where nobody can tell."""
        return self._body.left if isinstance(self._body, Sized) else 0

    def end(self) -> None:
        """Hear that the connection has ended, before the answer was whole.

        Raises GarbledAnswer, unless no byte of an answer had come.
        """
        if self._held or self._taken:
            raise GarbledAnswer("The answer was cut short.")

    def _has_head(self) -> bool:
        """Read the heads that are there; tell whether the one that counts was among them."""
        while (end := self._held.find(_HEAD_ENDS)) >= 0:
            end += len(_HEAD_ENDS)
            self._count(end)
            text = self._held[: end - 2].decode("latin-1")
            head = parsed(text)
            self._held = self._held[end:]
            self._taken += end
            if head.status >= FINAL:
                self._begin(head)
                known.learn(text, head)
                return True
            self._skip(head)
        self._count(len(self._held))
        return False

    def _count(self, size: int) -> None:
        if self._taken + size > HEAD_MAX:
            raise GarbledAnswer("The head of the answer is too long.")

    def _skip(self, head: Head) -> None:
        self._interim += 1
        framed = "content-length" in head.headers or "transfer-encoding" in head.headers
        if framed or head.status == SWITCHING_PROTOCOLS or self._interim > INTERIM_MAX:
            raise GarbledAnswer("There is something before the answer that does not belong there.")

    def _begin(self, head: Head) -> None:
        if head.status in BODILESS:
            raise GarbledAnswer("An answer without a body is none.")
        length = head.length()
        self._head, self._body = head, Chunks() if length is None else Sized(length)

    def _answer(self, data: bytes) -> Answer | None:
        __traceback_hide__ = True
        head, body = self._head, self._body
        assert head is not None and body is not None  # noqa: S101, PT018 - for the type checker
        rest = body.feed(data)
        if rest is None:
            return None
        # What follows was not asked for, so nothing on this connection is to be believed.
        return Answer(head.status, head.headers, body.content(), head.keeps_alive and not rest)
