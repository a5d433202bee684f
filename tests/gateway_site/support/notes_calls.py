"""Calls of the MCP server `notes` through the gateway, in this process."""

from functools import cache
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings as django_settings

from gateway_site.forwarding.asgi import GatewayHandler
from gateway_site.pages import upstreams
from gateway_site.pages.upstreams import TrialResponse
from tests.oauth.support.fixtures import Visitor


def call_notes(visitor: Visitor, **headers: str) -> TrialResponse:
    """Call the server through the gateway, with the browser's cookie."""
    cookie = f"{django_settings.SESSION_COOKIE_NAME}={visitor.session.session_key}"
    return call_path(
        "/gateway/notes", cookie=cookie, **{"sec-fetch-site": "same-origin", **headers}
    )


def call_path(path: str, **headers: str) -> TrialResponse:
    """Call an upstream, through the whole gateway."""
    sent = {"host": "testserver", **headers}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"a=1",
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        "client": ("127.0.0.1", 1),
        "server": ("testserver", 80),
    }
    return async_to_sync(upstreams._call_gateway_in_new_loop)(scope)


def problem_of(response: TrialResponse) -> dict[str, Any]:
    found = upstreams._problem(response)
    assert found is not None, response
    return found


def call_as(person: Visitor, tokens: dict[str, Any]) -> TrialResponse:
    return call_notes(person, authorization=f"Bearer {tokens['access_token']}")


@cache
def gateway_with_clients() -> GatewayHandler:
    """Return a handler that lives as long as the process, whose own may have other middleware.

    Its threads keep their connections to the database.
    """
    return GatewayHandler()
