"""Requests of a gateway in another process, and what its responses have in common.

Most are calls: good ones, and every way in which one can be wrong. `ask` sends one.
"""

import json
import re
from dataclasses import dataclass
from urllib.parse import urlencode

from tests.gateway_site.support.client_tokens import Caller
from tests.gateway_site.support.gateways import Gateway

RENDERED_IN_LOOP = "rendered in the loop"  # as `ways` counts it
LONG = 3600  # seconds for which people are known, so that a slow machine forgets nobody
GET = b"GET /gateway/echo/x?a=1 HTTP/1.1"
POST = b"POST /gateway/echo/x HTTP/1.1"
INDEX = b"GET /gateway/ HTTP/1.1"
SECRET = b"a" * 32
CSRF_COOKIE = b"X-CSRF-Cookie: "  # of a case: its value goes into the cookies
VARYING = (  # what no two responses have in common
    (re.compile(rb"(?i)^(date|expires|x-request-id):.*\r\n", re.MULTILINE), b""),
    (re.compile(rb"(gateway_csrftoken=|gateway_sessionid=)[A-Za-z0-9]{32}"), rb"\1..."),
    (re.compile(rb"(gateway_sessionid-next-)[\w-]{8}=[a-z0-9]{32}\.[\w-]{8}"), rb"\1..."),
    (re.compile(rb"expires=[^;]*", re.IGNORECASE), b"expires=..."),
    (re.compile(rb"(?i)max-age=\d+"), b"max-age=..."),
    (re.compile(rb'"csrf_token": "\w{64}"'), b""),
    (re.compile(rb'"traceparent", "[\w-]+"'), b""),
    (re.compile(rb"(gateway_messages=[\w.-]+):[\w:-]+"), rb"\1"),  # signed at a moment
    (re.compile(rb'(name="csrfmiddlewaretoken" value=)"\w{64}"'), rb"\1..."),
    (re.compile(rb'(name="shown_at" value=)"[\w.:-]+"'), rb"\1..."),
    (re.compile(rb"(\d\d:\d\d(:\d\d\+00:00)?|\d+\xc2\xa0(hours?|minutes?))"), b"..."),
)


@dataclass(frozen=True)
class Case:
    """A request, and what comes of it. `cookie` is a header, or else a kind of session.

    In a header `{token}` is one that a client was given for the upstream `of`.
    """

    line: bytes
    status: int
    headers: tuple[bytes, ...] = ()
    cookie: str | bytes | None = "good"
    host: bytes = b"{host}"
    body: bytes = b""
    of: str = "open"


def post_headers(token: bytes, *headers: bytes, cookie: bytes = SECRET) -> tuple[bytes, ...]:
    """Return the headers of an unsafe call from this origin."""
    own = (b"Origin: http://{host}", b"Content-Length: 2", b"X-CSRFToken: " + token)
    return (*own, CSRF_COOKIE + cookie, *headers)


def unsafe(line: bytes, status: int, token: bytes = SECRET, cookie: str = "good") -> Case:
    """Return an unsafe call with a body, from this origin."""
    return Case(line, status, post_headers(token), cookie, body=b"ab")


