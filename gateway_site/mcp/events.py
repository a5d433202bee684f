"""Server-sent events that are read before they are passed on, each as a whole.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream. Some clients
also end a line at U+2028, U+2029, U+0085 and some controls (httpx-sse up to 0.4.1). They would find
messages where this reader finds none, so comments pass without their text, other fields than the
four do not pass, and where such a character is in a message, its escape passes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

EVENT_MAX = 4 * 1024 * 1024  # bytes
LINES_MAX = 20_000  # of one event
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Whole comments and empty lines; a line may go on after its CR.
BETWEEN = re.compile(rb"(?:(?::[^\r\n]*+)?(?:\r\n|\n|\r(?!\Z)))++")
LINE_END = re.compile(rb"\r\n|\n|\r")
COMMENT = re.compile(rb":[^\r\n]*")
FIELD = re.compile(rb"(data|event|id|retry)(?:: ?(.*))?", re.DOTALL)
PRINTABLE = re.compile(rb"[ -~]*")
# Characters that end a line for some clients, and may be in a string of JSON; and their escapes.
ESCAPES = {each.encode(): f"\\u{ord(each):04x}".encode() for each in "\x85\u2028\u2029"}


class UnreadableEvent(ValueError):
    """An event that is too large, or that clients may read differently; nothing may follow it."""


@dataclass(frozen=True, slots=True)
class Event:
    """A whole event. `passing` are its bytes as they may pass, with the empty line.

    `data` is empty if it has none, and otherwise as it came.
    """

    passing: bytes = field(repr=False)
    data: bytes = field(repr=False)
    type: str
    others: tuple[bytes, ...] = field(repr=False)  # the lines that are no data

    def with_data(self, text: str) -> bytes:
        """Return it with other data, which has no line ends."""
        return b"\n".join([*self.others, b"data: " + text.encode("utf-8"), b"", b""])


class EventReader:
    """Splits a stream. Comments and empty lines between events are yielded at once."""

    def __init__(self) -> None:
        self._rest = bytearray()  # of a line that has not ended
        self._searched = 0  # bytes of it that have no line end
        self._event: _EventLines | None = None  # that has begun
        self._is_first = True  # the next line
        self._may_continue_end = False  # the last line ended in CR, and LF may follow

    @property
    def pending(self) -> int:
        """How many bytes of an event have been kept."""
        return (0 if self._event is None else self._event.size) + len(self._rest)

    @property
    def is_between_events(self) -> bool:
        """Whether no event has begun."""
        return self._event is None and not self._rest

    def feed(self, data: bytes) -> Iterator[Event | bytes]:
        """Yield what the data completes: events, and bytes between them. Raises UnreadableEvent."""
        if not data:
            return
        if self._may_continue_end:
            self._may_continue_end = False
            if data[:1] == b"\n":
                data = data[1:]
                if self._event is not None:
                    self._event.continue_end()
                else:
                    yield b"\n"
        self._rest += data
        yield from self._take_lines()
        if self.pending > EVENT_MAX:
            raise UnreadableEvent("too large")

    def _take_lines(self) -> Iterator[Event | bytes]:
        start, end = 0, self._searched
        while found := LINE_END.search(self._rest, end):
            if self._event is None and (between := BETWEEN.match(self._rest, start)):
                yield COMMENT.sub(b":", between[0])
                start = end = between.end()
            else:
                line, end = bytes(self._rest[start : found.start()]), found.end()
                yield from self._take_line(line, found[0])
                start = end
            self._is_first = False
        self._may_continue_end = start == len(self._rest) > 0 and self._rest.endswith(b"\r")
        del self._rest[:start]
        self._searched = len(self._rest)

    def _take_line(self, line: bytes, line_end: bytes) -> Iterator[Event | bytes]:
        if self._is_first:
            line = line.removeprefix(BYTE_ORDER_MARK)
        if self._event is None and (not line or line.startswith(b":")):
            yield line[:1] + line_end
            return
        event = self._event = self._event or _EventLines()
        if line:
            event.add(line, line_end)
            return
        self._event = None
        yield event.end(line_end)


class _EventLines:
    """The lines of an event that has begun, of `size` bytes."""

    def __init__(self) -> None:
        self.size = 0
        self._count = 0
        self._passing: list[bytes] = []  # with the ends of the lines
        self._data: list[bytes] = []
        self._others: list[bytes] = []
        self._type = "message"
        self._is_dropped = False  # the last line

    def add(self, line: bytes, line_end: bytes) -> None:
        """Take a line that is not empty. Raises UnreadableEvent."""
        self.size += len(line) + len(line_end)
        self._count += 1
        if self.size > EVENT_MAX or self._count > LINES_MAX:
            raise UnreadableEvent("too large")
        passing = self._read(line)
        self._is_dropped = passing is None
        if passing is not None:
            self._passing.append(passing + line_end)
        elif self._passing and self._passing[-1].endswith(b"\r"):
            self._passing[-1] += b"\n"  # An LF that follows must not be taken for the rest of it.

    def continue_end(self) -> None:
        """Take the LF after the CR that ended the last line."""
        if not self._is_dropped:
            self._passing.append(b"\n")

    def end(self, line_end: bytes) -> Event:
        """Return the event, whose empty line ends so. Raises UnreadableEvent."""
        data = b"\n".join(self._data)
        try:
            data.decode("utf-8")
        except UnicodeError:
            raise UnreadableEvent("not UTF-8") from None
        passing = b"".join([*self._passing, line_end])
        return Event(passing, data, self._type, tuple(self._others))

    def _read(self, line: bytes) -> bytes | None:
        """Return a line as it passes; None if it does not. Raises UnreadableEvent."""
        if line.startswith(b":"):
            self._others.append(b":")
            return b":"
        found = FIELD.fullmatch(line)
        if found is None:
            return None
        name, value = found[1], found[2] or b""
        if name == b"data":
            self._data.append(value)
            for separator, escape in ESCAPES.items():
                line = line.replace(separator, escape)
            return line
        if not PRINTABLE.fullmatch(value):
            raise UnreadableEvent("a field is not in ASCII")
        if name == b"event":
            self._type = value.decode("ascii") or "message"
        self._others.append(line)
        return line
