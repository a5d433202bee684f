"""A person without a browser: follows pages, fills in forms and keeps cookies."""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import requests

from tests.interop.openid_provider import OpenIDProvider
from tests.local.form import submit

TIMEOUT = 30  # seconds; some responses are delayed on purpose


class Person:
    """One person's cookies, at the gateway and at the providers."""

    def __init__(self, gateway: str, name: str = "ada") -> None:
        self.gateway = gateway
        self.name = name
        self.client = requests.Session()
        self.client.trust_env = False

    def sign_in(self, at: OpenIDProvider) -> requests.Response:
        """Sign in there, consent, and return; give the last page."""
        page = self.get(f"/accounts/oidc/{at.name}/login/")
        asked = submit(self.client, page, follow=True, timeout=TIMEOUT)
        while asked.url.startswith(f"{at.issuer}/interaction/"):
            asked = self._fill_in(asked)
        return asked

    def call(self, upstream: str) -> requests.Response:
        """Call the provider's userinfo through the gateway."""
        return self.get(f"/gateway/{upstream}/me", headers={"Sec-Fetch-Site": "same-origin"})

    def sign_out(self) -> requests.Response:
        """Sign out here, and follow the link to the provider."""
        page = submit(self.client, self.get("/accounts/logout/"), follow=True, timeout=TIMEOUT)
        (address,) = re.findall(r'<a id="single-logout"[^>]* href="([^"]*)">', page.text)
        return self.client.get(unescape(address), timeout=TIMEOUT)

    def in_another_browser(self) -> Person:
        """Return the person in a browser that is signed in at the providers only.

        Its sessions at the gateway are new, its sessions at the providers the same.
        """
        other = Person(self.gateway, self.name)
        other.client.cookies.update(self.client.cookies)
        other.client.cookies.clear(domain=urlsplit(self.gateway).hostname)
        return other

    def sign_out_here(self) -> None:
        """Sign out of the gateway only."""
        submit(self.client, self.get("/accounts/logout/"), timeout=TIMEOUT)
        assert not self.is_signed_in

    def sign_out_at(self, provider: OpenIDProvider) -> requests.Response:
        """Sign out only at the provider."""
        page = self.client.get(f"{provider.issuer}/session/end", timeout=TIMEOUT)
        return submit(self.client, page, follow=True, timeout=TIMEOUT, logout="yes")

    @property
    def is_signed_in(self) -> bool:
        return "Sign out" in self.get("/").text

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.client.get(self.gateway + path, timeout=TIMEOUT, **options)

    def _fill_in(self, page: requests.Response) -> requests.Response:
        typed = {"login": self.name, "password": "any"} if 'name="login"' in page.text else {}
        return submit(self.client, page, follow=True, timeout=TIMEOUT, **typed)
