"""Each row of the documented table of refreshes."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pytest_django import Settings

from oauth.clients import grant_end, token_pair
from oauth.clients.authentication.authenticator import Authenticator
from oauth.clients.rules.errors import GrantError, InvalidGrant, InvalidScope, InvalidTarget
from oauth.clients.sealed_grant import SealedGrant, TokenResponse
from oauth.clients.token_pair import LATE_ARRIVAL, Lifetimes
from oauth.sign_in import session_user
from oauth.signals import grant_ended
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.operations.ending import end_before
from sessions_kms.services import services
from sessions_kms.testing.dynamodb import Handle
from tests.oauth.support.grants import GrantWorld, PeopleInMemory, install_world
from tests.sessions_kms.support.fakes import State
from tests.sessions_kms.support.memory_dynamodb import after, refuse_write
from tests.sessions_kms.support.stacks import install
from tests.sessions_kms.support.wire import (
    Killed,
    kill,
    kill_after,
    lose_response,
    truncate_response,
    unreachable,
)
from tests.support.signals import record_signal

FIRST = "TransactWriteItems token answer token token answer"  # the code's response goes
LATER = "TransactWriteItems token answer token token token answer"  # and a token is buried
GRACE = 120
START = 1_800_000_000


def same(one: TokenResponse, other: TokenResponse) -> bool:
    tokens = ("access_token", "refresh_token", "scope")
    return all(getattr(one, each) == getattr(other, each) for each in tokens)


@pytest.fixture
def first(one: GrantWorld) -> TokenResponse:
    return one.begin()


@pytest.fixture
def second(one: GrantWorld, first: TokenResponse) -> TokenResponse:
    """What the first refresh token was spent for, just now."""
    one.clock.advance(10)
    return one.refresh(first.refresh_token)


def test_valid_refresh_token_gives_a_new_pair(
    one: GrantWorld, first: TokenResponse, second: TokenResponse
) -> None:
    assert {first.access_token, first.refresh_token}.isdisjoint(
        {second.access_token, second.refresh_token}
    )
    assert one.key_of(first) == one.key_of(second)
    assert second.expires_in == 3600


@pytest.mark.parametrize("later", [0, 1, GRACE])
def test_spent_refresh_token_gives_the_same_response_within_the_grace(
    one: GrantWorld, first: TokenResponse, second: TokenResponse, later: int
) -> None:
    one.clock.advance(later)
    assert same(one.refresh(first.refresh_token), second)


def test_spent_refresh_token_ends_the_grant_after_the_grace(
    one: GrantWorld, first: TokenResponse, second: TokenResponse
) -> None:
    one.clock.advance(GRACE + 1)
    with record_signal(grant_ended) as received, pytest.raises(InvalidGrant):
        one.refresh(first.refresh_token)
    assert [each["reason"] for each in received] == ["reused"]
    assert not one.lives(second)
    one.assert_not_refreshed(second.refresh_token)


def test_age_of_a_refresh_token_is_measured_at_arrival(
    one: GrantWorld, first: TokenResponse, second: TokenResponse
) -> None:
    arrived = one.clock()
    one.clock.advance(GRACE + 20)
    assert same(one.refresh(first.refresh_token, arrived_at=arrived), second)


def test_request_delayed_beyond_the_stored_response_is_unavailable(
    one: GrantWorld, first: TokenResponse, second: TokenResponse
) -> None:
    arrived = one.clock()
    one.clock.advance(10 * GRACE)
    one.assert_not_refreshed(first.refresh_token, StoreUnavailable, arrived_at=arrived)
    assert one.lives(second)


def test_tombstone_ends_nothing_within_the_grace_and_the_grant_after_it(
    one: GrantWorld, first: TokenResponse, second: TokenResponse
) -> None:
    third = one.refresh(second.refresh_token)
    one.assert_not_refreshed(first.refresh_token)
    assert one.lives(third)
    one.clock.advance(GRACE + 1)
    one.assert_not_refreshed(first.refresh_token)
    assert not one.lives(third)


WEEK = 7 * 86_400


def bury_for(days: float) -> tuple[GrantWorld, TokenResponse, TokenResponse]:
    """Return a grant whose first token was buried so long ago, with its first pair and its last.

    It was refreshed all the time.
    """
    one = install_world(grant_timeout=90 * 86_400)
    first = one.begin()
    last = one.refresh(one.refresh(first.refresh_token).refresh_token)
    for _ in range(int(days * 4)):
        one.clock.advance(WEEK / 28)
        last = one.refresh(last.refresh_token)
    return one, first, last


def test_tombstone_ends_the_grant_for_seven_days(one: GrantWorld) -> None:
    world, first, last = bury_for(6.75)
    assert world.clock() - START == WEEK - WEEK / 28
    world.clock.advance(WEEK / 28 - 1)
    world.assert_not_refreshed(first.refresh_token)
    assert not world.lives(last)


def test_old_token_ends_nothing_and_its_tombstone_is_deleted(one: GrantWorld) -> None:
    world, first, last = bury_for(7)
    item_id = world.grants._tokens.id_of(first.refresh_token)
    assert item_id in world.items, "DynamoDB is late"
    for _ in range(2):
        world.assert_not_refreshed(first.refresh_token)
        world.revoke(first.refresh_token)
        assert grant_end.drain_deletions(10)
        assert item_id not in world.items
    assert world.lives(last)
    assert world.lives(world.refresh(last.refresh_token))


def test_tombstone_never_outlives_its_grant(one: GrantWorld, first: TokenResponse) -> None:
    one.clock.advance(6 * 86_400)
    second = one.refresh(first.refresh_token)
    one.refresh(second.refresh_token)
    (ttl,) = (item["ttl"]["N"] for item in one.items.values() if "spentAt" in item)
    assert int(ttl) == START + WEEK


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"client_id": "dcr.other"}, InvalidGrant),
        ({"resource": "https://gateway.example/gateway/other"}, InvalidTarget),
        ({"scope": "mcp more"}, InvalidScope),
    ],
)
def test_wrong_client_resource_or_scope_spends_and_ends_nothing(
    one: GrantWorld, first: TokenResponse, changes: dict[str, Any], error: type[GrantError]
) -> None:
    one.assert_not_refreshed(first.refresh_token, error, **changes)
    second = one.refresh(first.refresh_token)
    one.clock.advance(GRACE + 1)
    one.assert_not_refreshed(first.refresh_token, error, **changes)
    assert one.lives(second)


@pytest.mark.parametrize(
    "changes",
    [
        {"resource": "https://gateway.example/gateway/mcp/"},
        {"resource": "https://gateway.example/gateway/mcp", "scope": "mcp"},
        {"scope": ""},
    ],
)
def test_what_was_consented_to_may_be_named(
    one: GrantWorld, first: TokenResponse, changes: dict[str, Any]
) -> None:
    assert one.lives(one.refresh(first.refresh_token, **changes))


def test_ended_grant_gives_nothing(
    one: GrantWorld, first: TokenResponse, second: TokenResponse
) -> None:
    one.ends()
    for each in (first, second):
        one.assert_not_refreshed(each.refresh_token)


def test_grant_from_before_the_not_before_moment_gives_nothing(
    one: GrantWorld, first: TokenResponse
) -> None:
    one.clock.advance(1)
    end_before(services(), int(one.clock()))
    one.assert_not_refreshed(first.refresh_token)


def test_person_who_is_not_active_gets_nothing(
    one: GrantWorld, first: TokenResponse, second: TokenResponse
) -> None:
    PeopleInMemory.ada.is_active = False
    for each in (first, second):
        one.assert_not_refreshed(each.refresh_token)
    PeopleInMemory.ada.is_active = True
    assert one.lives(one.refresh(second.refresh_token))


def test_new_password_ends_the_grant(one: GrantWorld, first: TokenResponse) -> None:
    PeopleInMemory.ada.password = "another hash"
    one.assert_not_refreshed(first.refresh_token)
    assert "session" not in one.kinds()


def test_another_secret_key_changes_nothing(
    one: GrantWorld, first: TokenResponse, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_user, "started_at", time.time() + 1)  # with these keys
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-" + settings.SECRET_KEY
    second = one.refresh(first.refresh_token)
    assert one.key_of(second) == one.key_of(first)
    settings.SECRET_KEY_FALLBACKS = []
    assert one.lives(one.refresh(second.refresh_token)), "its hash is of the new key by now"


@pytest.mark.parametrize("fault", [lose_response, truncate_response])
def test_own_version_token_after_a_lost_response_is_success(
    one: GrantWorld, first: TokenResponse, fault: Any
) -> None:
    one.world.table.on(FIRST, fault)
    second = one.refresh(first.refresh_token)
    one.world.table.heal()
    assert one.lives(second)
    assert same(one.refresh(first.refresh_token), second)


class Authenticated(Authenticator):
    """A client that has proved who it is."""

    is_authenticated = True

    async def authenticate(self, grant: SealedGrant) -> None:
        """Accept it."""


@pytest.mark.parametrize("client", [Authenticator(), Authenticated()])
@pytest.mark.parametrize("is_lost", [True, False])
def test_pair_is_given_though_another_process_of_the_client_has_gone_on_from_it(
    one: GrantWorld,
    is_lost: bool,
    client: Authenticator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its response is lost, or confirmed late: the spent token is deleted or a tombstone then."""
    first = one.redeem(one.allow(), client=client)
    pairs: list[TokenResponse] = []

    def overtaken(handle: Handle) -> object:
        one.world.table.heal()
        response = handle()
        pairs.append(one.refresh(first.refresh_token, client=client))
        pairs.append(one.refresh(pairs[0].refresh_token, client=client))
        if is_lost:
            raise ConnectionError
        return response

    one.world.table.has_connections = not is_lost
    one.world.table.on(FIRST, overtaken)
    second = one.refresh(first.refresh_token, client=client)
    assert same(second, pairs[0])
    assert same(one.refresh(second.refresh_token, client=client), pairs[1])
    assert "another request" not in caplog.text, "no connection is to blame"


