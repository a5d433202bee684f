"""Who gets a page for an error of the gateway, and who a problem document, by raw requests.

The adversaries are an honest program that says nothing, or little, about formats, one person who
opens an address in a browser, and a page of another site that leads a browser here.
"""

import html
import re
from asyncio import run
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import cast

import pytest
from django.http import HttpResponse
from django.template import TemplateDoesNotExist

from gateway_site.edge.client import Client, ClientGone
from gateway_site.forwarding.error_pages import ErrorPages
from gateway_site.forwarding.thread_pools import BUSY, QueueTimeout, ThreadPool
from gateway_site.rules import origin
from gateway_site.rules.problems import Problem
from tests.gateway_site.support.gateways import Gateway
from tests.gateway_site.support.page_requests import assert_accessible
from tests.support.cases import each_case

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
ON_OUR_PAGE = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Site: none\r\n"


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: str

    @property
    def heading(self) -> str:
        (found,) = re.findall(r"<h1>(.*?)</h1>", self.body)
        return html.unescape(found)


def ask(
    gateway: Gateway, line: str, fields: str = "", body: str = "", *, signed_in: bool = True
) -> Response:
    length = f"Content-Length: {len(body)}\r\n" if body or line.startswith("POST") else ""
    first = f"{line} HTTP/1.1\r\nHost: {{host}}\r\nConnection: close\r\n{{cookie}}\r\n"
    request = f"{first}{fields}{length}\r\n{body}"
    found = gateway.raw(request.encode(), signed_in=signed_in).decode()
    first, _, rest = found.partition("\r\n")
    head, _, content = rest.partition("\r\n\r\n")
    headers = {name.lower(): value for name, value in re.findall(r"(.+?): (.*?)(?:\r\n|$)", head)}
    return Response(int(first.split()[1]), headers, content)


# Of each step at which the gateway rejects a request: who calls, from where, what, the rate, the
# upstream; and of pages: no such page, the wrong method, a body that is too large.
ERRORS = {
    "unknown upstream": ("GET /gateway/nothing/x", "", 404, "Page not found"),
    "no account": ("GET /gateway/other/x", "", 401, "Connect your account"),
    "dots": ("GET /gateway/echo/../admin/", "", 400, "Bad request"),
    "another site": (
        "GET /gateway/echo/x", "Sec-Fetch-Site: cross-site\r\n", 403, "Not allowed",
    ),
    "no token": ("POST /gateway/echo/x", FORM, 403, "Not allowed"),
    "wrong method": ("GET /sessions/end/", "", 405, "This does not work here"),
    "no page": ("GET /nothing", "", 404, "Page not found"),
    "dead upstream": ("GET /gateway/dead/x", "", 502, "The service did not answer"),
    "slow upstream": ("GET /gateway/hasty/hang", "", 504, "The service did not answer"),
    "too large": ("POST /language/", FORM, 413, "Too large"),
}  # fmt: skip


@each_case("case", ERRORS)
def test_browser_gets_a_page_and_a_program_what_it_can_read(gateway: Gateway, case: str) -> None:
    line, fields, status, heading = ERRORS[case]
    body = "x" * 20_000 if status == 413 else ""
    shown = "Sec-Fetch-Dest: document\r\n"
    page = ask(gateway, line, fields + shown, body)
    by_accept = ask(gateway, line, f"{fields}Accept: {BROWSER}\r\n", body)
    for each in (page, by_accept):
        assert (each.status, each.headers["content-type"][:9]) == (status, "text/html"), each
        assert each.heading == heading
        assert_accessible(each.body)
        code = html.unescape(re.sub(r"<.*?>", "", each.body.partition('id="error-code"')[2]))
        assert f"(request {each.headers['x-request-id']})" in code
        assert f"Error {status}" in code
        assert "script-src 'self'" in each.headers["content-security-policy"]
        assert each.headers["x-frame-options"] == "DENY"
        assert len(each.body.encode()) == int(each.headers["content-length"])
    for accept in ("", "Accept: */*\r\n", "Accept: application/json, text/event-stream\r\n"):
        program = ask(gateway, line, fields + "Sec-Fetch-Dest: empty\r\n" + accept, body)
        assert program.status == status
        if line.startswith(("GET /gateway/", "POST /gateway/")):
            assert program.headers["content-type"] == "application/problem+json"
            assert page.headers["x-gateway-problem"] == program.headers["x-gateway-problem"]
            assert page.headers["x-gateway-problem"] in page.body


def test_frame_script_and_fetch_get_no_page(gateway: Gateway) -> None:
    for destination in ("iframe", "empty", "script", "document, document", "Document "):
        fields = f"Sec-Fetch-Dest: {destination}\r\nAccept: {BROWSER}\r\n"
        response = ask(gateway, "GET /gateway/nothing/x", fields)
        assert response.headers["content-type"] == "application/problem+json", destination


@pytest.fixture
def no_store(gateway: Gateway) -> Iterator[None]:
    gateway.control("store/down")
    yield
    gateway.control("store/up")