WITHOUT_TOKEN = (b"Origin: http://{host}", b"Content-Length: 2")
NAVIGATING = (b"Sec-Fetch-Mode: navigate", b"Sec-Fetch-Dest: document", b"Sec-Fetch-Site: none")
CASES = {
    "good": Case(GET, 200),
    "HEAD": Case(b"HEAD /gateway/echo/x HTTP/1.1", 200),
    "OPTIONS": Case(b"OPTIONS /gateway/echo/x HTTP/1.1", 405),
    "no such method": Case(b"TRACE /gateway/echo/x HTTP/1.1", 501),
    "index": Case(b"GET /gateway/ HTTP/1.1", 200),
    "index of nobody": Case(b"GET /gateway/ HTTP/1.1", 401, cookie=None),
    "index refuses POST": unsafe(b"POST /gateway/ HTTP/1.1", 405),
    "unknown upstream": Case(b"GET /gateway/nothing/x HTTP/1.1", 404),
    "unknown path": Case(b"GET /gateway/narrow/users HTTP/1.1", 404),
    "of no connected provider": Case(b"GET /gateway/other/x HTTP/1.1", 401),
    "dead upstream": Case(b"GET /gateway/dead/x HTTP/1.1", 502),
    "refused method": Case(
        b"DELETE /gateway/narrow/user HTTP/1.1", 405, headers=post_headers(SECRET)
    ),
    "bad query": Case(b"GET /gateway/echo/x?%zz HTTP/1.1", 400),
    "dot segments": Case(b"GET /gateway/echo/../admin/ HTTP/1.1", 400),
    "encoded dot segments": Case(b"GET /gateway/echo/%2e%2e/x HTTP/1.1", 400),
    "encoded slash": Case(b"GET /gateway/echo/a%2Fb HTTP/1.1", 400),
    "two slashes": Case(b"GET /gateway//echo/x HTTP/1.1", 400),
    "spelt otherwise": Case(b"GET /%67ateway/echo/x HTTP/1.1", 400),
    # Who asks
    "nobody": Case(GET, 401, cookie=None),
    "nobody who navigates": Case(GET, 302, headers=NAVIGATING, cookie=None),
    "ended session": Case(GET, 401, cookie="ended"),
    "ended session that navigates": Case(GET, 302, headers=NAVIGATING, cookie="ended"),
    "no key": Case(GET, 401, cookie=b"gateway_sessionid=NOT-A-KEY"),
    "no such key": Case(GET, 401, cookie=b"gateway_sessionid=" + b"0" * 32),
    "session twice": Case(GET, 401, cookie=b"{good}; gateway_sessionid=" + b"0" * 32),
    "session in disguise": Case(GET, 401, cookie=b"\xa0" + b"{good}"),
    "foreign cookies": Case(GET, 200, cookie=b"a=b; \xff=1; {good}; =; __Host-x=\xe9"),
    "session in two headers": Case(GET, 200, headers=(b"Cookie: x=y",), cookie=b"{good}"),
    "moved session": Case(GET, 200, cookie="moved"),
    "moved session in disguise": Case(GET, 503, cookie="moved-in-disguise"),
    "moved session and nobody told": Case(GET, 503, cookie="untold"),
    "former password": Case(GET, 401, cookie="former-password"),
    "former secret key": Case(GET, 200, cookie="former-secret"),
    "backend that is none": Case(GET, 401, cookie="foreign-backend"),
    # Where from
    "bad Host": Case(GET, 400, host=b"evil.example"),
    "malformed Host": Case(GET, 400, host=b"a/b"),
    "two Hosts": Case(GET, 400, headers=(b"Host: evil.example",)),
    "bad Host and ended session": Case(GET, 400, host=b"evil.example", cookie="ended"),
    "other origin": Case(GET, 403, headers=(b"Origin: https://evil.example",)),
    "other site": Case(GET, 403, headers=(b"Sec-Fetch-Site: cross-site",)),
    "other site and ended session": Case(
        GET, 403, headers=(b"Sec-Fetch-Site: cross-site",), cookie="ended"
    ),
    "as a script": Case(
        GET, 403, headers=(b"Sec-Fetch-Site: same-origin", b"Sec-Fetch-Dest: script")
    ),
    # CSRF
    "right token": unsafe(POST, 200),
    "wrong token": unsafe(POST, 403, b"b" * 32),
    "malformed token": unsafe(POST, 403, b"*"),
    "malformed secret": Case(POST, 403, body=b"ab", headers=post_headers(SECRET, cookie=b"%")),
    "no token": Case(POST, 403, headers=WITHOUT_TOKEN, body=b"ab"),
    "wrong token of nobody": Case(POST, 403, headers=WITHOUT_TOKEN, cookie=None, body=b"ab"),
    "token from another origin": Case(
        POST, 403, headers=(b"Origin: https://evil.example", b"Content-Length: 2"), body=b"ab"
    ),
    # What the server and its door refuse
    "upgrade": Case(GET, 501, headers=(b"Connection: Upgrade", b"Upgrade: websocket")),
    "huge header": Case(GET, 431, headers=(b"X-Huge: " + b"x" * 100_000,)),
    "large header": Case(GET, 200, headers=(b"X-Large: " + b"x" * 10_000,)),
    "large cookie": Case(GET, 200, cookie=b"{good}; large=" + b"x" * 10_000),
}


