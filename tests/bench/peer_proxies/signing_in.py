"""A browser's way through a peer's sign-in, for the cookie at its end."""

from __future__ import annotations

import requests


def cookie(url: str) -> str:
    """Sign in by calling a page. Raises RuntimeError when the page does not come."""
    with requests.Session() as browser:
        answer = browser.get(url, timeout=30)
        if answer.status_code != 200:
            raise RuntimeError(f"{url}: {answer.status_code}")
        return "; ".join(f"{each.name}={each.value}" for each in browser.cookies)
