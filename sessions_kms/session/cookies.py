r"""Filters the cookies of a request by the bytes of the header, and decodes their values.

`drop_foreign` removes cookies whose names only look like those of the site, so no later code sees
them. `without_session` is for views that are the same for everybody.

To a browser `\xa0__Host-sessionid` and `__Host-sessionid` are different names: a sibling host may
set the former for the shared domain, even over plain HTTP, which the prefix forbids for the latter.
Django decodes the header and strips every name, so both become equal. So names that only look like
ours are dropped before anything decodes them.

The header is decoded here as Django does it, in time linear in its length. Django leaves quoted
values to Python's `http.cookies`, which before 3.11.10 and 3.12.6 takes time quadratic in their
length: minutes for a header of 64 KB (CVE-2024-7592). The values are those of the fixed releases.
https://github.com/python/cpython/issues/123067
"""

import logging
import re
import string
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache, wraps
from typing import TypeVar, cast

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest
from django.http.response import HttpResponseBase

logger = logging.getLogger("sessions_kms")

MINUTE = 60.0  # seconds
NAMES_LOGGED = 4
FILTERED_BY = "_sessions_kms_sifted_by"  # a request's attribute
READ_FROM_META = ("COOKIES", "headers")  # which Django reads once and keeps
# In a quoted value: a backslash before three octal digits stands for that character, a backslash
# before any other one for the character itself.
ESCAPED = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))")
# Only a host itself may set them, over https; one browser sends such a name once.
# https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis-20#section-4.1.3
PREFIXES = (b"__Host-", b"__Secure-")
# Bytes of a name and its value together: browsers store no cookie that is longer.
# https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis-20#section-5.6
COOKIE_SIZE = 4096
INFIX = b"-next-"
NEXT = (
    rb"(?:" + INFIX + rb"[A-Za-z0-9_-]{8})?"
)  # with the new key of a session whose browser missed the change
NEXT_SIZE = 128  # bytes of a `-next-` value, which is a key and the beginning of an id
# Python's http.cookies sets a token's characters, and the colon. All others may be stripped, by
# whatever decodes them.
SET_BY_PYTHON = (string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~:").encode()
ODD = bytes(each for each in range(256) if each not in SET_BY_PYTHON)
View = TypeVar("View", bound=Callable[..., HttpResponseBase])


@dataclass
class MinuteGate:
    """Allows one log line a minute, so that requests cannot fill the log."""

    clock: Callable[[], float] = time.monotonic
    _quiet_until: float = float("-inf")

    def allows(self) -> bool:
        """Return True if a line may be logged now, and count it as logged."""
        now = self.clock()
        if now < self._quiet_until:
            return False
        self._quiet_until = now + MINUTE
        return True


duplicates_gate = MinuteGate()


def drop_foreign(request: HttpRequest, rules: "CookieRules") -> None:
    """Remove all cookies from the request except those that the rules admit, and decode them."""
    __traceback_hide__ = True
    done: CookieRules | None = getattr(request, FILTERED_BY, None)
    if done is not None and done.covers(rules):
        return
    header = filter_header(_header(request), rules)
    if header.decode("latin-1") != request.META.get("HTTP_COOKIE", ""):
        _replace(request, header)
    mark_filtered(request, rules)


def without_session(view: View) -> View:
    """Return a view whose responses do not depend on the session, and never set its cookie.

    Django deletes a malformed session cookie even if the view does not read it. A shared cache
    would repeat that to everybody who gets the response from it.
    """

    @wraps(view)
    def responding(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        __traceback_hide__ = True
        request.COOKIES.pop(settings.SESSION_COOKIE_NAME, None)
        return view(request, *args, **kwargs)

    return cast("View", responding)


def mark_filtered(request: HttpRequest, rules: "CookieRules") -> None:
    """Note that the cookies of a request are those that the rules admit.

    They are decoded here, because decoding by Django may take long; cookies that are decoded
    already stay as they are.
    """
    __traceback_hide__ = True
    setattr(request, FILTERED_BY, rules)
    if "COOKIES" not in vars(request):
        request.COOKIES = decode_header(_text(request))


def filter_header(header: bytes, rules: "CookieRules") -> bytes:
    """Return the admitted part of a Cookie header, and log names that came twice."""
    filtered = sift(header, rules)
    if filtered.duplicated and duplicates_gate.allows():
        logger.warning(
            "Cookies of this site came twice in one request: %s. Those that must come once count "
            "for nothing then, of others the last one counts. Either their domain or path was "
            "changed in the settings, or a sibling host sets one.",
            ", ".join(sorted(filtered.duplicated)[:NAMES_LOGGED]),
        )
    return filtered.header


def _header(request: HttpRequest) -> bytes:
    if isinstance(request, ASGIRequest):
        return join_cookie_headers(request.scope["headers"])
    cookies: str = request.META.get("HTTP_COOKIE", "")
    return cookies.encode("latin-1")  # PEP 3333: each character is a byte


def _text(request: HttpRequest) -> str:
    """Return the Cookie header as Django decodes it, which differs between WSGI and ASGI."""
    text: str = request.META.get("HTTP_COOKIE", "")
    if isinstance(request, WSGIRequest):
        return text.encode("latin-1").decode(errors="replace")
    return text


def join_cookie_headers(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the Cookie headers of an ASGI scope as one (RFC 9113, section 8.2.3).

    Django 5.2 joins them by a comma, as it does other headers.
    """
    found = (value for name, value in headers if _is_cookie(name))
    return b"; ".join(filter(None, (value.strip(b"; ") for value in found)))


def _replace(request: HttpRequest, header: bytes) -> None:
    request.META["HTTP_COOKIE"] = header.decode("latin-1")
    if isinstance(request, ASGIRequest):
        others = [pair for pair in request.scope["headers"] if not _is_cookie(pair[0])]
        request.scope = {**request.scope, "headers": [*others, (b"cookie", header)]}
    for name in READ_FROM_META:
        vars(request).pop(name, None)


def _is_cookie(name: bytes) -> bool:
    return name.lower() == b"cookie"


def decode_header(header: str) -> dict[str, str]:
    """Return the values of a Cookie header by their names; of one that repeats, the last.

    A pair without `=` is the value of an empty name, as it is to Django.
    """
    __traceback_hide__ = True
    cookies: dict[str, str] = {}
    for pair in header.split(";"):
        name, equals, value = pair.partition("=")
        if not equals:
            name, value = "", pair
        name, value = name.strip(), value.strip()
        if name or value:
            cookies[name] = decode_value(value)
    return cookies


def decode_value(value: str) -> str:
    """Return a value without its quotation marks and escapes, if it is quoted."""
    __traceback_hide__ = True
    if len(value) < 2 or not (value[0] == value[-1] == '"'):
        return value
    return ESCAPED.sub(_unescape, value[1:-1])


def _unescape(match: re.Match[str]) -> str:
    __traceback_hide__ = True
    octal, character = match.groups()
    return chr(int(octal, 8)) if octal else str(character)


@dataclass(frozen=True)
class CookieRules:
    """The names of a site's cookies, and whether any others are admitted."""

    session: re.Pattern[bytes]
    others: frozenset[bytes]
    strict: bool

    def covers(self, others: "CookieRules") -> bool:
        """Return True if the other rules would admit all that these have admitted.

        Strict rules admit only exact names of the site. By all rules, names with a prefix must
        be unique.
        """
        return self == others or (self.strict and not others.strict)

    def is_ours(self, name: bytes) -> bool:
        """Return True if the site sets a cookie of this name."""
        return name in self.others or self.session.fullmatch(name) is not None

    def must_be_unique(self, name: bytes) -> bool:
        """Return True if a cookie of this name is dropped when it comes twice."""
        if name.startswith(PREFIXES):
            return True
        return self.strict and self.session.fullmatch(name) is not None

    def admits(self, name: bytes) -> bool:
        """Return True if a name cannot be mistaken for another one of the site."""
        if self.strict:
            return self.is_ours(name)
        bare = name.strip(ODD)
        return bare == name or not (bare.startswith(PREFIXES) or self.is_ours(bare))

    def split(self, header: bytes) -> list[bytes]:
        """Return the pairs of a header to check, with the blanks before them.

        With strict rules, only the pairs of the site, found in one pass.
        """
        if not self.strict:
            return header.split(b";")
        found: list[bytes] = self._own_pairs.findall(header)
        return [pair for pair in found if self._has_room(pair)]

    def _has_room(self, pair: bytes) -> bool:
        """Return True if a cookie of the site is within its size limit."""
        name, _, value = pair.strip(b" ").partition(b"=")
        if INFIX in name and name not in self.others:
            return len(value) <= NEXT_SIZE
        return len(name) + len(value) <= COOKIE_SIZE

    @cached_property
    def _own_pairs(self) -> re.Pattern[bytes]:
        names = b"|".join([self.session.pattern, *map(re.escape, sorted(self.others))])
        return re.compile(rb"(?:\A|;)( *(?:" + names + rb")=[^;]*)")


@dataclass(frozen=True)
class FilteredHeader:
    """A Cookie header with admitted pairs only."""

    header: bytes
    duplicated: frozenset[str]  # names of the site that came twice, and were dropped or differ


@lru_cache(maxsize=16)
def rules_for_site(session: str, *others: str, strict: bool = False) -> CookieRules:
    """Return the rules of a site by the names of its cookies, the session's first.

    ``strict`` is for a site that sets every cookie of its host: all other names are dropped, and
    so are cookies of more than 4 KB; a session cookie that comes twice is dropped even without a
    prefix.
    """
    pattern = re.compile(re.escape(session.encode()) + NEXT)
    return CookieRules(pattern, frozenset(name.encode() for name in others), strict)


def sift(header: bytes, rules: CookieRules) -> FilteredHeader:
    """Return the admitted part of a Cookie header."""
    pairs = rules.split(header)
    names = [_name(pair) for pair in pairs]
    once = set(names)
    admitted = {name for name in once if rules.admits(name)}
    neither, different = set[bytes](), set[bytes]()
    if len(once) < len(names):
        neither = {name for name in _repeated(names) & admitted if rules.must_be_unique(name)}
        different = _repeated(map(_name, {pair.lstrip(b" ") for pair in pairs})) & admitted
    counting = admitted - neither
    kept = (pair for pair, name in zip(pairs, names, strict=True) if name in counting)
    duplicated = (name.decode() for name in neither | different if rules.is_ours(name))
    return FilteredHeader(b";".join(kept).strip(b" "), frozenset(duplicated))


def _name(pair: bytes) -> bytes:
    """Return the name of a pair, without the blank that browsers send between pairs.

    A pair without `=` has an empty name, as it has for Django.
    """
    return pair.partition(b"=")[0].lstrip(b" ") if b"=" in pair else b""


def _repeated(names: Iterable[bytes]) -> set[bytes]:
    return {name for name, count in Counter(names).items() if count > 1}
