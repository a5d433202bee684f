"""Gateways started as by an operator, which share everything except Django's keys; and their users.

Browsers and programs use HTTP and only rely on the pages and the RFCs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import pytest
import requests

from tests import ROOT
from tests.gateway_site.support.client_tokens import REDIRECT_URI, VERIFIER, authorization_url
from tests.local.form import Form
from tests.oauth.support.fake_provider import CLIENT_ID, CLIENT_SECRET, FakeProvider, serving
from tests.sessions_kms.support.stacks import REGION, Stack, aws_stack
from tests.support.clock import FakeClock
from tests.support.local_kms import LocalKMS
from tests.support.processes import free_port, run_to_end, running
from tests.support.waiting import until

SECONDS = 30


class KeyedFleet:
    """Processes that share a table, a database, a provider and an issuer."""

    def __init__(self, folder: Path, stack: Stack, provider: FakeProvider) -> None:
        self._running = ExitStack()
        self._folder = folder
        self.stack, self.provider = stack, provider
        self._port = free_port()
        self.issuer = f"http://127.0.0.1:{self._port}"
        self._key = "m" * 50
        self._shared = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "GATEWAY_LOCAL": "1",
            "DATABASE_URL": f"sqlite:///{folder}/gateway.sqlite3",
            "PERSON_CACHE_AGE": "0",
            "KMS_KEY_ARN": stack.config.key_id,
            "SESSIONS_TABLE": stack.config.table_name,
            "OAUTH_CORP_CLIENT_ID": CLIENT_ID,
            "OAUTH_CORP_CLIENT_SECRET": CLIENT_SECRET,
            "OAUTH_CORP_ISSUER": provider.issuer,
            "SIGN_IN_ALLOWED_DOMAINS": "*",
            "PUBLIC_URL": self.issuer,
            "CLIENTS_REGISTRATION": "1",
            "UPSTREAM_PEOPLE_URL": provider.issuer,
            "UPSTREAM_PEOPLE_PROVIDER": "corp",
            "UPSTREAM_PEOPLE_CLIENTS": "1",
            **{name: value for name, value in os.environ.items() if name.startswith("AWS_")},
            "AWS_REGION": REGION,
        }

    def __enter__(self) -> Self:
        """Create the database."""
        done = self.manage("migrate", "-v0")
        assert done.returncode == 0, done.stderr
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a management command as an operator does, with the keys of the last process."""
        command = [sys.executable, "manage.py", *arguments]
        return run_to_end(command, self._shared | {"DJANGO_SECRET_KEY": self._key})

    def start(self, key: str, *fallbacks: str, **variables: str) -> str:
        """Start a process with these keys, and return its URL; that of the first is the issuer.

        ``variables`` differ from those of the other processes.
        """
        port, self._port, self._key = self._port, free_port(), key
        keys = {"DJANGO_SECRET_KEY": key, "DJANGO_SECRET_KEY_FALLBACKS": ",".join(fallbacks)}
        command = [sys.executable, "-m", "gateway_site.server", "--port", str(port)]
        log = self._folder / f"gateway-{port}.log"
        self._running.enter_context(running(command, self._shared | keys | variables, log, port))
        return f"http://127.0.0.1:{port}"


@contextmanager
def keyed_fleet(
    local_kms: LocalKMS,
    roto_url: str,
    folder: Path,
    kind: Callable[[], FakeProvider] = FakeProvider,
) -> Iterator[KeyedFleet]:
    """Yield processes with a provider of their own, and a new table and key at these servers."""
    with pytest.MonkeyPatch.context() as patch, serving(kind) as provider:
        patch.setenv("AWS_ENDPOINT_URL_KMS", local_kms.url)
        patch.setenv("AWS_ENDPOINT_URL_DYNAMODB", roto_url)
        stack = aws_stack("servers", FakeClock(time.time()))
        with KeyedFleet(folder, stack, provider) as fleet:
            yield fleet


@dataclass
class Browser:
    """A person's browser, which sends its cookies to all processes, as if they were one site."""

    provider: FakeProvider
    http: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.http.trust_env = False

    def sign_in(self, at: str, *, back_at: str | None = None) -> requests.Response:
        """Start a sign-in at one process, and return from the provider to another."""
        led = self.press(self.get(f"{at}/accounts/login/"), "corp", at)
        callback = urlsplit(self.provider.consent(led.headers["Location"]))
        return self.get(f"{back_at or at}{callback.path}?{callback.query}")

    def copy(self) -> Browser:
        """Return another browser with the same cookies."""
        other = Browser(self.provider)
        other.http.cookies.update(self.http.cookies.get_dict())
        return other

    def is_signed_in(self, at: str) -> bool:
        return "Sign out" in self.get(f"{at}/").text

    def get(self, address: str) -> requests.Response:
        response = self.http.get(address, timeout=SECONDS)
        assert response.status_code == 200, response.text
        return response

    def press(self, page: requests.Response, word: str, at: str, **typed: str) -> requests.Response:
        """Send the form with this word on a page; any process may receive it."""
        [html] = [each for each in re.findall(r"(?s)<form.*?</form>", page.text) if word in each]
        form = Form(html)
        fields = form.fields | {name: [value] for name, value in typed.items()}
        address = urljoin(f"{at}{urlsplit(page.url).path}", form.action)
        responses: list[requests.Response] = []

        def is_led() -> bool:
            """Send it until it is accepted, a second after its page was shown."""
            responses.append(
                self.http.post(address, fields, allow_redirects=False, timeout=SECONDS)
            )
            return responses[-1].status_code == 302

        assert until(is_led), responses[-1].text
        return responses[-1]


@dataclass
class Program:
    """An OAuth client, with its tokens."""

    issuer: str
    client_id: str
    tokens: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def allowed(cls, browser: Browser, issuer: str, upstream: str = "people") -> Program:
        """Register, and let the person of a browser allow it to call the upstream."""
        metadata = {"client_name": "Program", "redirect_uris": [REDIRECT_URI]}
        response = requests.post(f"{issuer}/oauth/register", json=metadata, timeout=SECONDS)
        made = cls(issuer, response.json()["client_id"])
        page = browser.get(authorization_url(issuer, made.client_id, upstream=upstream))
        led = browser.press(page, "decision", issuer, decision="allow")
        back = browser.get(browser.provider.consent(led.headers["Location"]))
        [code] = set(re.findall(r"gwc_\w+", back.text))
        given = made.ask(issuer, grant_type="authorization_code", code=code, code_verifier=VERIFIER)
        assert given.status_code == 200, given.text
        made.tokens = given.json()
        return made

    def call(self, at: str) -> int:
        headers = {"Authorization": f"Bearer {self.tokens['access_token']}"}
        url = f"{at}/gateway/people/userinfo"
        return requests.get(url, headers=headers, timeout=SECONDS).status_code

    def refresh(self, at: str) -> int:
        token = self.tokens["refresh_token"]
        response = self.ask(at, grant_type="refresh_token", refresh_token=token)
        self.tokens |= response.json() if response.ok else {}
        return response.status_code

    def ask(self, at: str, **form: str) -> requests.Response:
        form |= {"client_id": self.client_id}
        return requests.post(f"{at}/oauth/token", form, timeout=SECONDS)
