"""Heads of whole answers that have the headers of one that came before, in its order.

Text enters, headers leave, or None: then `head` is to look. A pattern that is made of one head
reads the next in a third of the time; what fits is a head that `head` takes, and nothing but 200,
a length that is told once, and a connection that is kept.
"""

import re
from typing import Final

from sessions_kms.aws.http1.head import TEXT, Head

LEARNT_MAX: Final = 16  # patterns made by one process: who changes headers all the time has none
LETTERS_MAX: Final = 1024  # of a head that is learnt: to make a pattern of 32 KB takes 0.1 s
_STATUS: Final = "HTTP/1.1 200 "
_LENGTH: Final = "([0-9]{1,10})"
_ANY: Final = f"({TEXT})"


class KnownHead:
    """The last head that was learnt; threads share it."""

    def __init__(self) -> None:
        self._known: tuple[re.Pattern[str], tuple[str, ...]] | None = None
        self._learnt = 0

    def read(self, text: str) -> dict[str, str] | None:
        """Return the headers of a head that is as the one that is known."""
        __traceback_hide__ = True
        if self._known is None:
            return None
        pattern, names = self._known
        found = pattern.fullmatch(text)
        return None if found is None else dict(zip(names, found.groups(), strict=True))

    def learn(self, text: str, head: Head) -> None:
        """Know a head that was read, if it is of this kind."""
        if self._learnt >= LEARNT_MAX or len(text) > LETTERS_MAX:
            return
        status, *lines, _ = text.split("\r\n")
        headers = head.headers
        if (
            not status.startswith(_STATUS)
            or len(headers) != len(lines)
            or "content-length" not in headers
            or "transfer-encoding" in headers
            or not head.keeps_alive
            or self.read(text) is not None
        ):
            return
        self._learnt += 1
        names = [line.partition(":")[0] for line in lines]
        fields = "".join(rf"{re.escape(name)}:[\t ]*+{_value(name, headers)}\r\n" for name in names)
        pattern = re.compile(rf"{re.escape(status)}\r\n{fields}")
        self._known = (pattern, tuple(name.lower() for name in names))


def _value(name: str, headers: dict[str, str]) -> str:
    """Return the pattern of a value; by that of `Connection`, the head was found to keep it."""
    if name.lower() == "connection":
        return f"({re.escape(headers['connection'])})"
    return _LENGTH if name.lower() == "content-length" else _ANY


known: Final = KnownHead()
