"""A page's form, as a browser without JavaScript sends it."""

import time
from html.parser import HTMLParser
from urllib.parse import urljoin

import requests

TOO_SOON = "That came less than a second after the page was shown"


class Form(HTMLParser):
    """The URL and the fields of a page's form, which is not the one that changes the language."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, list[str]] = {}
        self._is_left_out = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._is_left_out = values.get("class") == "languages"
        if self._is_left_out:
            return
        if tag == "form":
            self.action = values.get("action", "")  # empty: the page itself
        if tag == "input" and (values.get("type") != "checkbox" or "checked" in values):
            self.fields.setdefault(values["name"], []).append(values.get("value", ""))


def submit(
    browser: requests.Session,
    page: requests.Response,
    *,
    follow: bool = False,
    timeout: float = 10,
    **typed: str,
) -> requests.Response:
    """Fill in and send the page's form; send it again if the gateway says that it came too soon."""
    form = Form(page.text)
    fields = form.fields | {name: [value] for name, value in typed.items()}
    deadline = time.monotonic() + timeout
    while True:
        response = browser.post(
            urljoin(page.url, form.action), fields, allow_redirects=follow, timeout=timeout
        )
        if TOO_SOON not in response.text or time.monotonic() > deadline:
            return response
        time.sleep(0.05)


BROWSER_ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
