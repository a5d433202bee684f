"""A user signed in with two providers, and another user, with stores in memory.

The calls of AWS and of the providers go over one `Wire`. The state can be restored repeatedly.
"""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from allauth.socialaccount.models import SocialAccount
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from django.conf import settings
from django.core.cache import cache
from django.db import transaction

from oauth.network import concurrency, http
from oauth.network.responses import ProviderResponse
from oauth.provider import jwks, metadata
from oauth.tokens import vault
from tests.oauth.support.fake_provider import FakeProvider, Response
from tests.oauth.support.fixtures import BOB, Visitor
from tests.oauth.support.logout_provider import LogoutProvider
from tests.sessions_kms.model.world import World
from tests.sessions_kms.support.wire import Killed, Wire

OVERLOADED: Response = (429, "text/plain", b"")
CUT_SHORT: Response = (200, "application/json", b"")


class WiredProviders:
    """Providers by issuer, called over the `Wire` of AWS's calls; calls are named `POST /revoke`.

    Faults of the wire become errors of the network or of a provider.
    """

    def __init__(self, wire: Wire, *providers: FakeProvider) -> None:
        self._wire = wire
        self._providers = {provider.issuer: provider for provider in providers}

    def take_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Handle all requests of this process to providers."""

        async def ask(
            method: str, url: str, headers: Mapping[str, str], body: bytes | None, **_: Any
        ) -> ProviderResponse:
            form = dict(parse_qsl((body or b"").decode()))
            status, kind, content = self.respond(method, url, form, headers)
            return ProviderResponse(status, kind, content)

        monkeypatch.setattr(http, "_send", ask)

    def respond(
        self, method: str, url: str, form: dict[str, str], headers: Mapping[str, str]
    ) -> Response:
        parts = urlsplit(url)
        provider = self._providers[f"{parts.scheme}://{parts.netloc}"]
        authorization = headers.get("Authorization", "")
        parameters = form | dict(parse_qsl(parts.query))
        try:
            response: Response | None = self._wire.send(
                f"{method} {parts.path}",
                lambda: provider.respond(parts.path, parameters, authorization),
            )
        except (EndpointConnectionError, ReadTimeoutError):
            raise TimeoutError from None
        except ClientError:
            return OVERLOADED
        return response or CUT_SHORT


ADA = {"sub": "1001", "email": "ada@example.com", "name": "Ada Lovelace"}
Outcome = int | type[Killed]  # the result for the browser or the provider's server


class Stage:
    """``held`` are the person's grants at the start, by provider."""

    def __init__(self, idp: LogoutProvider, second: LogoutProvider) -> None:
        self.world = World(1)
        self.world.clock.now = time.time()
        self.world.sleep = self.world.clock.advance
        self.providers = {"corp": idp, "other": second}
        idp.clock = second.clock = self.world.clock
        self.visitor, self.bystander = Visitor(), Visitor()
        self.visitor.client.raise_request_exception = False
        self.standing: dict[str, list[set[str]]] = {}

    def open(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Sign everybody in, and save the state."""
        WiredProviders(self.world.wire, *self.providers.values()).take_over(monkeypatch)
        monkeypatch.setattr(concurrency, "run_in_background", run_now)
        corp, other = self.providers.values()
        self.begin_anew()
        with self.world.running(0):
            self.visitor.sign_in(corp)
            self.visitor.connect(other)
            self.logout_token = corp.logout_token()
            corp.person, session_id, corp.session_id = BOB, corp.session_id, "of-bob"
            self.bystander.sign_in(corp)
            corp.session_id = session_id
            self.callback = self.visitor.callback_address(corp)
        self.key, self.bobs_key = key_of(self.visitor), key_of(self.bystander)
        self.held, self.bobs = self.grants(self.key), self.grants(self.bobs_key)
        self.account = SocialAccount.objects.get(provider="other").pk
        self.now = self.world.clock.now
        self.items = copy.deepcopy(self.world.table.items)
        self.codes = dict(corp.codes)
        self.given = {name: list(provider.secrets) for name, provider in self.providers.items()}
        for name, provider in self.providers.items():
            provider.hooks["/revoke"] = partial(self._note, name)

    @contextmanager
    def set_up(self, person: dict[str, Any] = ADA) -> Iterator[None]:
        """Restore the saved state; changes to the database are rolled back after the block."""
        self.world.clock.now = self.now
        self.world.table.items = copy.deepcopy(self.items)
        self.visitor.client.cookies.clear()
        self.visitor.client.cookies[settings.SESSION_COOKIE_NAME] = self.key
        cache.clear()  # allauth counts sign-ins in it
        self.providers["corp"].person = person
        self.providers["corp"].codes = dict(self.codes)
        for name, provider in self.providers.items():
            provider.secrets = list(self.given[name])
            provider.revocations.clear()
            self.standing[name] = []
        self.begin_anew()
        with transaction.atomic():
            yield
            transaction.set_rollback(True)

    def begin_anew(self) -> None:
        """Continue as a process with empty caches."""
        self.world.wire.heal()
        self.world.wire.calls.clear()
        self.world.restart(0)
        metadata.clear_metadata_cache()
        jwks._key_sets.clear()

    def run(self, act: Callable[[Stage], Any]) -> Outcome:
        with self.world.running(0):
            try:
                status: int = act(self).status_code
            except Killed:
                return Killed
        return status

    def grants(self, key: str) -> dict[str, str]:
        """Return the refresh tokens of a session in the table, by provider."""
        stored = self.world.truth(key)
        content = stored.content if stored else {}
        prefix = vault.PREFIX
        return {
            name.removeprefix(prefix): data["refresh_token"]
            for name, data in content.items()
            if name.startswith(prefix)
        }

    def live(self) -> set[str]:
        """Return the refresh tokens of all sessions whose cookie anybody has."""
        return {token for key in self._keys() for token in self.grants(key).values()}

    @property
    def stands(self) -> bool:
        """Return True if the session is still there."""
        return self.world.truth(self.key) is not None

    def state(self) -> object:
        """Return the state of the stores, for comparison."""
        kinds = Counter(item_id.partition("#")[0] for item_id in self.others())
        return self.stands, self.grants(self.key), kinds, SocialAccount.objects.count()

    def others(self) -> list[str]:
        """Return the ids of all items except sessions."""
        return [item_id for item_id in self.world.table.items if "#" in item_id]

    def secrets(self) -> list[str]:
        """Return the values that must not be in any log: tokens, codes, the secret, cookies."""
        known = [secret for provider in self.providers.values() for secret in provider.secrets]
        return [*known, *self._keys(), self.logout_token]

    def revoked_tokens(self, name: str) -> list[str]:
        return [form["token"] for form in self.providers[name].revocations]

    def _note(self, name: str) -> None:
        """Record the content of sessions while a provider revokes."""
        self.standing[name].append(self.live())

    def _keys(self) -> set[str]:
        return {self.key, self.bobs_key, key_of(self.visitor)} - {""}


def run_now(call: Callable[[], Any], account: str | None = None) -> Future[Any]:
    """Do background work immediately."""
    done: Future[Any] = Future()
    done.set_result(call())
    return done


def key_of(visitor: Visitor) -> str:
    cookie = visitor.client.cookies.get(settings.SESSION_COOKIE_NAME)
    return cookie.value if cookie else ""
