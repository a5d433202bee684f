"""Grants in tests: one person without a database, processes in memory, and a client's requests."""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import User

from oauth.clients.consent import Consent
from oauth.clients.grants import Grants
from oauth.clients.rules.errors import InvalidGrant
from oauth.clients.sealed_grant import TokenResponse
from oauth.clients.token_pair import Lifetimes
from oauth.provider.token_set import TokenSet
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.grant_store import GrantStore
from sessions_kms.services import id_of
from tests.sessions_kms.model.world import World
from tests.sessions_kms.support.stacks import install

BACKEND = "tests.oauth.support.grants.PeopleInMemory"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest())[:43].decode()
CONSENT = Consent(
    client_id="dcr.one",
    client_name="A client",
    client_host="client.example",
    redirect_uri="http://127.0.0.1/callback",
    upstream="mcp",
    resource="https://gateway.example/gateway/mcp",
    scope="mcp",
    challenge=CHALLENGE,
)
# Sent with each request of the client.
ASKED: dict[str, Any] = {
    "client_id": CONSENT.client_id,
    "resource": None,
    "is_allowed": lambda _: True,
}
TOKENS = TokenSet(
    access_token="upstream-access",
    token_type="Bearer",
    scope=("openid",),
    subject="1001",
    client_id="gateway",
    refresh_token="upstream-refresh",
)


class PeopleInMemory:
    """An authentication backend with one person, for tests without a database."""

    ada = User(pk=7, username="ada", password="a hash")

    def get_user(self, user_id: Any) -> AbstractBaseUser | None:
        return self.ada if user_id == self.ada.pk and self.ada.is_active else None

    def authenticate(self, request: Any, **credentials: Any) -> None:
        return None


class GrantWorld:
    """Processes with one table, and a client's requests to one of them."""

    def __init__(self, processes: int = 1, lifetimes: Lifetimes | None = None, **config: Any):
        self.world = World(processes, **config)
        self.clock = self.world.clock
        self.lifetimes = lifetimes or Lifetimes()
        self.grants = self.started(0)

    def started(self, process: int) -> Grants:
        """Return the grants of a process with empty caches."""
        return Grants(self.world.processes[process], self.lifetimes)

    @property
    def items(self) -> dict[str, Any]:
        return self.world.table.items

    @property
    def calls(self) -> list[str]:
        return self.world.table.calls

    def allow(self, **changes: Any) -> str:
        consent = Consent(**(vars(CONSENT) | changes))
        allowed = run_sync(
            self.grants.allow(PeopleInMemory.ada, consent, "corp", TOKENS, backend=BACKEND)
        )
        return allowed.code

    def redeem(self, code: str, **changes: Any) -> TokenResponse:
        asked = ASKED | {"verifier": VERIFIER, "redirect_uri": CONSENT.redirect_uri}
        asked |= {"arrived_at": self.clock()}
        return run_sync(self.grants.redeem(code, **(asked | changes)))

    def assert_not_redeemed(
        self, code: str, error: type[Exception] = InvalidGrant, **changes: Any
    ) -> None:
        with pytest.raises(error):
            self.redeem(code, **changes)

    def begin(self) -> TokenResponse:
        return self.redeem(self.allow())

    def refresh(self, token: str, **changes: Any) -> TokenResponse:
        asked = ASKED | {"scope": None, "arrived_at": self.clock()}
        return run_sync(self.grants.refresh(token, **(asked | changes)))

    def assert_not_refreshed(
        self, token: str, error: type[Exception] = InvalidGrant, **changes: Any
    ) -> None:
        with pytest.raises(error):
            self.refresh(token, **changes)

    def session(self, token: str, upstream: str = "mcp") -> GrantStore | None:
        found = run_sync(self.grants.open(token, upstream=upstream))
        return None if found is None else found.session

    def load_session(self, issued: TokenResponse) -> GrantStore:
        found = self.session(issued.access_token)
        assert found is not None
        return found

    def revoke(self, token: str, client_id: str = CONSENT.client_id) -> None:
        run_sync(self.grants.revoke(token, client_id=client_id))

    def lives(self, issued: TokenResponse) -> bool:
        return self.session(issued.access_token) is not None

    def key_of(self, issued: TokenResponse) -> str:
        return str(self.load_session(issued).session_key)

    def id_of(self, issued: TokenResponse) -> str:
        return id_of(self.key_of(issued))

    def ends(self) -> None:
        """End every session, as its user can do in a list."""
        for item_id in [each for each in self.items if "#" not in each]:
            del self.items[item_id]

    def kinds(self) -> list[str]:
        """Return the types of the items, without data keys."""
        words = (
            item_id.partition("#")[0] if "#" in item_id else "session" for item_id in self.items
        )
        return sorted(word for word in words if word != "data-key")


def install_world(**options: Any) -> GrantWorld:
    """Return a world whose process is this one."""
    world = GrantWorld(**options)
    install(world.world.processes[0])
    return world


@contextmanager
def people() -> Iterator[User]:
    """Yield the person; afterwards, make them active and restore the password."""
    ada = PeopleInMemory.ada
    before = ada.is_active, ada.password
    try:
        yield ada
    finally:
        ada.is_active, ada.password = before
