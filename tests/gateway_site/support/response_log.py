"""What a gateway answers to the example requests, as JSON that is kept beside the tests.

    python -m tests.gateway_site.support.response_log

writes `expected_responses.json` anew. Read what has changed in it: it is the contract of calls.
"""

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.gateway_site.support.example_requests import (
    CASES,
    ERRORS,
    GET,
    LONG,
    OPEN,
    PAGES,
    POST,
    SECRET,
    SHOWN,
    UNUSUAL,
    WITH_TOKEN,
    WITHOUT_STORE,
    Case,
    ask,
    cookie_of,
    post_headers,
    token_of,
)
from tests.gateway_site.support.gateways import Gateway, running_gateway, upstream_variables

FILE = Path(__file__).with_name("expected_responses.json")
PORT = re.compile(r"127\.0\.0\.1:\d+")
# An upstream's own headers pass; these depend on the server or the moment.
IGNORED = frozenset({"content-length", "transfer-encoding", "connection"})
LISTS = frozenset({"content-security-policy", "vary"})  # headers whose parts have no order
Response = dict[str, Any]
REQUIRING_HTTPS = {
    "call": Case(GET, 301),
    "index": Case(b"GET /gateway/?next=//a.example HTTP/1.1", 301),
    "proxied": Case(GET, 200, headers=(b"X-Forwarded-Proto: https",)),
    "nobody, proxied": Case(GET, 401, headers=(b"X-Forwarded-Proto: https",), cookie=None),
}
INACTIVE = {"cookie": Case(GET, 401), "token": Case(OPEN, 401, headers=(SHOWN,))}
WITHOUT_DATABASE = {
    "call": Case(GET, 503),
    "index": Case(b"GET /gateway/ HTTP/1.1", 503),
    "nobody": Case(GET, 401, cookie=None),
    "token": Case(OPEN, 503, headers=(SHOWN,)),
}
# Secrets in sessions: a cookie counts for nothing.
SECRET_IN_SESSION = {
    "good": Case(GET, 200),
    "index": Case(b"GET /gateway/ HTTP/1.1", 200),
    "nobody": Case(GET, 401, cookie=None),
    "unsafe, with the cookie's secret": Case(POST, 403, body=b"ab", headers=post_headers(SECRET)),
    "unsafe, of nobody": Case(POST, 403, body=b"ab", headers=post_headers(SECRET), cookie=None),
    "unsafe, of an ended session": Case(
        POST, 403, body=b"ab", headers=post_headers(SECRET), cookie="ended"
    ),
    "token": Case(OPEN, 200, headers=(SHOWN,), cookie=None),
}


def record(folder: Path) -> dict[str, dict[str, Response]]:
    """Run gateways in a folder, and return the responses by group and name."""
    found: dict[str, dict[str, Response]] = {}
    denied = upstream_variables("DENIED", 9, ALLOWED_GROUPS="finance")
    with _gateway(folder / "cookies", denied) as gateway:
        everything = {**CASES, **{f"token: {name}": case for name, case in WITH_TOKEN.items()}}
        found["cached user"] = _responses(gateway, {**everything, **UNUSUAL})
        found["pages"] = _responses(gateway, PAGES)
        found["errors"] = _responses(gateway, ERRORS)
        gateway.control("age/0")
        found["user not cached"] = _responses(gateway, everything)
        gateway.control(f"age/{LONG}")
        found["store unavailable"] = _responses(gateway, WITHOUT_STORE, "store/down", "store/up")
        found["inactive user"] = _responses(gateway, INACTIVE, "active/0", "active/1")
        found["https required"] = _responses(gateway, REQUIRING_HTTPS, "https/1", "https/0")
        gateway.control("age/0")
        found["database unavailable"] = _responses(
            gateway, WITHOUT_DATABASE, "database/down", "database/up"
        )
    variables = {"GATEWAY_TEST_CSRF_USE_SESSIONS": "1"}
    with _gateway(folder / "sessions", variables) as gateway:
        found["secret in the session"] = _responses(gateway, SECRET_IN_SESSION)
    return found


@contextmanager
def _gateway(folder: Path, variables: Mapping[str, str]) -> Iterator[Gateway]:
    folder.mkdir()
    with running_gateway(folder, sessions=2, variables=variables) as gateway:
        gateway.control(f"age/{LONG}")
        yield gateway


def _responses(
    gateway: Gateway, cases: Mapping[str, Case], before: str = "", after: str = ""
) -> dict[str, Response]:
    """Return the response to each case, with what is switched for it."""
    return {name: _response(gateway, case, before, after) for name, case in cases.items()}


def _count_reads(gateway: Gateway) -> Counter[str]:
    return Counter(json.loads(gateway.control("ways")))


def _response(gateway: Gateway, case: Case, before: str, after: str) -> Response:
    ask(gateway, Case(GET, 200), cookie_of(gateway, "good"))  # The user is cached then.
    cookie, token = cookie_of(gateway, case.cookie), token_of(gateway, case)
    if before:
        gateway.control(before)
    reads, counted = int(gateway.control("all-reads")), _count_reads(gateway)
    raw = ask(gateway, case, cookie, token)
    reads, counted = int(gateway.control("all-reads")) - reads, _count_reads(gateway) - counted
    if after:
        gateway.control(after)
    response = {**_parse(raw), "reads": reads, "counted": dict(counted)}
    assert response["status"] == case.status, (case, response)
    return response


def _parse(raw: bytes) -> Response:
    """Return a response in which order and ports do not matter."""
    head, _, body = raw.decode("latin-1").partition("\r\n\r\n")
    status, *lines = PORT.sub("HOST", head).split("\r\n")
    headers = [_sort_parts(*line.split(": ", 1)) for line in lines if ": " in line]
    kept = [(name, value) for name, value in headers if name not in IGNORED]
    return {
        "status": int(status.split()[1]),
        "headers": sorted(f"{name}: {value}" for name, value in kept if name != "set-cookie"),
        "cookies": sorted(value for name, value in kept if name == "set-cookie"),
        "body": _body(body, dict(headers)),
    }


def _sort_parts(name: str, value: str) -> tuple[str, str]:
    if (name := name.lower()) in LISTS:
        separator = ";" if ";" in value else ","
        value = separator.join(sorted(part.strip() for part in value.split(separator)))
    return name, value


def _body(body: str, headers: Mapping[str, str]) -> str:
    """Return a body without its framing; of a page the title alone, since its texts change."""
    if headers.get("content-type", "").startswith("text/html"):
        return "".join(re.findall(r"<title>(.*?)</title>", body, re.DOTALL)).strip()
    if headers.get("transfer-encoding") == "chunked":
        body = re.sub(r"(?:^|\r\n)[0-9a-f]+\r\n", "", body)
    # RFC 9110 renamed it, and so did Python 3.13.
    body = body.replace("Request Entity Too Large", "Content Too Large")
    body = re.sub(r'("(?:idle_)?expires_in": )\d+', r"\1SECONDS", body)
    return PORT.sub("HOST", body).strip()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = record(Path(folder))
    FILE.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
