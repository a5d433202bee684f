"""A person who allows an app, and the app: an OAuth client that calls with its own tokens.

Its access token lives for a minute and is refreshed before; a refresh whose response was lost is
asked for once more with the same token. Now and then the app gives its grant back.
"""

import base64
import hashlib
import json
import random
import re
import secrets
import time
from typing import Any
from urllib.parse import urlencode, urljoin

import requests

from oauth.sign_in.click_delay import DELAY, FIELD
from tests.soak.fleet import Process
from tests.soak.ledger import Ledger
from tests.soak.visitor import TOKEN, Visitor

ISSUER = "http://127.0.0.1:9"  # its name: the processes have other addresses, and none of them it
RESOURCE = f"{ISSUER}/gateway/bench"
REDIRECT_URI = "http://127.0.0.1:4567/callback"
SHOWN_AT = re.compile(rf'name="{FIELD}" value="([^"]+)"')
CODE = re.compile(r"[?;]code=([^&\"]+)")
EARLY = 20  # seconds before the end of an access token at which it is refreshed
HOPS = 8
ENVIRONMENT = {
    "AUTHORIZATION_ISSUER": ISSUER,
    "UPSTREAM_BENCH_CLIENTS": "1",
    "CLIENTS_REGISTRATION": "1",
    "CLIENTS_ACCESS_TOKEN_AGE": "60",
}


class AppUser(Visitor):
    """One person and one app. ``person`` is who they are at the provider."""

    def __init__(
        self, fleet: list[Process], ledger: Ledger, chance: random.Random, person: str
    ) -> None:
        super().__init__(fleet, ledger, chance)
        self._person = person
        self._app = self._new_browser()  # It gets no cookie.
        self._client_id = ""
        self._tokens: dict[str, str] = {}
        self._due = 0.0

    def act(self) -> None:
        """Do one thing that an app does."""
        if not self._tokens:
            self._let_in()
        elif time.monotonic() >= self._due:
            self._obtain("refresh_token", refresh_token=self._tokens["refresh_token"])
        elif self._chance.random() < 0.02:
            self._give_back()
        else:
            self._ask("app", "GET", "/gateway/bench/", **self._credentials())

    def read(self) -> None:
        """Compare nothing: the app sees no session."""

    def close(self) -> None:
        super().close()
        self._app.close()

    def _let_in(self) -> None:
        """Register, have the person sign in and allow it, and fetch the first tokens."""
        self._start_anew()
        process = self._chance.choice(self._fleet)
        verifier = secrets.token_urlsafe(32)
        if not self._is_signed_in(process) or not self._is_registered():
            return
        if (code := self._consent(process, verifier)) is not None:
            more = {"code": code, "code_verifier": verifier, "redirect_uri": REDIRECT_URI}
            self._obtain("authorization_code", **more)

    def _is_signed_in(self, process: Process) -> bool:
        return self._send_form("sign-in", process, "/", "/accounts/oidc/corp/login/") is not None

    def _is_registered(self) -> bool:
        asked = {"client_name": "Soak", "redirect_uris": [REDIRECT_URI]}
        kind = {"Content-Type": "application/json"}
        response = self._ask(
            "register", "POST", "/oauth/register", data=json.dumps(asked), headers=kind
        )
        self._client_id = "" if response is None else response.json()["client_id"]
        return response is not None

    def _consent(self, process: Process, verifier: str) -> str | None:
        """Return the code that the person's consent gives."""
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        asked = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": REDIRECT_URI,
            "code_challenge": digest.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            "resource": RESOURCE,
        }
        address = f"/oauth/authorize?{urlencode(asked)}"
        page = self._send_form("consent", process, address, address, decision="allow")
        found = CODE.search(page.text) if page is not None else None
        if page is not None and found is None:
            self._ledger.violation("a consent led to no code")
        return found[1] if found else None

    def _send_form(
        self, kind: str, process: Process, page: str, to: str, **fields: str
    ) -> requests.Response | None:
        """Send a form of a page, and go where that leads: to the provider and back."""
        response = self._ask("form", "GET", page, process=process)
        if response is None:
            return None
        if (token := TOKEN.search(response.text)) is None:
            self._ledger.violation(f"{kind}: the page has no form")
            return None
        form = {"csrfmiddlewaretoken": token[1], **fields}
        if shown_at := SHOWN_AT.search(response.text):
            form[FIELD] = shown_at[1]
            time.sleep(1.1 * DELAY)  # as a person who reads the page
        response = self._ask(kind, "POST", to, process=process, data=form, allow_redirects=False)
        for _ in range(HOPS):
            if response is None or not response.is_redirect:
                break
            url = urljoin(response.url, response.headers["Location"])
            if not url.startswith(process.url):  # The provider asks who it is.
                url += "&" + urlencode({"person": self._person})
            response = self._ask(kind, "GET", url, allow_redirects=False)
        return response

    def _obtain(self, grant_type: str, **more: str) -> None:
        form = {
            "grant_type": grant_type,
            "client_id": self._client_id,
            "resource": RESOURCE,
            **more,
        }
        response = self._ask(grant_type, "POST", "/oauth/token", browser=self._app, data=form)
        if response is not None:
            self._tokens = response.json()
            self._due = time.monotonic() + int(self._tokens["expires_in"]) - EARLY
        elif grant_type != "refresh_token":
            self._tokens = {}

    def _give_back(self) -> None:
        """Revoke the grant; its access token must then open nothing."""
        tokens, self._tokens = self._tokens, {}
        form = {"token": tokens["refresh_token"], "client_id": self._client_id}
        done = self._ask("revoke", "POST", "/oauth/revoke", browser=self._app, data=form)
        if done is not None:
            self._ask("revoked", "GET", "/gateway/bench/", good=401, **self._credentials(tokens))

    def _credentials(self, tokens: dict[str, str] | None = None) -> dict[str, Any]:
        token = (tokens or self._tokens)["access_token"]
        return {"browser": self._app, "headers": {"Authorization": f"Bearer {token}"}}
