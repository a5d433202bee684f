"""Ada at her browser, which runs no scripts.

`python -m tests.guides.person URL` allows the client that had the browser open this address.
"""

import re
import sys
from html import unescape
from urllib.parse import urljoin

import requests

from tests.local.form import submit

TIMEOUT = 60  # seconds
ONWARD = re.compile(r'http-equiv="refresh" content="\d+;\s*url=([^"]+)"')


def sign_in(browser: requests.Session, gateway: str) -> requests.Response:
    """Sign in at the gateway by its only provider, as Ada; return the page that follows."""
    home = browser.get(f"{gateway}/", timeout=TIMEOUT)
    login = submit(browser, home, follow=True, timeout=TIMEOUT)
    consent = submit(browser, login, follow=True, timeout=TIMEOUT, login="ada", password="ada")
    return submit(browser, consent, follow=True, timeout=TIMEOUT, action="grant")


def allow(address: str) -> None:
    """Sign in, allow the client at the gateway and at the provider, and go back to the client."""
    with requests.Session() as browser:
        sign_in(browser, urljoin(address, "/").rstrip("/"))
        asked = browser.get(address, timeout=TIMEOUT)
        provider = submit(browser, asked, follow=True, timeout=TIMEOUT, decision="allow")
        back = submit(browser, provider, follow=True, timeout=TIMEOUT, action="grant")
        onward = ONWARD.search(back.text)
        assert onward is not None, back.text
        browser.get(urljoin(back.url, unescape(onward[1])), timeout=TIMEOUT).raise_for_status()


if __name__ == "__main__":
    allow(sys.argv[1])
