"""Cookies from a sibling host, or another port of this machine, are no session of the gateway.

Raw sockets to a running gateway, whose names have no prefix: a local run's.
"""

from collections.abc import Iterator

import pytest

from tests.gateway_site.support.gateways import Gateway
from tests.sessions_kms.support.odd_cookies import ODD_BYTES

NAME = b"gateway_sessionid"
CALL, PAGE = b"/gateway/echo/x", b"/"
HEALTH, SIGN_IN = b"/livez", b"/accounts/login/"
LARGEST = 63 * 1024  # bytes of cookies, for which a head has room
BUSY = 0.5  # seconds of CPU that no request takes, on slow machines neither


def fetch(gateway: Gateway, path: bytes, *cookies: bytes) -> bytes:
    """Send a request with these Cookie headers as they are; give all that comes back."""
    lines = [b"GET " + path + b" HTTP/1.1", b"Host: {host}", b"Connection: close"]
    lines += [b"Cookie: " + cookie for cookie in cookies]
    return gateway.raw(b"\r\n".join(lines) + b"\r\n\r\n")


def is_signed_in(found: bytes) -> bool:
    return b"Bearer token-of-" in found or b"Sign out" in found


def cookies_of(gateway: Gateway) -> tuple[bytes, bytes]:
    """Give two persons' session cookies."""
    return NAME + b"=" + gateway.keys[0].encode(), NAME + b"=" + gateway.keys[-1].encode()


def disguises(gateway: Gateway) -> Iterator[bytes]:
    key = gateway.keys[-1].encode()
    for odd in ODD_BYTES:
        yield odd + NAME + b"=" + key
        yield NAME + odd + b"=" + key


def test_call_has_the_session_of_no_disguised_cookie(gateway: Gateway) -> None:
    assert is_signed_in(fetch(gateway, CALL, cookies_of(gateway)[1]))
    passed = {cookie for cookie in disguises(gateway) if is_signed_in(fetch(gateway, CALL, cookie))}
    assert passed == set()


@pytest.mark.parametrize("odd", [b"\x85", b"\xa0"])
def test_page_has_the_session_of_no_disguised_cookie(gateway: Gateway, odd: bytes) -> None:
    _, key = cookies_of(gateway)[1].split(b"=")
    assert is_signed_in(fetch(gateway, PAGE, NAME + b"=" + key))
    for name in (odd + NAME, NAME + odd, b"a=1; " + odd + NAME):
        found = fetch(gateway, PAGE, name + b"=" + key)
        assert b" 200 " in found.splitlines()[0]
        assert not is_signed_in(found), name


@pytest.mark.parametrize("path", [CALL, PAGE])
def test_session_cookie_sent_twice_is_ignored(gateway: Gateway, path: bytes) -> None:
    hers, theirs = cookies_of(gateway)
    for cookies in ([hers + b"; " + theirs], [theirs + b";" + hers], [hers, theirs], [hers, hers]):
        assert not is_signed_in(fetch(gateway, path, *cookies)), cookies


@pytest.mark.parametrize("path", [CALL, PAGE])
def test_own_session_is_kept_beside_foreign_cookies(gateway: Gateway, path: bytes) -> None:
    hers, theirs = cookies_of(gateway)
    for others in (b"\xa0" + theirs, b"f\xc3\xb6\xc3\xb6=1", b"[a]=b", b"bare", b"_ga=GA1.2.3"):
        for cookies in ([others + b"; " + hers], [hers + b"; " + others], [others, hers]):
            assert is_signed_in(fetch(gateway, path, *cookies)), cookies


def costly(size: int, name: bytes = b"x") -> Iterator[bytes]:
    """Give cookies that a decoder may take long for, which a sibling host can set."""
    for part in (b"\\", b'\\"', b"\\054", b'"', b"\xa0"):
        yield name + b'="' + (part * size)[: size - len(name) - 3] + b'"'
    for part in (b";", b"=", b" ;", b"; a=1", b'; a="\\"', b"; \xa0" + NAME + b"=1"):
        yield (part * size)[:size]


def of_our_names() -> Iterator[bytes]:
    """Give as many cookies of the gateway's own names as there is room for, each at its largest."""
    names = [NAME + b"-next-%08d" % number for number in range(15)]
    for cookies in zip(*(costly(4096, name) for name in names), strict=True):
        yield b"; ".join(cookies)


def cpu_of(gateway: Gateway) -> float:
    times = gateway.process.cpu_times()
    return float(times.user + times.system)


@pytest.mark.parametrize("path", [CALL, PAGE, HEALTH, SIGN_IN])
def test_no_cookies_keep_the_process_busy_or_sign_anybody_out(
    gateway: Gateway, path: bytes
) -> None:
    hers, _ = cookies_of(gateway)
    for cookies in (*costly(LARGEST - len(hers) - 2), *of_our_names()):
        before = cpu_of(gateway)
        found = fetch(gateway, path, cookies + b"; " + hers)
        assert cpu_of(gateway) - before < BUSY, cookies[:50]
        assert b" 200 " in found.splitlines()[0] or path == SIGN_IN, found
        assert path not in {CALL, PAGE} or is_signed_in(found), cookies[:50]
