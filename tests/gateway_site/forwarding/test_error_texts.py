"""What the page for each error says: what happened, whether anything was lost, what to do now.

The adversary is the page itself: a cause that is not the error's, or a button that leads nowhere.
"""

import html
import re
from asyncio import run
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import gateway_site
from gateway_site.edge.client import Client
from gateway_site.forwarding import error_pages
from gateway_site.forwarding.error_pages import ErrorPages
from gateway_site.forwarding.thread_pools import ThreadPool
from gateway_site.rules import problems
from gateway_site.rules.problems import Problem
from tests.gateway_site.support.page_requests import assert_accessible, parse
from tests.support.cases import each_case

FOR_PROGRAMS_ONLY = "A sentence for programs."
GO_ON = "Go to the start page"
REPEAT = "Try again"
NOT_CALLED = "Nothing was called"
# Status, heading, words of the text, and the first button, by code. "Notes" and "Corp GmbH" are
# what people call the server `notes` and the provider `corp`.
EXPLAINED = {
    "bad_path": (400, "Bad request", "nothing was changed", GO_ON),
    "bad_query": (400, "Bad request", "nothing was changed", GO_ON),
    "bad_framing": (400, "Bad request", "nothing was changed", GO_ON),
    "bad_message": (400, "Bad request", "nothing was changed", GO_ON),
    "bad_request": (400, "Bad request", "nothing was changed", GO_ON),
    "signed_out": (401, "Sign in to continue", "nothing was done", "Sign in"),
    "not_connected": (401, "Connect your account", "your account at Corp GmbH", "Connect it now"),
    "reauthentication_required": (401, "Connect your account", NOT_CALLED, "Connect it now"),
    "not_vouched": (401, "Connect your account", "connect Notes for you", "Connect it now"),
    "cross_site": (403, "Not allowed", "another site may have sent it", GO_ON),
    "forbidden": (403, "Not allowed", "another site may have sent it", GO_ON),
    "forbidden_upstream": (403, "Not allowed", "groups at Corp GmbH do not let you call", GO_ON),
    "denied": (403, "Not allowed", "rules of this gateway do not allow this call", GO_ON),
    "more_scope": (
        403, "More permissions are needed", "Notes did not do this", "Connect Notes again",
    ),
    "unknown_upstream": (404, "Page not found", "nothing was changed", GO_ON),
    "unknown_path": (404, "Page not found", "nothing was changed", GO_ON),
    "method_not_allowed": (405, "This does not work here", "nothing was changed", GO_ON),
    "request_timeout": (408, "That took too long", "check whether it arrived", GO_ON),
    "session_full": (409, "Your session is full", "largest connection is Notes", "Connections"),
    "too_large": (413, "Too large", "it was rejected", GO_ON),
    "unsupported_content": (415, "This does not work here", "nothing was changed", GO_ON),
    "too_many_calls": (429, "Too many requests", "this one was not made", REPEAT),
    "rate_exceeded": (429, "Too many requests", "not carried out", REPEAT),
    "internal_server_error": (500, "Something went wrong", "whether it took effect", GO_ON),
    "not_asgi": (501, "This does not work here", "nothing was changed", GO_ON),
    "no_raw_path": (501, "This does not work here", "nothing was changed", GO_ON),
    "upstream_failed": (502, "The service did not answer", "whether it arrived", REPEAT),
    "unreadable_answer": (502, "The service did not answer", "whether it arrived", REPEAT),
    "misdirected": (502, "The service led elsewhere", "may have arrived", GO_ON),
    "unusable_token": (502, "Your account cannot be used here", NOT_CALLED, GO_ON),
    "provider_unavailable": (503, "Back in a moment", NOT_CALLED, "Reload now"),
    "nonce_required": (503, "Back in a moment", "did not do this", "Reload now"),
    "upstream_timeout": (504, "The service did not answer", "did not answer in time", REPEAT),
}  # fmt: skip
for _code in (
    "audit_unavailable", "busy", "database_unavailable", "key_missing", "service_unavailable",
    "store_unavailable",
):  # fmt: skip
    EXPLAINED[_code] = (503, "Back in a moment", "cannot answer right now", "Reload now")
# Only programs see these: OAuth clients, and what loads a script, a style or a frame.
FOR_PROGRAMS = {"destination", "grant_ended", "upstream_unauthorized"}
BY_PROVIDER = {"not_connected", "reauthentication_required", "forbidden_upstream"}
MEMBERS = {"not_vouched", "more_scope"} | BY_PROVIDER


class Now:
    """A thread pool that has a thread at once."""

    async def run(self, _client: object, work: Callable[[], Any]) -> Any:
        return work()


@pytest.fixture(autouse=True)
def _labels(monkeypatch: pytest.MonkeyPatch) -> None:
    servers = {"notes": SimpleNamespace(label="Notes")}
    monkeypatch.setattr(error_pages, "find_server", servers.get)
    providers = {"corp": SimpleNamespace(label="Corp GmbH")}
    monkeypatch.setattr(error_pages, "find_provider", providers.get)