OPEN = b"GET /gateway/open/x?a=1 HTTP/1.1"
SHOWN = b"Authorization: Bearer {token}"
WITH_TOKEN = {
    "good": Case(OPEN, 200, headers=(SHOWN,), cookie=None),
    "in other letters": Case(OPEN, 200, headers=(b"AUTHORIZATION: bEARER  {token}",), cookie=None),
    "beside a cookie": Case(OPEN, 200, headers=(SHOWN,)),
    "beside foreign cookies": Case(OPEN, 200, headers=(SHOWN,), cookie=b"a=b; \xff=1; =;"),
    "unsafe, without a CSRF token": Case(
        b"POST /gateway/open/x HTTP/1.1",
        200,
        headers=(SHOWN, b"Content-Length: 2"),
        cookie=None,
        body=b"ab",
    ),
    "none, nor a cookie": Case(OPEN, 401, cookie=None),
    "none, and a cookie": Case(OPEN, 200),
    "of another scheme": Case(OPEN, 200, headers=(b"Authorization: Basic eDp5",)),
    "empty": Case(OPEN, 401, headers=(b"Authorization: Bearer",)),
    "malformed": Case(OPEN, 401, headers=(b"Authorization: Bearer gwa_\xff",)),
    "unknown": Case(OPEN, 401, headers=(b"Authorization: Bearer gwa_" + b"a" * 32,)),
    "twice": Case(OPEN, 401, headers=(SHOWN, SHOWN)),
    "at another upstream": Case(b"GET /gateway/led/x HTTP/1.1", 401, headers=(SHOWN,)),
    "where no client is let in": Case(GET, 200, headers=(SHOWN,)),
    "at the index": Case(b"GET /gateway/ HTTP/1.1", 401, headers=(SHOWN,), cookie=None),
    "spelt otherwise": Case(b"GET /%67ateway/open/x HTTP/1.1", 400, headers=(SHOWN,)),
    "bad Host": Case(OPEN, 400, headers=(SHOWN,), host=b"evil.example"),
    "other site": Case(OPEN, 403, headers=(SHOWN, b"Sec-Fetch-Site: cross-site")),
    "bad query": Case(b"GET /gateway/open/x?%zz HTTP/1.1", 400, headers=(SHOWN,)),
    "of no connected provider": Case(
        b"GET /gateway/unheld/x HTTP/1.1", 401, headers=(SHOWN,), of="unheld"
    ),
}


ANOTHER = b"{another}"  # has one session
# More kinds of secrets, of addresses and of sessions, which calls and the index meet.
UNUSUAL = {
    "good secret": Case(GET, 200, headers=(CSRF_COOKIE + SECRET,)),
    "malformed secret": Case(GET, 200, headers=(CSRF_COOKIE + b"%",)),
    "index with a good secret": Case(INDEX, 200, headers=(CSRF_COOKIE + SECRET,)),
    "index with a malformed secret": Case(INDEX, 200, headers=(CSRF_COOKIE + b"%",)),
    "head of the index": Case(b"HEAD /gateway/ HTTP/1.1", 200),
    "index of nobody who navigates": Case(INDEX, 302, headers=NAVIGATING, cookie=None),
    "index from another site": Case(INDEX, 403, headers=(b"Sec-Fetch-Site: cross-site",)),
    "index as a script": Case(
        INDEX, 403, headers=(b"Sec-Fetch-Site: same-origin", b"Sec-Fetch-Dest: script")
    ),
    "no slash": Case(b"GET /gateway HTTP/1.1", 301),
    "upstream's root": Case(b"GET /gateway/echo HTTP/1.1", 200),
    "upstream's root with a slash": Case(b"GET /gateway/echo/ HTTP/1.1", 200),
    "Referer of another site, by http": Case(
        POST,
        200,
        body=b"ab",
        headers=(
            b"Content-Length: 2",
            b"Referer: http://evil.example/",
            b"X-CSRFToken: " + SECRET,
            CSRF_COOKIE + SECRET,
        ),
    ),
    "PUT": unsafe(b"PUT /gateway/echo/x HTTP/1.1", 200),
    "frame": Case(GET, 403, headers=(b"Sec-Fetch-Dest: iframe", b"Sec-Fetch-Site: same-origin")),
    "not connected, navigating": Case(b"GET /gateway/other/x HTTP/1.1", 401, headers=NAVIGATING),
    "type of no character set": Case(GET, 200, headers=(b"Content-Type: text/html; charset=\xff",)),
    "path of no characters": Case(b"GET /gateway/echo/%ff HTTP/1.1", 400),
    "forwarded address": Case(
        b"GET /gateway/open/x HTTP/1.1", 200, headers=(SHOWN, b"X-Forwarded-For: 1.2.3.4")
    ),
    "unsafe call of a moved session": unsafe(POST, 200, cookie="moved"),
    "unsafe call with a former secret key": unsafe(POST, 200, cookie="former-secret"),
    "dead upstream with a former secret key": Case(
        b"GET /gateway/dead/x HTTP/1.1", 502, cookie="former-secret"
    ),
    "unknown upstream with a former secret key": Case(
        b"GET /gateway/nothing/x HTTP/1.1", 404, cookie="former-secret"
    ),
    "not connected with a former secret key": Case(
        b"GET /gateway/other/x HTTP/1.1", 401, cookie="former-secret"
    ),
    "index with a former secret key": Case(INDEX, 200, cookie="former-secret"),
    "former password that navigates": Case(GET, 302, headers=NAVIGATING, cookie="former-password"),
}


