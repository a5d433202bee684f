"""A refresh struck at each of its calls of AWS by each fault: no grant is spent twice or lost.

Lost may only be what no protocol between two stores can keep: a process killed between the
provider's response and its sealing had the only copy: see `oauth/tokens/refresh_coordinator.py`.
"""

import copy
import time
from dataclasses import dataclass
from typing import Any

import pytest

import oauth
from oauth.exceptions import OAuthError, ReauthenticationRequired
from oauth.provider.refresh_lease import LEASE_SECONDS
from oauth.provider.token_set import TokenSet
from oauth.tokens.refresh_coordinator import _back_off
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.sealed_items.leases import CLOCK_DIFFERENCE
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.requests import request_of
from tests.sessions_kms.model.world import DISTURBED_FOR, World
from tests.sessions_kms.support.wire import FAULTS, Killed

EXPIRED = 4000.0  # seconds after the sign-in
MAX_CALLS = 40
TAKEN_OVER = max(LEASE_SECONDS + CLOCK_DIFFERENCE, DISTURBED_FOR) + 1


@dataclass
class Refresh:
    """One refresh, set up anew as often as needed."""

    world: World
    provider: FakeProvider
    visitor: Visitor
    key: str
    items: dict[str, Any]
    refresh_tokens: set[str]
    now: float

    def set_up(self) -> None:
        self.world.wire.arrive()  # what an earlier strike delayed, before there is a new table
        self.world.clock.now = self.now
        self.world.table.items = copy.deepcopy(self.items)
        self.provider.refresh_tokens = set(self.refresh_tokens)
        self.provider.refreshes.clear()
        self.provider.reused = False
        self.begin_anew()

    def begin_anew(self) -> None:
        """Go on as a process that remembers nothing."""
        self.world.wire.heal()
        self.world.restart(0)
        _back_off._until.clear()

    def ask(self) -> TokenSet | type[BaseException]:
        with self.world.running(0):
            try:
                return oauth.get_token(request_of(self.visitor, self.key), "corp")
            except (OAuthError, StoreUnavailable, Killed) as exc:
                return type(exc)

    def calls(self) -> list[str]:
        self.set_up()
        first = len(self.world.wire.calls)
        assert isinstance(self.ask(), TokenSet)
        return self.world.wire.calls[first:]

    def strike(self, call: int, fault: str) -> tuple[Any, Any]:
        """Strike one call; give the response, and that of a process which asks later."""
        self.set_up()
        last = MAX_CALLS if fault.startswith("killed") else call + 1
        self.world.wire.strike(call, FAULTS[fault])
        for number in range(call + 1, last):  # A process that was killed calls nobody any more.
            self.world.wire.strike(number, FAULTS["killed"])
        response = self.ask()
        self.world.clock.advance(TAKEN_OVER)
        self.begin_anew()
        return response, self.ask()


@pytest.fixture
def refreshed(corp: FakeProvider, visitor: Visitor) -> Refresh:
    world = World(1)
    world.clock.now = time.time()
    corp.clock = world.clock
    world.sleep = world.clock.advance  # back-offs pass while a refresh waits to try again
    with world.running(0):
        visitor.sign_in(corp)
        key = visitor.session.session_key or ""
    items = copy.deepcopy(world.table.items)
    now = world.clock.now + EXPIRED
    return Refresh(world, corp, visitor, key, items, set(corp.refresh_tokens), now)


@pytest.mark.slow
def test_any_fault_at_any_call_refreshes_once_and_loses_no_grant(refreshed: Refresh) -> None:
    calls = refreshed.calls()
    lost = []
    for call in range(len(calls)):
        for fault in FAULTS:
            response, later = refreshed.strike(call, fault)
            where = (call, calls[call], fault, response, later)
            assert (response is Killed) == fault.startswith("killed"), where
            if later is ReauthenticationRequired:
                lost.append((call, fault))
                assert fault.startswith("killed"), where
                continue
            assert isinstance(later, TokenSet), where
            assert len(refreshed.provider.refreshes) == 1, where
            assert not refreshed.provider.reused
            assert later.refresh_token in refreshed.provider.refresh_tokens
            if isinstance(response, TokenSet):
                assert response.grant_secret == later.grant_secret, where
    # One GetItem and one PutItem wide, as documented: killed at the read, at its response, and
    # before the sealing write.
    assert [fault for _, fault in lost] == ["killed", "killed_after", "killed"]
    (first, _), _, (last, _) = lost
    assert (calls[first], calls[last], last - first) == ("GetItem", "PutItem", 1)
