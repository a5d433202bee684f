"""Makes allauth's `requests` sessions send through `oauth.network.http`.

A `requests.Session` is bounded neither in time nor in size, decompresses bodies, and replaces a
token with what a `.netrc` file says about the host.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import requests
from requests.adapters import BaseAdapter

from oauth.codes import Code
from oauth.exceptions import ProviderUnavailable
from oauth.network import http
from oauth.network.responses import ProviderResponse
from oauth.network.vetted_addresses import Reach

# Of a connection, which is not that of `requests`.
CONNECTION_HEADERS = frozenset({"accept-encoding", "connection", "content-length", "user-agent"})


def mount_bounded_adapter(session: requests.Session, reach: Reach) -> requests.Session:
    """Have a session ask by `oauth.network.http`; its requests then raise ProviderUnavailable."""
    session.trust_env = False
    for scheme in ("https://", "http://"):
        session.mount(scheme, _BoundedAdapter(reach))
    return session


class _BoundedAdapter(BaseAdapter):
    """Asks once; a redirect, which would carry codes and tokens elsewhere, is a failure."""

    def __init__(self, reach: Reach) -> None:
        super().__init__()
        self._reach = reach

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        __traceback_hide__ = True
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in CONNECTION_HEADERS
        }
        body = request.body.encode() if isinstance(request.body, str) else request.body
        method = request.method or "GET"
        most = http.DOCUMENT_MAX if method == "GET" else http.RESPONSE_MAX
        answer = http.request(
            method, request.url or "", headers, body, reach=self._reach, most=most
        )
        if answer.is_overloaded or 300 <= answer.status < 400:
            raise ProviderUnavailable("The provider cannot answer now.", Code.USERINFO_STATUS)
        return _to_requests_response(request, answer)

    def close(self) -> None:
        """Hold nothing: each request has a connection of its own."""


def _to_requests_response(
    request: requests.PreparedRequest, answer: ProviderResponse
) -> requests.Response:
    __traceback_hide__ = True
    response = requests.Response()
    response.status_code = answer.status
    response.headers["Content-Type"] = answer.media_type
    response.encoding = "utf-8"
    response.raw = BytesIO(answer.body)
    response.request, response.url = request, request.url or ""
    return response
