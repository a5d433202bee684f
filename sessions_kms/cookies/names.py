r"""Which pairs of a Cookie header count, judged by their bytes.

A browser takes `\xa0__Host-sessionid` for another name than `__Host-sessionid`: a sibling host may
set it for the domain that both share, over plain http too, where the prefix would forbid it.
Django decodes the header and strips every name, and then the one is the other. So what only looks
like a name of ours is dropped before anything decodes it.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

# Only a host itself may set them, over https; one browser sends such a name once.
# https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis-20#section-4.1.3
PREFIXES = (b"__Host-", b"__Secure-")
# Bytes of a name and its value together: browsers store no cookie that is longer.
# https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis-20#section-5.6
COOKIE_SIZE = 4096
INFIX = b"-next-"
NEXT = (
    rb"(?:" + INFIX + rb"[A-Za-z0-9_-]{8})?"
)  # the key that a session was given while it was not told
NEXT_SIZE = 128  # bytes of a `-next-` value, which is a key and the beginning of an id
# Python's http.cookies sets a token's characters, and the colon. All others may be stripped, by
# whatever decodes them.
SET_BY_PYTHON = (string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~:").encode()
ODD = bytes(each for each in range(256) if each not in SET_BY_PYTHON)


@dataclass(frozen=True)
class Rules:
    """Which names are a site's own, and whether any others count."""

    session: re.Pattern[bytes]
    others: frozenset[bytes]
    strict: bool

    def cover(self, others: Rules) -> bool:
        """Tell whether the others would drop nothing of what these have let through.

        What strict rules admit has exactly the name that a site gave it, in no disguise. And what
        has a prefix has come once, by all rules.
        """
        return self == others or (self.strict and not others.strict)

    def is_ours(self, name: bytes) -> bool:
        """Tell whether the site sets a cookie of this name."""
        return name in self.others or self.session.fullmatch(name) is not None

    def is_once(self, name: bytes) -> bool:
        """Tell whether a name counts for nothing where it comes twice."""
        if name.startswith(PREFIXES):
            return True
        return self.strict and self.session.fullmatch(name) is not None

    def admit(self, name: bytes) -> bool:
        """Tell whether a name is itself only, and none of ours in disguise."""
        if self.strict:
            return self.is_ours(name)
        bare = name.strip(ODD)
        return bare == name or not (bare.startswith(PREFIXES) or self.is_ours(bare))

    def split(self, header: bytes) -> list[bytes]:
        """Return the pairs of a header that are worth a look, with the blanks before them.

        Strict rules find theirs in one pass, whatever else is there.
        """
        if not self.strict:
            return header.split(b";")
        found: list[bytes] = self._own_pairs.findall(header)
        return [pair for pair in found if self._has_room(pair)]

    def _has_room(self, pair: bytes) -> bool:
        """Return True if a cookie of ours is no longer than it may be."""
        name, _, value = pair.strip(b" ").partition(b"=")
        if INFIX in name and name not in self.others:
            return len(value) <= NEXT_SIZE
        return len(name) + len(value) <= COOKIE_SIZE

    @cached_property
    def _own_pairs(self) -> re.Pattern[bytes]:
        names = b"|".join([self.session.pattern, *map(re.escape, sorted(self.others))])
        return re.compile(rb"(?:\A|;)( *(?:" + names + rb")=[^;]*)")


@dataclass(frozen=True)
class Sifted:
    """A Cookie header of which every pair counts."""

    header: bytes
    doubtful: frozenset[str]  # names of ours that came twice, and count for nothing or differ


@lru_cache(maxsize=16)
def site_rules(session: str, *others: str, strict: bool = False) -> Rules:
    """Return the rules of a site by the names of its cookies, the session's first.

    Strict is for a site that sets each cookie of its host itself: no other name passes, nor a
    cookie of more than 4 KB, which counts as absent; and the session's name, prefix or not, counts
    for nothing where it comes twice.
    """
    pattern = re.compile(re.escape(session.encode()) + NEXT)
    return Rules(pattern, frozenset(name.encode() for name in others), strict)


def sift(header: bytes, rules: Rules) -> Sifted:
    """Return what counts of a request's cookies, its Cookie headers joined by `; `."""
    pairs = rules.split(header)
    names = [_name(pair) for pair in pairs]
    once = set(names)
    admitted = {name for name in once if rules.admit(name)}
    neither, different = set[bytes](), set[bytes]()
    if len(once) < len(names):
        neither = {name for name in _repeated(names) & admitted if rules.is_once(name)}
        different = _repeated(map(_name, {pair.lstrip(b" ") for pair in pairs})) & admitted
    counting = admitted - neither
    kept = (pair for pair, name in zip(pairs, names, strict=True) if name in counting)
    doubtful = (name.decode() for name in neither | different if rules.is_ours(name))
    return Sifted(b";".join(kept).strip(b" "), frozenset(doubtful))


def _name(pair: bytes) -> bytes:
    """Return a pair's name as the browser knows it, which sends a blank between pairs.

    What has no `=` has no name, to Django either.
    """
    return pair.partition(b"=")[0].lstrip(b" ") if b"=" in pair else b""


def _repeated(names: Iterable[bytes]) -> set[bytes]:
    return {name for name, count in Counter(names).items() if count > 1}
