"""The load balancer of the guides: it ends TLS, inside a client of `requests`."""

from typing import Any

import requests
from requests.adapters import HTTPAdapter

HOME = "https://gateway.example.com"


class Balancer(HTTPAdapter):
    """Sends what goes to HOME to one process, with the headers that a load balancer sets."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.process = f"http://127.0.0.1:{port}"

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> Any:
        url = request.url or ""
        added = {"Host": HOME.removeprefix("https://"), "X-Forwarded-Proto": "https"}
        if request.method == "POST":
            added["Origin"] = HOME  # as browsers do
        request.url = self.process + url.removeprefix(HOME)
        request.headers.update(added)
        response = super().send(request, *args, **options)
        response.url = request.url = url
        for name in added:  # a redirect may lead elsewhere
            del request.headers[name]
        return response


def browse(port: int) -> requests.Session:
    """Return a browser for which HOME is the gateway on this port."""
    browser = requests.Session()
    browser.trust_env = False
    browser.mount(HOME, Balancer(port))
    return browser
