"""Why a sign-in did not work is one word: on the page, in the log with the request, in the docs."""

import logging
import re
from typing import Any

import pytest
from django.test import RequestFactory

from oauth.codes import Code, remedy
from oauth.sign_in.failures import get_request_id
from tests import ROOT
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.support.cases import each_case

ITEM = re.compile(r"^- ((?:`[a-z_]+`(?:, )?)+): (?:.|\n  )*\*\*(?:.|\n  )+\*\*$", re.MULTILINE)
LINE = re.compile(r"Sign-in with (\w+) did not work \((\w+)\), request (\w+): (.+)")


def documented_codes() -> list[str]:
    """Return the codes of the page's list: several may share an item, and each has a remedy."""
    page = (ROOT / "docs/providers.md").read_text(encoding="utf-8")
    part = page.partition("## When sign-in does not work\n")[2]
    return [code for item in ITEM.findall(part) for code in re.findall(r"[a-z_]+", item)]


def test_every_code_is_documented_and_every_documented_code_exists() -> None:
    assert sorted(documented_codes()) == sorted(Code)


def test_every_code_is_used() -> None:
    product = [path for name in ("oauth", "gateway_site") for path in (ROOT / name).rglob("*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in product)
    unused = [
        code
        for code in Code
        if f"Code.{code.name}" not in text
        # `of_error` makes these of what the provider says.
        and not code.startswith(("authorization_", "token_"))
    ]
    assert unused == []


@each_case(
    ("endpoint", "error", "code"),
    [
        ("token", "invalid_client", Code.TOKEN_INVALID_CLIENT),
        ("token", "incorrect_client_credentials", Code.TOKEN_INVALID_CLIENT),
        ("token", "access_denied", Code.TOKEN_OTHER),  # of the other endpoint
        ("token", "status", Code.TOKEN_OTHER),  # no error, but a word of ours
        ("token", {"a": 1}, Code.TOKEN_OTHER),
        ("token", None, Code.TOKEN_OTHER),
        ("authorization", "login_required", Code.AUTHORIZATION_OTHER),
        ("authorization", "invalid_scope", Code.AUTHORIZATION_INVALID_SCOPE),
    ],
)
def test_error_code_of_a_provider_is_mapped_or_dropped(
    endpoint: str, error: object, code: Code
) -> None:
    assert Code.of_error(endpoint, error) is code


def respond(status: int, media_type: str, body: bytes) -> dict[str, Any]:
    """Have the token endpoint respond with this."""
    return {"failing": {"/token": lambda: (status, media_type, body)}}


# The code -> what the provider does that ends in it.
FAILURES: dict[str, dict[str, Any]] = {
    "id_token_issuer": {"more_of_id_token": {"iss": "https://evil.example"}},
    "id_token_audience": {"more_of_id_token": {"aud": "another"}},
    "id_token_time": {"more_of_id_token": {"exp": 1}},
    "id_token_nonce": {"more_of_id_token": {"nonce": "another"}},
    "id_token_missing": {"more_of_token_response": {"id_token": None}},
    "userinfo_subject": {"more_of_userinfo": {"sub": "another"}},
    "token_invalid_client": {"auth_method": "client_secret_basic"},
    "token_invalid_scope": respond(400, "application/json", b'{"error":"invalid_scope"}'),
    "token_status": respond(500, "text/plain", b""),
    "answer_unreadable": respond(200, "text/html", b"<html>"),
    "text": {"more_of_userinfo": {"name": "\0"}},
}


@pytest.mark.parametrize("code", FAILURES)
def test_page_and_log_show_the_same_code_and_request_id(
    corp: FakeProvider, visitor: Visitor, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    address = visitor.callback_address(corp)
    for name, value in FAILURES[code].items():
        setattr(corp, name, value)
    page = visitor.client.get(address).content.decode()
    ((provider, told, number, reason),) = LINE.findall(caplog.text)
    assert (provider, told) == ("corp", code)
    assert f"{code} (request {number})" in page
    assert remedy(Code(code)).replace("<NAME>", "CORP") in reason
    assert reason
    secrets = [*corp.secrets, *address.partition("?")[2].split("&")]
    assert [secret for secret in secrets if secret in page + told + reason] == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"error": "invalid_scope"}, "authorization_invalid_scope"),
        ({"error": "<b>"}, "authorization_other"),
        ({"error": "server_error"}, "authorization_server_error"),
        ({"error": "access_denied"}, "authorization_access_denied"),
        ({}, "code_missing"),
    ],
)
def test_error_of_the_authorization_endpoint_has_a_code(
    corp: FakeProvider,
    visitor: Visitor,
    caplog: pytest.LogCaptureFixture,
    query: dict[str, str],
    code: str,
) -> None:
    caplog.set_level(logging.INFO)
    started = visitor.start()
    back = corp.consent(started["Location"], error="none")
    path, _, sent = back.partition("?")
    state = sent.partition("state=")[2]
    response = visitor.client.get(path, {**query, "state": state}, follow=True)
    assert f"corp did not work ({code}), request " in caplog.text
    assert (
        code == "authorization_access_denied" or f">{code} (request " in response.content.decode()
    )


def test_response_in_another_browser_has_a_code(
    corp: FakeProvider, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    address = visitor.callback_address(corp)
    page = Visitor().client.get(address, follow=True).content.decode()
    assert "started in another browser (state_unknown)" in page
    assert "did not work (state_unknown), request " in caplog.text


def test_request_keeps_its_given_id() -> None:
    request = RequestFactory().get("/")
    request.request_id = "of-the-proxy"  # type: ignore[attr-defined]  # as a middleware would
    assert get_request_id(request) == "of-the-proxy"
    another = RequestFactory().get("/")
    assert (
        get_request_id(another)
        == get_request_id(another)
        != get_request_id(RequestFactory().get("/"))
    )
