"""No cookie passes for one of the site's own, whatever bytes its name is dressed in."""

import string

import pytest
from django.http import parse_cookie
from hypothesis import example, given
from hypothesis import strategies as st

from sessions_kms.session.cookies import (
    COOKIE_SIZE,
    NEXT_SIZE,
    PREFIXES,
    CookieRules,
    rules_for_site,
    sift,
)
from tests.sessions_kms.support.odd_cookies import ODD_BYTES
from tests.support.cases import each_case

PLAIN = rules_for_site("sessionid", "csrftoken", "messages")
HOST = rules_for_site("__Host-sessionid", "__Host-csrftoken", "__Host-messages")
STRICT = rules_for_site("gateway_sessionid", "gateway_csrftoken", "gateway_messages", strict=True)
KINDS = pytest.mark.parametrize("kind", [PLAIN, HOST, STRICT], ids=["plain", "host", "strict"])
NEXT = "-next-Ab3_-xyZ"
OURS = [
    *(name + more for name in ("sessionid", "__Host-sessionid") for more in ("", NEXT)),
    *("csrftoken", "messages", "__Host-csrftoken", "__Host-messages"),
    *("gateway_sessionid", "gateway_sessionid" + NEXT, "gateway_csrftoken", "gateway_messages"),
]
fragments = st.sampled_from(
    [b"=", b";", b" ", b"\t", b"; ", b",", b'"', b"a", b"\xc2", b"\xe2\x80", b"\x00", b"\r\n "]
    + [name.encode() for name in OURS]
    + [b"__Host-", b"__Secure-x", b"-next-", *ODD_BYTES]
)
headers = st.lists(fragments | st.binary(max_size=3), max_size=20).map(b"".join)
PARTS = (b"\xa0", b"\xa0a", b" ", b"; ", b";", b"=", b"; a=1", b"; __Host-sessionid=1")


def exact(header: bytes, name: str, encoding: str) -> list[bytes]:
    """Return the names of a header that are this one unstripped, as RFC 6265 splits it."""
    names = [pair.lstrip(b" ").partition(b"=")[0] for pair in header.split(b";") if b"=" in pair]
    return [each for each in names if each.decode(encoding, "replace") == name]


@KINDS
@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
@given(header=headers)
@example(header=b"\xa0sessionid=x; __Host-sessionid=y")
@example(header=b"__Host-\x85sessionid=")
def test_django_finds_no_cookie_of_ours_but_under_its_exact_name(
    kind: CookieRules, encoding: str, header: bytes
) -> None:
    before = parse_cookie(header.decode(encoding, "replace"))
    after = parse_cookie(sift(header, kind).header.decode(encoding, "replace"))
    for name in after:
        prefixed = name.startswith(tuple(prefix.decode() for prefix in PREFIXES))
        if prefixed or kind.is_ours(name.encode()):
            found = exact(header, name, encoding)
            assert len(found) == 1 if prefixed and name.isascii() else found, ascii(name)
    assert after.keys() <= before.keys()


@KINDS
@given(header=headers)
def test_filtering_twice_changes_nothing(kind: CookieRules, header: bytes) -> None:
    once = sift(header, kind).header
    assert sift(once, kind).header == once


@given(
    st.dictionaries(
        st.sampled_from(OURS) | st.text("abc!#$%&'*+-.^_`|~09", min_size=1, max_size=9),
        st.text(string.ascii_letters + '0123456789"=, ', max_size=9),
        max_size=9,
    )
)
def test_cookies_as_a_browser_sends_them_come_through(cookies: dict[str, str]) -> None:
    sent = {name.encode(): value.strip().encode() for name, value in cookies.items()}
    own = {name: value for name, value in sent.items() if STRICT.is_ours(name)}
    for kind, counting in ((PLAIN, sent), (HOST, sent), (STRICT, own)):
        assert sift(join_cookies(sent), kind).header == join_cookies(counting)
        assert sift(join_cookies(sent), kind).duplicated == frozenset()


def join_cookies(cookies: dict[bytes, bytes]) -> bytes:
    return b"; ".join(name + b"=" + value for name, value in cookies.items()).strip(b" ")


@each_case("name", OURS)
@each_case("odd", [*ODD_BYTES, b"\t", b'"', b"(", b"\x00", b"\xff", b"\xef\xbb\xbf"])
def test_name_of_ours_in_disguise_is_dropped_at_either_end(name: str, odd: bytes) -> None:
    kind = next(kind for kind in (PLAIN, HOST, STRICT) if kind.is_ours(name.encode()))
    bare = name.encode()
    others = b"" if kind.strict else b"a=1; b=2"
    for disguise in (odd + bare, bare + odd, odd + b" " + bare + odd, bare + b" "):
        header = b"a=1; " + disguise + b"=evil; b=2"
        assert sift(header, kind).header == others, disguise


@pytest.mark.parametrize("name", [b"\xa0__Host-other", b"__Secure-other\x85", b"\x1c__Host-"])
def test_disguised_prefix_is_dropped_though_the_name_is_not_ours(name: bytes) -> None:
    assert sift(name + b"=evil", PLAIN).header == b""


@each_case(
    "pair",
    [
        b"f\xc3\xb6\xc3\xb6=1",
        b"[a]=1",
        b"a b=1",
        b"a:b=1",
        b"\xa0other=1",
        b'"x"=1',
        b"bare",
        b"=1",
        b"_ga=1",
        b"gateway_sessionid-next-=1",
        b"gateway_sessionid-next-Ab3_-xyZ9=1",
        b"Gateway_sessionid=1",
        b"x=gateway_sessionid=1",
        b"gateway_sessionid",
    ],
)
def test_names_of_others_are_for_strict_sites_only_to_drop(pair: bytes) -> None:
    own = b"gateway_sessionid=1; gateway_csrftoken=2"
    assert sift(own + b"; " + pair, PLAIN).header == own + b"; " + pair
    for header in (own + b"; " + pair, pair + b";" + own, pair + b"; " + own + b";" + pair):
        assert sift(header, STRICT).header == own


