"""Signs in at a peer like a browser, and returns the cookie."""

import requests


def cookie(url: str) -> str:
    """Sign in by requesting a page. Raises RuntimeError if the page is not returned."""
    with requests.Session() as browser:
        response = browser.get(url, timeout=30)
        if response.status_code != 200:
            raise RuntimeError(f"{url}: {response.status_code}")
        return "; ".join(f"{each.name}={each.value}" for each in browser.cookies)