def test_pair_of_another_exchange_is_not_taken_for_ones_own(
    one: GrantWorld, first: TokenResponse
) -> None:
    """One that was never made, while another process was first and went on."""

    def overtaken(_: Handle) -> object:
        one.world.table.heal()
        second = one.refresh(first.refresh_token)
        one.refresh(second.refresh_token)
        raise ConnectionError

    one.world.table.on(FIRST, overtaken)
    one.assert_not_refreshed(first.refresh_token)


@pytest.mark.parametrize("death", [kill, kill_after])
def test_process_that_dies_before_or_after_the_write_leaves_a_token_that_can_be_repeated(
    one: GrantWorld, first: TokenResponse, death: Callable[[Handle], Any]
) -> None:
    one.world.table.on(FIRST, death)
    with pytest.raises(Killed):
        one.refresh(first.refresh_token)
    one.world.table.heal()
    one.world.restart(0)
    install(one.world.processes[0])
    one.grants = one.started(0)
    second = one.refresh(first.refresh_token)
    assert one.lives(second)
    assert same(one.refresh(first.refresh_token), second)


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        ("GetItem token", refuse_write),
        ("GetItem session", refuse_write),
        ("PutItem session", refuse_write),
        (FIRST, refuse_write),
        (FIRST, unreachable),
    ],
)
def test_table_away_is_no_response(
    one: GrantWorld, first: TokenResponse, call: str, fault: Any
) -> None:
    one.clock.advance(1)
    one.world.table.on(call, fault)
    one.assert_not_refreshed(first.refresh_token, StoreUnavailable)
    one.world.table.heal()
    assert one.lives(one.refresh(first.refresh_token))