def path_of(name: str, **query: str) -> bytes:
    """Return the line of a call whose upstream responds as the query says."""
    return b"GET /gateway/%b/answer?%b HTTP/1.1" % (name.encode(), urlencode(query).encode())


def post_case(path: bytes, body: bytes, *headers: bytes, status: int) -> Case:
    """Return an unsafe call with a JSON body."""
    own = (b"Origin: http://{host}", b"X-CSRFToken: " + SECRET, CSRF_COOKIE + SECRET)
    length = b"Content-Length: %d" % len(body)
    kind = () if headers else (b"Content-Type: application/json",)
    line = b"POST /gateway/" + path + b" HTTP/1.1"
    return Case(line, status, headers=(*own, length, *kind, *headers), body=body)


MESSAGE = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"%b"}}'
ELSEWHERE = json.dumps([["location", "https://evil.example/"]])
DEMANDING = json.dumps([["www-authenticate", 'Bearer error="insufficient_scope", scope="more"']])
# The gateway's other errors, in the order of gateway.md's table, as far as one request shows them.
ERRORS = {
    "reauthentication_required": Case(GET, 401, cookie="expired-token"),
    "reauthentication_required, navigating": Case(
        GET, 401, headers=NAVIGATING, cookie="expired-token"
    ),
    "forbidden_upstream": Case(b"GET /gateway/denied/x HTTP/1.1", 403),
    "more_scope": Case(path_of("notes", status="403", headers=DEMANDING), 403),
    "too_large": post_case(b"small/x", b"x" * 2000, status=413),
    "first under a rate": Case(b"GET /gateway/ratedapi/x HTTP/1.1", 200),
    "second under a rate": Case(b"GET /gateway/ratedapi/x HTTP/1.1", 200),
    "rate_exceeded": Case(b"GET /gateway/ratedapi/x HTTP/1.1", 429),
    "unreadable message": post_case(b"read/message", b"{", status=400),
    "message of another type": post_case(
        b"read/message", b"{}", b"Content-Type: text/x", status=415
    ),
    "message that a rule denies": post_case(b"ruled/message", MESSAGE % b"drop", status=200),
    "message that a rule allows": post_case(b"ruled/message", MESSAGE % b"search_a", status=200),
    "misdirected": Case(path_of("echo", status="302", headers=ELSEWHERE), 502),
    "unusable_token": Case(GET, 502, cookie="odd-token"),
    "upstream_unauthorized": Case(
        path_of("open", status="401"), 502, headers=(SHOWN,), cookie=None
    ),
    "upstream's 401": Case(path_of("echo", status="401", body="no"), 401),
    "store fails at a refresh": Case(
        path_of("echo", status="401"), 503, headers=(b"X-Test-Refresh: unavailable",)
    ),
    "refreshed": Case(
        b"GET /gateway/echo/guarded?token=token-of-the-person-2 HTTP/1.1",
        200,
        headers=(b"X-Test-Refresh: stored",),
    ),
    "nonce_required": post_case(b"bound/bound?case=expected&nonce=1", b"x" * 65537, status=503),
    "upstream_timeout": Case(b"GET /gateway/hasty/hang HTTP/1.1", 504),
}


