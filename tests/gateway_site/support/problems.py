"""Problem documents (RFC 9457)."""

from typing import Any

import requests

from tests.gateway_site.support.gateways import TOKEN

PROBLEM = "application/problem+json"


def assert_problem(response: requests.Response, status: int, code: str) -> dict[str, Any]:
    """Assert that a response is a problem document (RFC 9457) that gives nothing away."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == PROBLEM
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    assert document["type"] == "about:blank"
    assert document["code"] == code, response.text
    assert TOKEN not in response.text
    return document
