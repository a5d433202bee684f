"""The policy of an answer is django-csp's own, whatever is special about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from csp.constants import NONCE, SELF
from csp.decorators import csp, csp_exempt, csp_replace, csp_update
from csp.exceptions import CSPNonceError
from csp.middleware import CSPMiddleware
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.test import RequestFactory
from pytest_django import Settings

from gateway_site.edge.middleware import ContentPolicyMiddleware

View = Callable[[HttpRequest], HttpResponseBase]
POLICY = {"DIRECTIVES": {"default-src": [SELF], "script-src": [SELF, NONCE]}}
NAMES = ("Content-Security-Policy", "Content-Security-Policy-Report-Only")


def usual(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def with_nonce(request: HttpRequest) -> HttpResponse:
    setattr(request, "_csp_nonce", "a-nonce")  # noqa: B010 - as it is once it was looked at
    return HttpResponse()


def with_a_policy_of_its_own(request: HttpRequest) -> HttpResponse:
    return HttpResponse(headers={NAMES[0]: "default-src 'none'"})


VIEWS: list[View] = [
    usual,
    with_nonce,
    with_a_policy_of_its_own,
    csp_update({"img-src": "a.example"})(usual),
    csp_replace({"default-src": "a.example"})(usual),
    csp({"default-src": ["a.example"]})(usual),
    csp_exempt()(usual),
    csp_exempt(REPORT_ONLY=True)(usual),
    csp_update({"img-src": "a.example"}, REPORT_ONLY=True)(usual),
]


def policies(middleware: type[CSPMiddleware], view: View) -> list[list[set[str] | None]]:
    """Return the directives of each header, of two answers after a usual one."""
    views = iter([usual, view, view])

    def in_turn(request: HttpRequest) -> HttpResponseBase:
        return next(views)(request)

    made: Any = middleware(in_turn)
    answers = [made(RequestFactory().get("/")) for _ in range(3)]
    return [[_directives(answer.get(name)) for name in NAMES] for answer in answers]


def _directives(header: str | None) -> set[str] | None:
    return None if header is None else set(header.split("; "))


@pytest.mark.parametrize("report_only", [None, {"DIRECTIVES": {"default-src": ["b.example"]}}])
@pytest.mark.parametrize("view", VIEWS)
def test_policy_is_that_of_django_csp(
    settings: Settings, view: View, report_only: dict[str, object] | None
) -> None:
    settings.CONTENT_SECURITY_POLICY = POLICY
    settings.CONTENT_SECURITY_POLICY_REPORT_ONLY = report_only
    assert policies(ContentPolicyMiddleware, view) == policies(CSPMiddleware, view)


def test_nonce_that_comes_too_late_is_an_error() -> None:
    request = RequestFactory().get("/")
    for _ in range(2):
        ContentPolicyMiddleware(usual)(request)
        with pytest.raises(CSPNonceError):
            str(request.csp_nonce)  # type: ignore[attr-defined]