def test_disguised_names_are_recognised() -> None:
    kind = rules_for_site(":my:session:", "csrftoken")
    assert sift(b":my:session:=1", kind).header == b":my:session:=1"
    assert sift(b"\xa0:my:session:=1", kind).header == b""


def test_next_key_is_ours_with_8_letters_only() -> None:
    assert sift(b"\xa0sessionid-next-Ab3_-xyZ=evil", PLAIN).header == b""
    for name in (b"\xa0sessionid-next-Ab3_-xy", b"\xa0sessionid-next-Ab3_-xyZ9", b"\xa0sessionid-"):
        assert sift(name + b"=1", PLAIN).header == name + b"=1"


@each_case("name", [b"__Host-sessionid", b"__Secure-theirs", b"__Host-sessionid" + NEXT.encode()])
@each_case("second", [b"1", b"2"])
def test_prefixed_name_sent_twice_is_ignored(name: bytes, second: bytes) -> None:
    header = name + b"=1; a=1; " + name + b"=" + second
    for kind in (PLAIN, HOST):
        assert sift(header, kind).header == b"a=1"


@pytest.mark.parametrize("name", [b"__Host-sessionid", b"__Host-sessionid-next-Ab3_-xyZ"])
@pytest.mark.parametrize("second", [b"1", b"2"])
def test_prefixed_name_sent_twice_is_ignored_at_a_strict_site(name: bytes, second: bytes) -> None:
    kind = rules_for_site("__Host-sessionid", "__Host-csrftoken", strict=True)
    own = b"__Host-csrftoken=1"
    assert sift(name + b"=1; " + own + b"; " + name + b"=" + second, kind).header == own


@pytest.mark.parametrize("name", [b"gateway_sessionid", b"gateway_csrftoken"])
def test_cookie_of_more_than_4_kilobytes_is_absent_at_a_strict_site(name: bytes) -> None:
    """It does not count as a second one of its name either: it would sign somebody out."""
    longest = name + b"=" + b"x" * (COOKIE_SIZE - len(name))
    assert sift(b"  " + longest + b" ; ", STRICT).header == longest
    assert sift(longest + b"x", STRICT).header == b""
    for header in (longest + b"x; " + name + b"=1", name + b"=1; " + longest + b"x"):
        filtered = sift(header, STRICT)
        assert filtered.header == name + b"=1"
        assert filtered.duplicated == frozenset()
    assert sift(longest + b"x", PLAIN).header == longest + b"x"


def test_disguise_beside_the_name_itself_is_not_its_second() -> None:
    assert (
        sift(b"\xa0__Host-sessionid=evil; __Host-sessionid=1", HOST).header == b"__Host-sessionid=1"
    )


def test_other_name_of_ours_sent_twice_is_left_to_django() -> None:
    header = b"sessionid=1; sessionid=2; csrftoken=3; csrftoken=3"
    filtered = sift(header, PLAIN)
    assert filtered.header == header
    assert filtered.duplicated == {"sessionid"}


def test_strict_site_ignores_a_session_sent_twice() -> None:
    name = b"gateway_sessionid"
    for session in (name, name + NEXT.encode()):
        filtered = sift(session + b"=1; gateway_csrftoken=2; " + session + b"=3", STRICT)
        assert filtered.header == b"gateway_csrftoken=2"
        assert filtered.duplicated == {session.decode()}
    both = b"gateway_csrftoken=1; gateway_csrftoken=2"
    assert sift(both, STRICT).header == both


def test_duplicated_are_names_of_ours_only() -> None:
    assert sift(b"__Host-x=1; __Host-x=2; y=1; y=2", PLAIN).duplicated == frozenset()
    assert sift(b"__Host-sessionid=1; __Host-sessionid=1", HOST).duplicated == {"__Host-sessionid"}


def test_next_key_is_absent_at_a_strict_site_where_it_is_longer_than_any() -> None:
    """There may be many of them, and each would be decoded."""
    name = b"gateway_sessionid" + NEXT.encode()
    longest = name + b"=" + b"x" * NEXT_SIZE
    assert sift(longest, STRICT).header == longest
    assert sift(longest + b"x; gateway_csrftoken=1", STRICT).header == b"gateway_csrftoken=1"


@each_case("part", [*PARTS, b";gateway_", b"gateway_", b"; gateway_sessionid-next-"])
@each_case("kind", [HOST, STRICT], ids=["host", "strict"])
def test_header_of_64_kilobytes_is_parsed_in_linear_time(kind: CookieRules, part: bytes) -> None:
    """What takes the square of its length would take minutes here."""
    sift((part * 65536)[:65536], kind)


@pytest.mark.parametrize(
    ("kind", "other"),
    [(kind, each) for kind in (PLAIN, HOST, STRICT) for each in (PLAIN, HOST, STRICT)],
)
@given(header=headers)
def test_rules_that_cover_others_leave_them_nothing_to_drop(
    kind: CookieRules, other: CookieRules, header: bytes
) -> None:
    if kind.covers(other):
        filtered = sift(header, kind).header
        assert sift(filtered, other).header == filtered


def test_strict_rules_cover_those_of_any_names_that_are_not() -> None:
    assert STRICT.covers(PLAIN)
    assert STRICT.covers(HOST)
    assert PLAIN.covers(PLAIN)
    assert not PLAIN.covers(STRICT)
    assert not PLAIN.covers(HOST)
    assert not STRICT.covers(rules_for_site("sessionid", strict=True))