HOME, LIST = b"GET / HTTP/1.1", b"GET /sessions/ HTTP/1.1"
AFTER_NOTHING = b"GET /sessions/?after=abc HTTP/1.1"  # shows no list, which grows here
PAGES = {
    "home": Case(HOME, 200, cookie=ANOTHER),
    "head of the home page": Case(b"HEAD / HTTP/1.1", 200, cookie=ANOTHER),
    "list": Case(LIST, 200, cookie=ANOTHER),
    "list after what nobody was given": Case(AFTER_NOTHING, 302, cookie=ANOTHER),
    "list of apps": Case(b"GET /apps/ HTTP/1.1", 200, cookie=ANOTHER),
    "posted": Case(b"POST / HTTP/1.1", 405, headers=post_headers(SECRET), body=b"ab"),
    "query of 4 KB": Case(b"GET /?" + b"%" * 4096 + b" HTTP/1.1", 200, cookie=ANOTHER),
    "longer query": Case(b"GET /?" + b"%" * 4097 + b" HTTP/1.1", 200, cookie=ANOTHER),
    "no page": Case(b"GET /nowhere HTTP/1.1", 404),
    "page that is not marked": Case(b"GET /accounts/logout/ HTTP/1.1", 200),
    "home of nobody": Case(HOME, 200, cookie=None),
    "list of nobody": Case(LIST, 302, cookie=None),
    "home of an ended session": Case(HOME, 200, cookie="ended"),
    "list of an ended session": Case(LIST, 302, cookie="ended"),
    "no such key": Case(LIST, 302, cookie=b"gateway_sessionid=" + b"0" * 32),
    "session twice": Case(LIST, 302, cookie=b"{good}; gateway_sessionid=" + b"0" * 32),
    "foreign cookies": Case(LIST, 200, cookie=b"a=b; \xff=1; {another}; =; __Host-x=\xe9"),
    "session in two headers": Case(LIST, 200, headers=(b"Cookie: x=y",), cookie=ANOTHER),
    "moved session": Case(AFTER_NOTHING, 302, cookie="moved"),
    "moved session and nobody told": Case(LIST, 503, cookie="untold"),
    "former password": Case(LIST, 302, cookie="former-password"),
    "former secret key": Case(AFTER_NOTHING, 302, cookie="former-secret"),
    "backend that is none": Case(LIST, 302, cookie="foreign-backend"),
    "bad Host": Case(HOME, 400, host=b"evil.example", cookie=ANOTHER),
}


WITHOUT_STORE = {
    "token": Case(OPEN, 503, headers=(SHOWN,)),
    "unknown token": Case(OPEN, 503, headers=(b"Authorization: Bearer gwa_" + b"a" * 32,)),
    "good": Case(GET, 503),
    "index": Case(b"GET /gateway/ HTTP/1.1", 503),
    "navigating": Case(GET, 503, headers=NAVIGATING),
    "nobody": Case(GET, 401, cookie=None),
    "bad Host": Case(GET, 400, host=b"evil.example"),
    "other site": Case(GET, 403, headers=(b"Sec-Fetch-Site: cross-site",)),
    "no token": Case(POST, 403, headers=WITHOUT_TOKEN, body=b"ab"),
    "right token": unsafe(POST, 503),
    "home": Case(HOME, 503),
    "list": Case(LIST, 503),
    "home of nobody": Case(HOME, 200, cookie=None),
    "list of apps": Case(b"GET /apps/ HTTP/1.1", 503),
}


def ask(gateway: Gateway, case: Case, cookie: bytes, token: str = "") -> bytes:
    """Send a request, and return the response without what varies."""
    secrets = [header for header in case.headers if header.startswith(CSRF_COOKIE)]
    pairs = [cookie, *(b"gateway_csrftoken=" + each.removeprefix(CSRF_COOKIE) for each in secrets)]
    sent = b"; ".join(filter(None, pairs))
    lines = [
        case.line,
        b"Host: " + case.host,
        b"Connection: close",
        *([b"Cookie: " + sent] if sent else []),
        *(each.replace(b"{token}", token.encode()) for each in case.headers if each not in secrets),
    ]
    response = gateway.raw(b"\r\n".join(lines) + b"\r\n\r\n" + case.body)
    for pattern, instead in VARYING:
        response = pattern.sub(instead, response)
    return response


def cookie_of(gateway: Gateway, kind: str | bytes | None) -> bytes:
    if kind is None:
        return b""
    if isinstance(kind, str):
        return gateway.control(f"cookie/{kind}").encode().replace(b"{nbsp}", b"\xa0")
    if b"{another}" in kind:
        return kind.replace(b"{another}", b"gateway_sessionid=" + gateway.keys[-1].encode())
    return kind.replace(b"{good}", gateway.control("cookie/good").encode())


def token_of(gateway: Gateway, case: Case) -> str:
    """Return a token, where a case shows one."""
    if not any(b"{token}" in header for header in case.headers):
        return ""
    return Caller.allowed(gateway, case.of).access_token