def test_kms_away_is_no_response(one: GrantWorld, first: TokenResponse) -> None:
    one.clock.advance(2 * 3600)
    one.world.turn(State.UNREACHABLE)
    one.assert_not_refreshed(first.refresh_token, StoreUnavailable)
    one.world.turn(State.ENABLED)
    one.clock.advance(60)
    assert one.lives(one.refresh(first.refresh_token))


@pytest.mark.parametrize("later", [GRACE + 1, GRACE + LATE_ARRIVAL + 1])
def test_reuse_is_answered_only_after_the_grant_has_ended(
    one: GrantWorld, first: TokenResponse, second: TokenResponse, later: int
) -> None:
    """Whether it ends by its key, while the response tells that, or by its id alone."""
    one.clock.advance(later)
    one.world.table.on("DeleteItem session", refuse_write)
    one.assert_not_refreshed(first.refresh_token, StoreUnavailable)
    one.world.table.heal()
    one.assert_not_refreshed(first.refresh_token)
    assert not one.lives(second)


def test_grant_that_ends_while_it_is_refreshed_is_not_revived(
    one: GrantWorld, first: TokenResponse
) -> None:
    one.world.table.on(FIRST, after(one.ends))
    second = one.refresh(first.refresh_token)
    one.world.table.heal()
    assert not one.lives(second)
    one.assert_not_refreshed(second.refresh_token)