@pytest.mark.usefixtures("no_store")
@each_case("path", ["/gateway/echo/x", "/sessions/"])
def test_page_of_an_outage_reloads_itself_after_a_get_alone(gateway: Gateway, path: str) -> None:
    page = ask(gateway, f"GET {path}", ON_OUR_PAGE)
    assert (page.status, page.heading) == (503, "Back in a moment")
    assert f'data-reload="{page.headers["retry-after"]}"' in page.body
    assert 'href=""' in page.body
    sent = ask(gateway, f"POST {path}", f"{ON_OUR_PAGE}{FORM}Origin: http://{{host}}\r\n", "a=b")
    assert sent.status in {403, 405, 503}
    assert "data-reload" not in sent.body
    assert 'href=""' not in sent.body


def test_addresses_of_oauth_clients_keep_their_format(gateway: Gateway) -> None:
    response = ask(gateway, "POST /oauth/token", f"{FORM}Accept: {BROWSER}\r\n", "grant_type=x")
    assert (response.status, response.headers["content-type"]) == (400, "application/json")
    assert "unsupported_grant_type" in response.body
    opened = ask(gateway, "GET /oauth/token", ON_OUR_PAGE)
    assert (opened.status, opened.heading) == (405, "This does not work here")


@each_case("path", ["inactive", "3rdparty/login/cancelled", "3rdparty/login/error"])
def test_page_about_a_sign_in_has_the_id_of_its_request(gateway: Gateway, path: str) -> None:
    page = ask(gateway, f"GET /accounts/{path}/", signed_in=False)
    code = re.sub(r"<.*?>", "", page.body.partition('id="error-code"')[2])
    assert f"(request {page.headers['x-request-id']})" in code


def test_upstreams_own_error_passes_as_it_is(gateway: Gateway) -> None:
    gateway.canned.responses["/gone"] = b"HTTP/1.1 410 Gone\r\nContent-Length: 3\r\n\r\nabc"
    response = ask(gateway, "GET /gateway/canned/gone", ON_OUR_PAGE)
    assert (response.status, response.body) == (410, "abc")


class FailingThreads:
    """Raises what waiting for a page thread, or a template, may raise."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def run(self, client: object, work: object) -> HttpResponse:
        raise self.error


@pytest.mark.parametrize("error", [QueueTimeout(), ClientGone(), TemplateDoesNotExist("404.html")])
def test_problem_document_stays_if_no_page_can_be_made(error: Exception) -> None:
    """The call may have been made, so its response still reaches the client and the audit log."""
    problem = Problem(404, "unknown_upstream", "x").response()
    scope = {"method": "GET", "path": "/", "headers": [(b"sec-fetch-dest", b"document")]}
    pages = ErrorPages(cast("ThreadPool", FailingThreads(error)))
    assert run(pages.choose(scope, cast("Client", None), problem)) is problem


def test_page_of_an_outage_keeps_the_time_that_the_response_names() -> None:
    problem = Problem(503, "busy", "x", headers={"Retry-After": "30"}).response()
    headers = [(b"sec-fetch-dest", b"document")]
    scope = {
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "scheme": "http",
        "headers": headers,
    }
    pages = ErrorPages(ThreadPool("test", 1))
    page = run(pages.choose(scope, cast("Client", None), problem))
    assert (page.status_code, page["Retry-After"], page["X-Gateway-Problem"]) == (503, "30", "busy")


@pytest.mark.parametrize(
    ("method", "query", "is_reloaded"),
    [("GET", "", True), ("POST", "", False), ("GET", "state=a&code=b", False)],
    ids=["GET", "POST", "an authorization code, which is valid once"],
)
def test_page_for_a_busy_gateway_was_rendered_before(
    method: str, query: str, is_reloaded: bool
) -> None:
    """It has the request's id, though no thread is free."""
    entry = SimpleNamespace(id="0123456789abcdef")
    scope = {
        "method": method,
        "path": "/",
        "query_string": query.encode(),
        "scheme": "https",
        "headers": [],
        "gateway.request": entry,
    }
    page = ErrorPages(ThreadPool("test", 1)).unavailable(scope, None, BUSY)
    content = page.content.decode()
    assert "(request 0123456789abcdef)" in content
    assert ("data-reload" in content) is is_reloaded
    assert "script-src 'self'" in page["Content-Security-Policy"]
    assert page["Content-Length"] == str(len(page.content))


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("TEXT/HTML ; q=0.5", True),
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", True),  # Java's default
        ("text/html;q=0.8, application/json", False),
        ("text/html, application/json", False),
        ("text/html, */*", False),
        ("text/html;q=0", False),
        ("text/html;q=nan", False),
        ("text/html;q=1e9, application/json", False),
        ("application/json, text/event-stream", False),
        ("*/*", False),
        ("", False),
        ("," * 100_000, False),
    ],
)
def test_accept_has_to_prefer_html(accept: str, *, expected: bool) -> None:
    assert origin.shows_page([(b"Accept", accept.encode())]) is expected
    assert not origin.shows_page([(b"accept", accept.encode()), (b"sec-fetch-dest", b"empty")])
