"""A visitor who signs in to a gateway in another process, over HTTP."""

from concurrent.futures import ThreadPoolExecutor

import requests

from tests.gateway_site.support.gateways import Gateway
from tests.oauth.support.fake_provider import FakeProvider

TIMEOUT = 60  # seconds


class Visitor:
    """One browser."""

    def __init__(self, gateway: Gateway) -> None:
        self._url = gateway.url
        self.client = requests.Session()
        self.client.trust_env = False

    def go(self, provider: FakeProvider) -> str:
        """Go to the provider; return the URL to which it redirects the browser."""
        self.client.get(f"{self._url}/accounts/login/", timeout=TIMEOUT).raise_for_status()
        form = {"csrfmiddlewaretoken": self.client.cookies["gateway_csrftoken"]}
        address = f"{self._url}/accounts/oidc/corp/login/"
        started = self.client.post(address, form, allow_redirects=False, timeout=TIMEOUT)
        assert started.status_code == 302, started.text
        return provider.consent(started.headers["Location"])

    def come_back(self, address: str) -> int:
        """Return the status of the callback."""
        response = self.client.get(address, allow_redirects=False, timeout=TIMEOUT)
        return response.status_code

    def is_signed_in(self) -> bool:
        response = self.client.get(f"{self._url}/gateway/", timeout=TIMEOUT)
        return response.status_code == 200


def sign_in_at_once(visitors: list[Visitor], provider: FakeProvider) -> list[int]:
    """Return the statuses of concurrent callbacks."""
    with ThreadPoolExecutor(len(visitors)) as threads:
        addresses = list(threads.map(lambda visitor: visitor.go(provider), visitors))
        pairs = zip(visitors, addresses, strict=True)
        return list(threads.map(lambda pair: pair[0].come_back(pair[1]), pairs))
