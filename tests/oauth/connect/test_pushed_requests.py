"""An authorization server that takes only pushed authorization requests (RFC 9126).

Rows of the adversaries: the other side that is right by its own rules, the careless and the hostile
authorization server, the reader of logs and `Referer`.
"""

from collections.abc import Callable

import pytest

from oauth.connect.state import load_states
from tests.oauth.support.connecting import Connecting, query_of
from tests.oauth.support.fake_provider import Response

SENT = {
    "response_type", "client_id", "redirect_uri", "state", "code_challenge",
    "code_challenge_method", "resource",
}  # fmt: skip


@pytest.fixture
def strict(notes: Connecting) -> Connecting:
    notes.resource.authorization.requires_par = True
    return notes


def test_required_request_is_pushed_and_the_browser_gets_a_reference_only(
    strict: Connecting,
) -> None:
    server = strict.resource.authorization
    url = strict.begin()
    [(reference, pushed)] = server.pushed.items()
    assert query_of(url) == {"client_id": pushed["client_id"], "request_uri": reference}
    assert pushed.keys() == SENT
    assert strict.back(server.consent(url))["Location"] == "/"
    assert strict.held.resource == strict.resource.url


def test_request_that_need_not_be_pushed_is_not(notes: Connecting) -> None:
    assert query_of(notes.begin()).keys() == SENT
    assert notes.resource.authorization.pushed == {}


def _json(content: bytes, status: int = 201) -> Response:
    return status, "application/json", content


@pytest.mark.parametrize(
    ("response", "status", "code"),
    [
        (lambda: (503, "text/plain", b""), 503, "par_status"),
        (lambda: (302, "http://127.0.0.1:1/", b""), 503, "par_status"),
        (lambda: _json(b'{"error": "invalid_request"}', 400), 400, "par_refused"),
        (lambda: _json(b'{"error": "invalid_client"}', 401), 400, "token_invalid_client"),
        (lambda: _json(b'{"request_uri": "https://evil.example/a b"}'), 503, "answer_unreadable"),
        (lambda: _json(b'{"request_uri": 5}'), 503, "answer_unreadable"),
        (lambda: _json(b"null"), 503, "answer_unreadable"),
        (lambda: (201, "text/html", b"<html>"), 503, "answer_unreadable"),
        (lambda: _json(b"[" * 5000), 503, "answer_unreadable"),
    ],
)
def test_request_that_cannot_be_pushed_is_a_page_with_the_code_and_leaves_no_state(
    strict: Connecting, response: Callable[[], Response], status: int, code: str
) -> None:
    server = strict.resource.authorization
    server.failing["/par"] = response
    page = strict.post(next="/sessions/?a=b")
    assert (page.status_code, code in page.content.decode()) == (status, True)
    # The person can try again, and would be where they wanted afterwards.
    assert f'href="{strict.path}?next=%2Fsessions%2F%3Fa%3Db">Try again' in page.content.decode()
    assert load_states(strict.visitor.session) == {}
    assert server.authorizations == []


def test_requirement_without_an_endpoint_is_a_page_with_the_code(strict: Connecting) -> None:
    more = {"pushed_authorization_request_endpoint": None}
    strict.resource.authorization.more_of_metadata = more
    assert "par_endpoint" in strict.post().content.decode()
