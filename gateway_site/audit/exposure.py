"""Whose cookies and tokens a process was shown in a period: "at least these", never "only these".

A process records a session or grant when it first reads it in an hour. So the period begins an hour
earlier. Calls and streams that began before and were open then count as well.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gateway_site.audit.chain import Line, read_line
from gateway_site.audit.event import (
    CALL,
    CONSENT,
    OPENED,
    SIGNED_IN,
    STREAM_ENDED,
    format_time,
    parse_time,
)
from gateway_site.audit.verification import read_texts

HOUR: Final = 3600.0
DURATION_MAX: Final = 1e12  # milliseconds
PERSONAL: Final = frozenset({CALL, CONSENT, OPENED, SIGNED_IN, STREAM_ENDED})

WITH_KMS_ALONE: Final = (
    "The labels of all sessions: browser, system and provider of each sign-in.",
    "The labels of all grants: the client's name, id and host, and the upstream.",
    "The gateway's own keys and registrations as a client of other authorization servers.",
    "Access tokens of clients that were valid then, for anybody with a copy of the table.",
)
IN_NO_LOG: Final = (
    "What a process did not record: one that an attacker controls can lie.",
    "Cookies and tokens of requests that failed before a process read their session.",
    "What a process still had in its memory from earlier than that hour.",
    "What was cut off after a process's last checkpoint.",
    "Cookies and tokens that were captured earlier, or elsewhere.",
)


Key = tuple[str, str, str]  # writer, request and person


@dataclass
class Exposed:
    """A person, with the sessions and clients by which they were exposed."""

    person: str
    first: float
    last: float
    sessions: set[str] = field(default_factory=set)
    clients: set[str] = field(default_factory=set)
    writers: set[str] = field(default_factory=set)

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "person": self.person,
            "first": format_time(self.first),
            "last": format_time(self.last),
            "sessions": sorted(self.sessions),
            "clients": sorted(self.clients),
            "processes": sorted(self.writers),
        }


@dataclass(frozen=True)
class Interval:
    """A time in epoch seconds, or a range of times."""

    start: float
    end: float

    def overlaps(self, other: "Interval") -> bool:
        """Return True if they have a moment in common."""
        return self.start <= other.end and other.start <= self.end


def find_exposed(paths: Iterable[Path], start: float, end: float) -> list[Exposed]:
    """Return the people whose cookies or tokens processes had then. Raises OSError."""
    search = _Search(Interval(start - HOUR, end))
    for path in paths:
        search.read(path)
    search.add_open_streams()
    return sorted(search.people.values(), key=lambda each: each.person)


class _Search:
    def __init__(self, period: Interval) -> None:
        self.people: dict[str, Exposed] = {}
        self._period = period
        # That began before the period's end. Several may have the same id: a proxy passes it on.
        self._streams: dict[Key, list[Line]] = {}
        self._ended: Counter[Key] = Counter()
        self._last: dict[str, float] = {}  # the latest time of each writer

    def read(self, path: Path) -> None:
        for line in _lines_of(path):
            now = parse_time(line.event["time"])
            # A clock that was set back: the event counts at both times.
            latest = self._last[line.writer] = max(now, self._last.get(line.writer, now))
            if line.event["event"] in PERSONAL and line.event.get("person"):
                self._add(line, now, latest)

    def add_open_streams(self) -> None:
        """Add the streams without an end: they were open as long as their process ran."""
        for key, lines in self._streams.items():
            for line in lines if len(lines) > self._ended[key] else ():
                began = parse_time(line.event["time"])
                open_until = self._last[line.writer] + HOUR
                if Interval(began, open_until).overlaps(self._period):
                    self._note(line, began)

    def _add(self, line: Line, now: float, latest: float) -> None:
        duration = line.event.get("duration_ms")
        began = now
        if isinstance(duration, int | float) and 0 <= duration < DURATION_MAX:
            began -= duration / 1000
        if began <= self._period.end:
            if line.event["event"] == STREAM_ENDED:
                self._ended[_key(line)] += 1
            elif line.event.get("stream"):
                self._streams.setdefault(_key(line), []).append(line)
        if Interval(began, latest).overlaps(self._period):
            self._note(line, now)

    def _note(self, line: Line, now: float) -> None:
        event = line.event
        person = str(event["person"])
        found = self.people.setdefault(person, Exposed(person, now, now))
        found.first, found.last = min(found.first, now), max(found.last, now)
        found.writers.add(line.writer)
        for name, values in (("session", found.sessions), ("client", found.clients)):
            if event.get(name):
                values.add(str(event[name]))


def _key(line: Line) -> Key:
    return line.writer, str(line.event.get("request")), str(line.event.get("person"))


def _lines_of(path: Path) -> Iterator[Line]:
    for text in read_texts(path):
        line = read_line(text)
        if line is not None:
            yield line