def test_grant_that_ends_before_its_save_gives_nothing(
    one: GrantWorld, first: TokenResponse
) -> None:
    one.clock.advance(1)
    one.world.table.on("PutItem session", after(one.ends))
    one.assert_not_refreshed(first.refresh_token)


def test_loser_of_a_race_returns_the_winners_response(
    one: GrantWorld, first: TokenResponse
) -> None:
    won: list[TokenResponse] = []

    def meanwhile() -> None:
        one.world.table.heal()
        won.append(one.refresh(first.refresh_token))

    one.world.table.on(FIRST, after(meanwhile))
    assert same(one.refresh(first.refresh_token), won[0])


def test_old_token_opens_no_successor(one: GrantWorld, second: TokenResponse) -> None:
    """What is left of a spent token after the next refresh is a tombstone, without a response."""
    one.clock.advance(10)
    one.world.table.calls.clear()
    one.refresh(second.refresh_token)
    assert LATER in one.calls
    assert one.kinds().count("answer") == 1, "that to the second"


@pytest.mark.parametrize("grace", [0, 300])
def test_grace_is_as_configured(grace: int) -> None:
    made = install_world(lifetimes=Lifetimes(refresh_grace=grace))
    first = made.begin()
    second = made.refresh(first.refresh_token)
    made.clock.advance(grace)
    assert same(made.refresh(first.refresh_token), second)
    made.clock.advance(1)
    made.assert_not_refreshed(first.refresh_token)
    assert not made.lives(second)


@pytest.mark.parametrize(
    "changes", [{"access_token_age": 59}, {"access_token_age": 86_401}, {"refresh_grace": 301}]
)
def test_lifetimes_out_of_range_are_rejected(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be from"):
        replace(Lifetimes(), **changes)


@pytest.mark.parametrize("presented", ["", "gwr_", "gwc_" + "a" * 32, "gwa_" + "a" * 32])
def test_malformed_refresh_token_costs_no_call(one: GrantWorld, presented: str) -> None:
    one.calls.clear()
    one.assert_not_refreshed(presented)
    assert one.calls == []


def test_unknown_one_is_refused(one: GrantWorld) -> None:
    one.assert_not_refreshed(token_pair.new_token(token_pair.REFRESH))


@pytest.mark.parametrize("client", ["built-in", "boto"])
def test_refresh_is_two_or_three_reads_one_put_and_one_transaction(
    one: GrantWorld, first: TokenResponse, client: str
) -> None:
    """As docs/cost.md says: the built-in client looks whether the new refresh token is stored."""
    one.world.table.has_connections = client == "built-in"
    confirmed = ["GetItem token"] * one.world.table.has_connections
    one.clock.advance(10)
    one.calls.clear()
    second = one.refresh(first.refresh_token)
    assert one.calls == ["GetItem token", "GetItem session", "PutItem session", FIRST, *confirmed]
    one.clock.advance(10)
    one.calls.clear()
    one.refresh(second.refresh_token)
    assert one.calls == ["GetItem token", "GetItem session", "PutItem session", LATER, *confirmed]
