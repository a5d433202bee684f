"""Invalid cookies sent to a running gateway: the reads that each request causes."""

import pytest

from tests.gateway_site.support import made_up
from tests.gateway_site.support.gateways import Gateway

NAME = "gateway_sessionid"
PAGES = ("/", "/gateway/", "/gateway/echo/x", "/sessions/", "/accounts/login/", "/apps/")


@pytest.mark.parametrize("shape", made_up.SHAPES.values(), ids=made_up.SHAPES)
def test_no_request_has_the_gateway_read_more_than_twice(
    gateway: Gateway, shape: made_up.Shape
) -> None:
    for page in PAGES:
        cookies = "; ".join(f"{name}={value}" for name, value in shape(NAME).items())
        head = f"GET {page} HTTP/1.1\r\nHost: {{host}}\r\nConnection: close\r\nCookie: {cookies}"
        before = int(gateway.control("all-reads"))
        response = gateway.raw(f"{head}\r\n\r\n".encode(), signed_in=False)
        assert response.startswith((b"HTTP/1.1 200", b"HTTP/1.1 302", b"HTTP/1.1 401")), page
        assert 1 <= int(gateway.control("all-reads")) - before <= 2, page
