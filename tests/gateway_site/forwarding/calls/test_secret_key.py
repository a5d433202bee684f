"""A browser and a client whose responses are lost after DJANGO_SECRET_KEY was rotated."""

from functools import partial

import pytest
import requests

from tests.gateway_site.support.client_tokens import Caller
from tests.gateway_site.support.gateways import Gateway


def request_with_cookie(gateway: Gateway, path: str, key: str) -> requests.Response:
    """Request it like a browser that received no response since it signed in."""
    cookies = {"gateway_sessionid": key}
    return requests.get(f"{gateway.url}/{path}", cookies=cookies, timeout=20)


@pytest.mark.parametrize("way", ["loop", "thread"])
def test_cookies_and_tokens_are_valid_after_lost_responses(gateway: Gateway, way: str) -> None:
    """The keys are swapped, and the swap is reversed."""
    caller = Caller.allowed(gateway, "open")
    paths = ("", "sessions/", "gateway/echo/x", "gateway/")
    requests_of_people = [
        partial(request_with_cookie, gateway, path, gateway.keys[number])
        for number, path in enumerate(paths)
    ]
    with gateway.switch(f"way/{way}", "way/loop"):
        for _ in range(2):
            gateway.control("swap-secret-keys/")
            for send in (*requests_of_people, partial(caller.call, "open/x")):
                responses = [send() for _ in range(3)]
                statuses = [each.status_code for each in responses]
                assert statuses == [200, 200, 200], responses[-1].text
                assert all("Sign in" not in each.text for each in responses)
                keys = {each.cookies.get("gateway_sessionid") for each in responses}
                assert keys <= {None, *gateway.keys}
