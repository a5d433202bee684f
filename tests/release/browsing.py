"""A browser without scripts: it fills in forms and follows them."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin

import requests

TIMEOUT = 30  # seconds


@dataclass
class Form:
    """The address of a form and its fields, of which each may have several values."""

    action: str
    fields: dict[str, list[str]] = field(default_factory=dict)


class FormReader(HTMLParser):
    """Reads the forms of a page that are posted; of several buttons it takes the first."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._is_inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._is_inside = found.get("method", "").lower() == "post"
            if self._is_inside:
                self.forms.append(Form(found.get("action", "")))
        elif self._is_inside and found.get("name"):
            self._read_field(tag, found)

    def _read_field(self, tag: str, found: dict[str, str]) -> None:
        fields = self.forms[-1].fields
        is_off = found.get("type") in {"checkbox", "radio"} and "checked" not in found
        if tag == "input" and not is_off:
            fields.setdefault(found["name"], []).append(found.get("value", ""))
        elif tag == "button":
            fields.setdefault(found["name"], [found.get("value", "")])

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._is_inside = False


def sign_in(browser: requests.Session, gateway: str, name: str) -> requests.Response:
    """Sign in by the local provider as one of its accounts; return the page that follows."""
    page = browser.get(f"{gateway}/accounts/oidc/local/login/", timeout=TIMEOUT)
    for _ in range(4):  # the gateway's form, the provider's two, and none
        reader = FormReader()
        reader.feed(page.text)
        is_back = page.url.startswith(gateway) and "/login/" not in page.url
        if is_back or not reader.forms:
            return page
        form = reader.forms[0]
        if "password" in form.fields:
            form.fields |= {"login": [name], "password": [name]}
        page = browser.post(urljoin(page.url, form.action), form.fields, timeout=TIMEOUT)
    return page
