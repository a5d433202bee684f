"""A visitor that records what the site acknowledged, and reports lost data.

Each request goes to any of the processes. A change whose response was lost may or may
not have been made, so what is known of the counter is a range.
"""

import random
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

import requests

from tests.soak.fleet import Process
from tests.soak.ledger import ENDED_EARLY, NO_RESPONSE, UNAVAILABLE, Ledger

COOKIE = "gateway_sessionid"
TIMEOUT = 20  # seconds
EVENTS = 2  # that are read of a stream
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class Visitor:
    """One browser."""

    def __init__(self, fleet: list[Process], ledger: Ledger, chance: random.Random) -> None:
        self._fleet = fleet
        self._ledger = ledger
        self._chance = chance
        self._browser = self._new_browser()
        self._low = self._high = 0  # of the counter
        self._signed_in = False

    def act(self) -> None:
        """Do one thing that a visitor does."""
        if not self._signed_in and self._chance.random() < 0.5:
            self.sign_in()
            return
        actions: dict[Callable[[], None], int] = {
            self._visit_anonymously: 15,
            self.read: 40,
            self._modify: 25,
            self._call_upstream: 12,
            self._stream: 4,
            self._sign_out: 4,
        }
        (action,) = self._chance.choices(list(actions), list(actions.values()))
        action()

    def read(self) -> None:
        """Compare what the session holds with what is known."""
        response = self._ask("read", "GET", "/soak/read")
        if response is not None:
            self._compare(response, at_least=self._low, at_most=self._high)

    def close(self) -> None:
        self._browser.close()

    def _modify(self) -> None:
        self._high += 1
        response = self._ask("modify", "GET", "/soak/modify")
        if response is not None and self._compare(response, self._low + 1, self._high):
            self._high = self._low

    def _compare(self, response: requests.Response, at_least: int, at_most: int) -> bool:
        held = response.json()
        right = at_least <= held["count"] <= at_most and held["signed_in"] == self._signed_in
        if right:
            self._low = held["count"]
            return True
        expected = f"{at_least} to {at_most}, signed in: {self._signed_in}"
        self._ledger.violation(f"a session was lost or revived: {held}, not {expected}")
        self._start_anew()
        return False

    def _visit_anonymously(self) -> None:
        with self._new_browser() as browser:
            self._ask("anonymous", "GET", "/", browser=browser)

    def _call_upstream(self) -> None:
        if self._signed_in:
            self._ask("gateway", "GET", "/gateway/bench/")

    def _stream(self) -> None:
        if not self._signed_in:
            return
        response = self._ask("stream", "GET", "/gateway/bench/events", stream=True)
        if response is None:
            return
        began = time.monotonic()
        try:
            events = (line for line in response.iter_lines(chunk_size=1) if line)
            for _ in range(EVENTS):
                if next(events, None) is None:
                    self._ledger.failed("stream", ENDED_EARLY, began)
                    return
        except requests.RequestException:
            self._ledger.failed("stream", ENDED_EARLY, began)
        finally:
            response.close()

    def sign_in(self) -> None:
        """Go to the provider and back; in doubt, start again: nothing was acknowledged."""
        done = self._submit("sign-in", "/accounts/oidc/corp/login/")
        if done is None:
            self._start_anew()
            return
        self._signed_in = True
        self.read()

    def _sign_out(self) -> None:
        """Sign out; the cookie of before must then open nothing."""
        if not self._signed_in:
            return
        key = self._browser.cookies.get(COOKIE)
        done = self._submit("sign-out", "/accounts/logout/")
        self._start_anew()
        if done is None or key is None:
            return
        self._browser.cookies.set(COOKIE, key)
        self.read()
        self._start_anew()

    def _submit(self, kind: str, path: str) -> requests.Response | None:
        """Send a form of the home page, to the process that gave it."""
        process = self._chance.choice(self._fleet)
        page = self._ask("form", "GET", "/", process=process)
        if page is None:
            return None
        if (token := TOKEN.search(page.text)) is None:
            self._ledger.violation(f"{kind}: the page has no form")
            return None
        form = {"csrfmiddlewaretoken": token[1]}
        return self._ask(kind, "POST", path, process=process, data=form)

    def _ask(
        self,
        kind: str,
        method: str,
        path: str,
        *,
        process: Process | None = None,
        browser: requests.Session | None = None,
        good: int | None = None,
        **more: Any,
    ) -> requests.Response | None:
        """Return the response if it is a good one; note it in any case."""
        url = urljoin((process or self._chance.choice(self._fleet)).url, path)
        began = time.monotonic()
        try:
            response = (browser or self._browser).request(method, url, timeout=TIMEOUT, **more)
        except requests.RequestException:
            self._ledger.note(kind, NO_RESPONSE)
            self._ledger.failed(kind, NO_RESPONSE, began)
            return None
        self._ledger.note(kind, str(response.status_code))
        if response.ok if good is None else response.status_code == good:
            return response
        response.close()
        if response.status_code == int(UNAVAILABLE):
            self._ledger.failed(kind, UNAVAILABLE, began)
        else:
            self._ledger.violation(f"{kind}: {response.status_code}")
        return None

    def _start_anew(self) -> None:
        self._browser.close()
        self._browser = self._new_browser()
        self._low = self._high = 0
        self._signed_in = False

    @staticmethod
    def _new_browser() -> requests.Session:
        browser = requests.Session()
        browser.trust_env = False
        return browser
