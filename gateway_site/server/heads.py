"""What the head of a request must be like. Method, target and headers enter; a refusal leaves.

httptools refuses what no two programs read alike (white space before a colon, a line that
ends in LF, folded lines, two lengths); here is what it lets through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

HEAD_SIZE = 64 * 1024  # bytes of a request line with its header fields
HEAD_FIELDS = 200
TARGET_SIZE = 24 * 1024  # bytes; a gateway's path and query are at most 20 KB
PATH_SIZE = 8 * 1024  # bytes
FIELD_SIZE = 16 * 1024  # bytes of a field's name and values, however many lines it comes in
CONTENT_TYPE_SIZE = 1024  # bytes; Django takes time quadratic in its length
# Fields that have no limit of their own: sibling sites set cookies, and users cannot help it.
UNLIMITED = frozenset({b"cookie"})
LENGTH_DIGITS = 18
DELIMITING = frozenset({b"content-length", b"transfer-encoding"})

Headers = Sequence[tuple[bytes, bytes]]


class Refusal(Exception):
    """A request that is answered by the server, with a status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


def check(version: str, target: bytes, headers: Headers) -> None:
    """Raise Refusal unless the head is one that every server and proxy reads alike.

    The fields were counted as they came, since each takes memory.
    """
    if version not in {"1.1", "1.0"}:
        raise Refusal(505, "This version of HTTP is not spoken here.")
    _check_target(target)
    _check_size(target, headers)
    if refusal := oversized(headers):
        raise refusal
    names = [name for name, _ in headers]
    _check_host(version, names)
    _check_framing(version, names, headers)


def too_large() -> Refusal:
    """Return the refusal of a head that is over a bound (RFC 6585 section 5)."""
    return Refusal(431, "The request's header fields are too large, or too many.")


def oversized(headers: Headers) -> Refusal | None:
    """Return the refusal of a field that is over its limit, if there is one.

    Names are in lower case. The lines of a field count together: Django joins them by commas.
    """
    lengths = [len(value) for name, value in headers if name == b"content-type"]
    if sum(lengths) + len(lengths) - 1 > CONTENT_TYPE_SIZE:
        return Refusal(400, "The request's Content-Type is too long.")
    if sum([len(name) + len(value) for name, value in headers]) <= FIELD_SIZE:
        return None
    sizes: Counter[bytes] = Counter()
    for name, value in headers:
        sizes[name] += len(value)
    if any(len(name) + sizes[name] > FIELD_SIZE for name in sizes.keys() - UNLIMITED):
        return too_large()
    return None


def has_body(headers: Headers) -> bool:
    """Return whether a body is announced."""
    return any(name in DELIMITING for name, _ in headers)


def _check_target(target: bytes) -> None:
    """Take a path only: a whole URL names a host beside `Host`, and `*` and CONNECT name none."""
    if len(target) > TARGET_SIZE or len(target.partition(b"?")[0]) > PATH_SIZE:
        raise Refusal(414, "The request's address is too long.")
    if not target.startswith(b"/") or target.find(b"#") >= 0:  # a tenth of what `in` takes
        raise Refusal(400, "The request's target must be a path.")


def _check_size(target: bytes, headers: Headers) -> None:
    size = sum([len(name) + len(value) + 4 for name, value in headers])
    if len(target) + size > HEAD_SIZE:
        raise too_large()


def _check_host(version: str, names: Sequence[bytes]) -> None:
    """Want one `Host`, as RFC 9112 section 3.2 does; HTTP/1.0 knew none."""
    count = names.count(b"host")
    if count > 1 or (count == 0 and version == "1.1"):
        raise Refusal(400, "The request must have one Host header.")


def _check_framing(version: str, names: Sequence[bytes], headers: Headers) -> None:
    """Want a body delimited in one way (RFC 9112 sections 6.1 to 6.3)."""
    lengths, codings = names.count(b"content-length"), names.count(b"transfer-encoding")
    if not lengths and not codings:
        return
    value = next(value for name, value in headers if name in DELIMITING)
    if lengths:
        well = value.isdigit() and len(value) <= LENGTH_DIGITS
    else:
        well = value.lower() == b"chunked" and version == "1.1"
    if lengths + codings > 1 or not well:
        raise Refusal(400, "The request's body is not delimited in one way.")
