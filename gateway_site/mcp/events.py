"""Server-sent events that are read before they are passed on, each as a whole.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream, without
what clients forgive: a field that is none of the four, and another encoding than UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

EVENT_MAX = 4 * 1024 * 1024  # bytes
LINES_MAX = 20_000  # of one event
# Whole comments and empty lines; a line may go on after its CR.
BETWEEN = re.compile(rb"(?:(?::[^\r\n]*+)?(?:\r\n|\n|\r(?!\Z)))++")
LINE_END = re.compile(rb"\r\n|\n|\r")
FIELD = re.compile(rb"(data|event|id|retry)(?:: ?(.*))?", re.DOTALL)


class UnreadableEvent(ValueError):
    """An event that is too large, or that clients may read differently; nothing may follow it."""


@dataclass(frozen=True, slots=True)
class Event:
    """A whole event. `raw` are its bytes with the empty line; `data` is empty if it has none."""

    raw: bytes = field(repr=False)
    data: bytes = field(repr=False)
    type: str
    others: tuple[bytes, ...] = field(repr=False)  # the lines that are no data

    def with_data(self, text: str) -> bytes:
        """Return it with other data, which has no line ends."""
        return b"\n".join([*self.others, b"data: " + text.encode("utf-8"), b"", b""])


class EventReader:
    """Splits a stream. Comments and empty lines between events are passed on at once."""

    def __init__(self) -> None:
        self._rest = bytearray()  # of a line that has not ended
        self._searched = 0  # bytes of it that have no line end
        self._lines: list[bytes] = []  # of the event that has begun
        self._raw: list[bytes] = []  # with their ends
        self._size = 0
        self._may_continue_end = False  # the last line ended in CR, and LF may follow

    @property
    def pending(self) -> int:
        """How many bytes of an event have been kept."""
        return self._size + len(self._rest)

    @property
    def is_between_events(self) -> bool:
        """Whether no event has begun."""
        return not self._lines and not self._rest

    def feed(self, data: bytes) -> Iterator[Event | bytes]:
        """Yield what the data completes: events, and bytes between them. Raises UnreadableEvent."""
        if not data:
            return
        if self._may_continue_end:
            self._may_continue_end = False
            if data[:1] == b"\n":
                data = data[1:]
                if self._lines:
                    self._raw.append(b"\n")
                else:
                    yield b"\n"
        self._rest += data
        yield from self._take_lines()
        if self.pending > EVENT_MAX:
            raise UnreadableEvent("too large")

    def _take_lines(self) -> Iterator[Event | bytes]:
        start, end = 0, self._searched
        while found := LINE_END.search(self._rest, end):
            if not self._lines and (between := BETWEEN.match(self._rest, start)):
                yield between[0]
                start = end = between.end()
                continue
            line, end = bytes(self._rest[start : found.start()]), found.end()
            yield from self._take_line(line, found[0])
            start = end
        self._may_continue_end = start == len(self._rest) > 0 and self._rest.endswith(b"\r")
        del self._rest[:start]
        self._searched = len(self._rest)

    def _take_line(self, line: bytes, line_end: bytes) -> Iterator[Event | bytes]:
        raw = line + line_end
        if not self._lines and (not line or line.startswith(b":")):
            yield raw
            return
        self._raw.append(raw)
        self._size += len(raw)
        if self._size > EVENT_MAX or (line and len(self._lines) == LINES_MAX):
            raise UnreadableEvent("too large")
        if line:
            self._lines.append(line)
            return
        event = _read_event(self._lines, b"".join(self._raw))
        self._lines, self._raw, self._size = [], [], 0
        yield event


def _read_event(lines: list[bytes], raw: bytes) -> Event:
    data, others, kind = [], [], "message"
    try:
        raw.decode("utf-8")
    except UnicodeError:
        raise UnreadableEvent("not UTF-8") from None
    for line in lines:
        found = None if line.startswith(b":") else FIELD.fullmatch(line)
        if found is None and not line.startswith(b":"):
            raise UnreadableEvent("unknown field")
        if found and found[1] == b"data":
            data.append(found[2] or b"")
        else:
            others.append(line)
        if found and found[1] == b"event":
            kind = (found[2] or b"").decode("utf-8") or "message"
    return Event(raw, b"\n".join(data), kind, tuple(others))
