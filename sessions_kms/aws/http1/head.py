"""The head of an answer: its status and its headers, by RFC 9112 and nothing beyond it.

Text enters, a `Head` leaves, or GarbledAnswer is raised. What programs are known to read in
two ways is refused: line ends of one byte, folded lines, a space before the colon.
"""

import re
from typing import Final, NamedTuple

from sessions_kms.aws.http1.garbled import GarbledAnswer

HEAD_MAX: Final = 32 * 1024  # bytes, of all interim answers as well
LINES_MAX: Final = 100

# `++` and `*+` give nothing back: what does not match is refused at once, whatever its length.
TEXT = r"[\t\x20-\x7e\x80-\xff]*+"
_FIELDS = rf"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:{TEXT}\r\n)*+"
_FIELD_LINES = re.compile(_FIELDS)
_HEAD = re.compile(rf"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: {TEXT})?+\r\n({_FIELDS})")
_PAIRS = re.compile(r"([^:]++):[\t ]*+([^\r]*+)\r\n")  # of such lines


class Head(NamedTuple):
    """Status, and headers by their names in lower case; what came twice is joined by a comma."""

    minor: int  # of the version: HTTP/1.0, HTTP/1.1
    status: int
    headers: dict[str, str]

    @property
    def keeps_alive(self) -> bool:
        """Tell whether the connection may carry another request: RFC 9112, 9.3.

        What only looks like `close` ends it as well: that costs a connection and no more.
        """
        return self.minor == 1 and "close" not in self.headers.get("connection", "").lower()

    def length(self) -> int | None:
        """Return how long the body is; None where it comes in chunks.

        An answer without either would end with the connection, and be whole wherever that is
        cut; so it is refused. RFC 9112, 6.3. Raises GarbledAnswer.
        """
        length, coding = self.headers.get("content-length"), self.headers.get("transfer-encoding")
        if coding is not None:
            if length is None and self.minor == 1 and coding.lower() == "chunked":
                return None
        # One that came twice has a comma in it.
        elif length is not None and length.isdigit() and length.isascii() and len(length) <= 10:
            return int(length)
        raise GarbledAnswer("The length of the answer cannot be told.")


def parsed(text: str) -> Head:
    """Return the head that a text is, up to the end of its last header. Raises GarbledAnswer."""
    __traceback_hide__ = True
    found = _HEAD.fullmatch(text)
    if found is None or text.count("\n") > LINES_MAX:
        raise GarbledAnswer("The head of the answer is not HTTP/1.1.")
    minor, status, lines = found.groups()
    return Head(int(minor), int(status), _headers(lines))


def are_fields(text: str) -> bool:
    """Tell whether a text is header lines, none or more, each with its end."""
    return _FIELD_LINES.fullmatch(text) is not None


def _headers(lines: str) -> dict[str, str]:
    # A space at the end stays, and a length or a coding with one is refused: clients differ.
    pairs = [(name.lower(), value) for name, value in _PAIRS.findall(lines)]
    headers = dict(pairs)
    return headers if len(headers) == len(pairs) else _joined(pairs)


def _joined(pairs: list[tuple[str, str]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in pairs:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
