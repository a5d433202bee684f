"""One process's chain of lines: each has the writer, its number, and the digest of the last one.

The digest is SHA-256 of a line without its end, in hexadecimal. The number of the first line is 1,
and its `previous` is 64 zeros. A checkpoint ends in a `mac`, which covers all that is before it.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

from gateway_site.audit.event import CHECKPOINT, Event, encode, parse_time

NOTHING: Final = "0" * 64
LABEL: Final = b"gateway audit checkpoint 1\0"
MAC_START: Final = b',"mac":"'
MAC_END: Final = re.compile(rb'([0-9a-f]{64})"}')
LINE_MAX: Final = 16 * 1024  # bytes
TOKEN: Final = re.compile(rb'[{}]|"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)  # a string, a brace
TIME_END: Final = 253_402_300_800  # the year 10000


def digest_of(line: bytes) -> str:
    """Return the digest of a line."""
    return hashlib.sha256(line).hexdigest()


class Chain:
    """The end of a chain that is being written."""

    def __init__(self, writer: str) -> None:
        self.writer = writer
        self.number = 0
        self.digest = NOTHING

    def link(self, event: Event) -> bytes:
        """Return the next line for an event, without adding it."""
        place = {"writer": self.writer, "number": self.number + 1, "previous": self.digest}
        return encode(place | event | place)

    def add(self, line: bytes) -> bytes:
        """Add the line that `link` returned, or that line with a MAC; return it with its end."""
        self.number += 1
        self.digest = digest_of(line)
        return line + b"\n"


def signed_message(unsigned: bytes) -> bytes:
    """Return the message that KMS signs for a checkpoint without a MAC."""
    return LABEL + hashlib.sha256(unsigned).digest()


def with_mac(unsigned: bytes, mac: bytes) -> bytes:
    """Return a checkpoint's line with its MAC."""
    return unsigned[:-1] + MAC_START + mac.hex().encode("ascii") + b'"}'


@dataclass(frozen=True)
class Line:
    """A line that was read. ``message`` and ``mac`` are those of a checkpoint, else empty."""

    writer: str
    number: int
    previous: str
    digest: str
    event: Event = field(repr=False)
    message: bytes = field(default=b"", repr=False)
    mac: bytes = field(default=b"", repr=False)


def read_line(text: bytes) -> Line | None:
    """Return a line of a chain; None for anything else, such as one that was cut."""
    try:
        event: Any = json.loads(text)
        writer, number, previous = event["writer"], event["number"], event["previous"]
        is_line = type(writer) is type(previous) is type(event["time"]) is str
        if not is_line or type(number) is not int or type(event["event"]) is not str:
            return None
        if not 0 <= parse_time(event["time"]) < TIME_END:
            return None
        line = Line(writer, number, previous, digest_of(text), event)
        return _with_signature(line, text) if event["event"] == CHECKPOINT else line
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def may_be_cut(text: bytes) -> bool:
    """Return True if a text that is no line may be the beginning of one that was cut.

    Somebody else has written any other text with a brace: programs that read a log as a stream of
    JSON would find an object in it, such as jq in `1 {…}` and in `{…} x`.
    """
    if len(text) > LINE_MAX:
        return False
    if b"{" not in text and b"}" not in text:
        return True
    return text.startswith(b"{") and not _closes(text)


def _closes(text: bytes) -> bool:
    """Return True if the object ends with which a text begins."""
    depth = 0
    for token in TOKEN.finditer(text):
        if token[0] in b"{}":
            depth += 1 if token[0] == b"{" else -1
            if depth == 0:
                return True
    return False


def _with_signature(line: Line, text: bytes) -> Line:
    unsigned, _, end = text.rpartition(MAC_START)
    if (mac := MAC_END.fullmatch(end)) is None:
        return line
    message, signature = signed_message(unsigned + b"}"), bytes.fromhex(mac[1].decode("ascii"))
    return Line(
        line.writer, line.number, line.previous, line.digest, line.event, message, signature
    )