def page_for(problem: Problem, method: str = "GET", path: str = "/gateway/notes/a") -> str:
    scope = {
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"b=c",
        "scheme": "http",
        "headers": [(b"sec-fetch-dest", b"document"), (b"cookie", b"gateway_sessionid=x")],
        "gateway.request": SimpleNamespace(id="0123456789abcdef"),
    }
    pages = ErrorPages(cast("ThreadPool", Now()))
    page: Any = run(pages.choose(scope, cast("Client", None), problem.response()))
    assert page.status_code == problem.status
    return str(page.content.decode())


def problem_of(code: str) -> Problem:
    if code == "session_full":
        return problems.session_full("notes")
    if code == "signed_out":
        return problems.signed_out()
    provider = "corp" if code in BY_PROVIDER else "notes"
    members = {"provider": provider} if code in MEMBERS else {}
    if members and code != "forbidden_upstream":
        members["connect_url"] = "/connect/?a=b"
    return Problem(EXPLAINED[code][0], code, FOR_PROGRAMS_ONLY, headers=None, **members)


def buttons_of(page: str) -> dict[str, str]:
    """Return the address of each button under the text, by its words."""
    (panel,) = (e for e in parse(page).walk() if e.attributes.get("class") == "panel")
    (actions,) = (e for e in panel.walk() if e.attributes.get("class") == "actions")
    return {each.text: each.attributes["href"] for each in actions.all("a")}


@each_case("code", EXPLAINED)
def test_page_says_what_happened_what_was_lost_and_what_to_do(code: str) -> None:
    status, heading, words, button = EXPLAINED[code]
    page = page_for(problem_of(code))
    assert_accessible(page)
    assert heading == html.unescape(re.findall(r"<h1>(.*?)</h1>", page)[0])
    assert words in " ".join(html.unescape(re.sub(r"<.*?>", "", page)).split())
    assert next(iter(buttons_of(page))) == button
    assert "(request 0123456789abcdef)" in page
    if (detail := problem_of(code).detail) == FOR_PROGRAMS_ONLY:
        assert (detail in page) is (status not in {401, 403, 409, 429, 503}), "said in words"


def test_every_code_of_the_gateway_has_its_row() -> None:
    source = "".join(
        each.read_text(encoding="utf-8") for each in Path(gateway_site.__path__[0]).rglob("*.py")
    )
    named = re.findall(r'(?:Problem|unavailable)\(\s*(?:\d{3},\s*)?"([a-z_]+)"', source)
    constants = re.findall(r'^[A-Z_]+(?:, [A-Z_]+)? = "([a-z_]+)", -320', source, re.MULTILINE)
    assert {"busy", "misdirected", "more_scope", "rate_exceeded"} <= {*named, *constants}
    assert {*named, *constants} <= EXPLAINED.keys() | FOR_PROGRAMS


@each_case("code", sorted(MEMBERS - {"forbidden_upstream"}))
def test_button_connects_the_account_and_leads_back_to_the_call(code: str) -> None:
    connects = {"/connect/?a=b&next=%2Fcontinue%2F%3Fto%3D%252Fgateway%252Fnotes%252Fa%253Fb%253Dc"}
    assert set(buttons_of(page_for(problem_of(code))).values()) - {"/"} == connects
    sent = buttons_of(page_for(problem_of(code), "POST"))
    assert set(sent.values()) - {"/"} == {"/connect/?a=b"}


@each_case("code", EXPLAINED)
def test_page_after_a_form_repeats_nothing(code: str) -> None:
    page = page_for(problem_of(code), "POST")
    assert "" not in buttons_of(page).values()
    assert "data-reload" not in page


@each_case(
    "seconds, words",
    [
        ("1", "wait 1 second,"),
        ("30", "wait 30 seconds,"),
        ("3599", "wait 60 minutes,"),
        ("", "wait a minute"),
        ("Tue, 01 Dec 2026 00:00:00 GMT", "wait a minute"),
        ("1" * 5000, "wait a minute"),
    ],
)
def test_page_of_a_rate_says_how_long_to_wait(seconds: str, words: str) -> None:
    headers = {"Retry-After": seconds} if seconds else {}
    assert words in page_for(Problem(429, "rate_exceeded", "x", headers=headers))


def test_page_of_an_outage_reloads_after_the_time_that_the_response_names() -> None:
    page = page_for(problems.Problem(503, "busy", "x", headers={"Retry-After": "30"}))
    assert 'data-reload="30"' in page
    assert "in <span>30</span> seconds" in page
    for odd in ("soon", "-1", "1" * 5000):
        found = page_for(problems.Problem(503, "busy", "x", headers={"Retry-After": odd}))
        assert f'data-reload="{problems.RETRY_AFTER}"' in found
