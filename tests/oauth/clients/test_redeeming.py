"""A code is redeemed once, for whom it was given, within a minute."""

from itertools import combinations
from typing import Any

import pytest

from oauth.clients import grant_end, token_pair
from oauth.clients.rules.errors import GrantError, InvalidGrant, InvalidTarget
from oauth.clients.sealed_grant import TokenResponse
from sessions_kms.exceptions import StoreUnavailable
from tests.oauth.support.grants import CONSENT, GrantWorld, PeopleInMemory
from tests.sessions_kms.support.fakes import together
from tests.sessions_kms.support.memory_dynamodb import after, refuse_write
from tests.sessions_kms.support.wire import lose_response, unreachable

REDEEMED = "TransactWriteItems token answer token token"


@pytest.fixture
def code(one: GrantWorld) -> str:
    return one.allow()


def test_code_gives_a_pair_that_opens_the_grant(one: GrantWorld) -> None:
    issued = one.begin()
    assert token_pair.is_token(issued.access_token, token_pair.ACCESS)
    assert token_pair.is_token(issued.refresh_token, token_pair.REFRESH)
    assert (issued.expires_in, issued.scope) == (3600, "mcp")
    assert one.lives(issued)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"verifier": "w" * 43}, InvalidGrant),
        ({"verifier": "v" * 42}, InvalidGrant),
        ({"verifier": ""}, InvalidGrant),
        ({"client_id": "dcr.other"}, InvalidGrant),
        ({"redirect_uri": "http://127.0.0.1/other"}, InvalidGrant),
        ({"redirect_uri": ""}, InvalidGrant),
        ({"resource": "https://gateway.example/gateway/other"}, InvalidTarget),
    ],
)
def test_code_in_an_invalid_request_issues_nothing_and_is_not_spent(
    one: GrantWorld, changes: dict[str, Any], error: type[GrantError], code: str
) -> None:
    one.assert_not_redeemed(code, error, **changes)
    assert one.lives(one.redeem(code, redirect_uri=None))


def test_spent_code_from_another_client_ends_nothing(one: GrantWorld, code: str) -> None:
    issued = one.redeem(code)
    for changes in ({"client_id": "dcr.other"}, {"verifier": "w" * 43}):
        one.assert_not_redeemed(code, InvalidGrant, **changes)
    assert one.lives(issued)


@pytest.mark.parametrize("later", [0, 1, 10])
def test_code_sent_twice_within_ten_seconds_is_refused_and_ends_nothing(
    one: GrantWorld, later: int, code: str
) -> None:
    issued = one.redeem(code)
    one.clock.advance(later)
    for _ in range(3):
        one.assert_not_redeemed(code)
    assert one.lives(issued)
    assert one.lives(one.refresh(issued.refresh_token))


def test_ten_seconds_of_a_code_count_to_the_arrival_of_its_second_request(
    one: GrantWorld, code: str
) -> None:
    issued = one.redeem(code)
    arrived = one.clock() + 10
    one.clock.advance(300)
    one.assert_not_redeemed(code, arrived_at=arrived)
    assert one.lives(issued)
    one.assert_not_redeemed(code, arrived_at=arrived + 1)
    assert not one.lives(issued)


@pytest.mark.parametrize("later", [11, 200, 86_400])
def test_code_again_ends_the_grant(one: GrantWorld, later: int, code: str) -> None:
    issued = one.redeem(code)
    one.clock.advance(later)
    one.assert_not_redeemed(code)
    one.assert_not_refreshed(issued.refresh_token)
    assert "session" not in one.kinds()


@pytest.mark.parametrize(("later", "revoked"), [(11, True), (149, True), (150, False)])
def test_code_again_ends_the_grant_at_the_provider_while_its_response_exists(
    one: GrantWorld, monkeypatch: pytest.MonkeyPatch, later: int, revoked: bool
) -> None:
    ended: list[Any] = []
    monkeypatch.setattr(grant_end, "revoke_soon", lambda *arguments: ended.append(arguments))
    code = one.allow()
    issued = one.redeem(code)
    one.clock.advance(later)
    one.assert_not_redeemed(code)
    assert [arguments[1] for arguments in ended] == ["corp"] * revoked
    assert not one.lives(issued)
    assert grant_end.drain_deletions(10)
    if revoked:
        assert one.kinds() == [], "the pair's items are deleted, too"


def test_code_still_requires_its_verifier_after_refreshes(one: GrantWorld, code: str) -> None:
    issued = one.redeem(code)
    for _ in range(3):
        issued = one.refresh(issued.refresh_token)
    one.clock.advance(11)
    one.assert_not_redeemed(code, verifier="w" * 43)
    assert one.lives(issued)
    one.assert_not_redeemed(code)
    assert not one.lives(issued)


WRONG = {
    "verifier": "w" * 43,
    "client_id": "dcr.other",
    "redirect_uri": "http://127.0.0.1/other",
    "resource": "https://gateway.example/gateway/other",
}


@pytest.mark.parametrize("refreshes", [None, 0, 1, 2])
@pytest.mark.parametrize("later", [0, 11, 500])
def test_request_that_does_not_match_the_codes_bindings_reads_only_its_item(
    one: GrantWorld, refreshes: int | None, later: int, code: str
) -> None:
    """A code has been in an address bar: whatever its state, and whatever else is right."""
    issued = None if refreshes is None else one.redeem(code)
    later = min(later, 59) if issued is None else later
    for _ in range(refreshes or 0):
        one.clock.advance(1)
        issued = issued and one.refresh(issued.refresh_token)
    one.clock.advance(later)
    before = dict(one.items)
    for names in (each for n in range(1, 5) for each in combinations(WRONG, n)):
        one.calls.clear()
        one.assert_not_redeemed(code, GrantError, **{name: WRONG[name] for name in names})
        assert one.calls == ["GetItem token"], names
    for malformed in ("", "w" * 42, "w" * 129, "w" * 42 + "\n"):
        one.calls.clear()
        one.assert_not_redeemed(code, verifier=malformed)
        assert one.calls == []
    assert one.items == before


@pytest.mark.parametrize("seconds", [0, 300])
def test_code_redeemed_by_two_yields_one_pair_whose_grant_lives(
    one: GrantWorld, code: str, seconds: int
) -> None:
    """The second request is as old as at its own arrival, however late it reads."""
    one.clock.advance(30)
    issued: list[TokenResponse] = []

    def meanwhile() -> None:
        one.world.table.heal()
        issued.append(one.redeem(code))
        one.clock.advance(seconds)

    one.world.table.on(REDEEMED, after(meanwhile))
    one.assert_not_redeemed(code)
    assert one.lives(issued[0])


def test_code_is_good_for_a_minute(one: GrantWorld) -> None:
    codes = [one.allow(), one.allow()]
    one.clock.advance(59)
    assert one.lives(one.redeem(codes[0]))
    one.clock.advance(1)
    one.assert_not_redeemed(codes[1])


def test_grant_with_an_unredeemed_code_ends_in_ten_minutes(one: GrantWorld) -> None:
    one.allow()
    (session,) = (item for item_id, item in one.items.items() if "#" not in item_id)
    assert int(session["ttl"]["N"]) == one.clock() + 600
    redeemed = one.begin()
    one.clock.advance(601)
    assert one.lives(redeemed)


@pytest.mark.parametrize("code", ["", "gwc_", "gwr_" + "a" * 32, "gwa_" + "a" * 32])
def test_malformed_code_costs_no_call(one: GrantWorld, code: str) -> None:
    one.calls.clear()
    one.assert_not_redeemed(code)
    assert one.calls == []


def test_unknown_code_is_refused(one: GrantWorld) -> None:
    one.assert_not_redeemed(token_pair.new_token(token_pair.CODE))


def test_code_of_an_inactive_user_is_rejected(one: GrantWorld, code: str) -> None:
    PeopleInMemory.ada.is_active = False
    one.assert_not_redeemed(code)


def test_lost_response_of_the_table_is_no_failure(one: GrantWorld, code: str) -> None:
    one.world.table.on(REDEEMED, lose_response)
    assert one.lives(one.redeem(code))


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        ("GetItem token", refuse_write),
        ("GetItem session", refuse_write),
        ("PutItem session", refuse_write),
        (REDEEMED, unreachable),
    ],
)
def test_store_away_is_no_response(one: GrantWorld, call: str, fault: Any, code: str) -> None:
    one.clock.advance(1)
    one.world.table.on(call, fault)
    one.assert_not_redeemed(code, StoreUnavailable)
    one.world.table.heal()
    assert one.lives(one.redeem(code))


def test_code_redeemed_by_many_at_once_yields_one_working_pair(one: GrantWorld, code: str) -> None:
    outcomes = together(16, lambda _: one.redeem(code))
    (told,) = [each for each in outcomes if isinstance(each, TokenResponse)]
    assert {type(each) for each in outcomes if isinstance(each, Exception)} == {InvalidGrant}
    assert one.lives(told)
    assert one.lives(one.refresh(told.refresh_token))


def test_code_reveals_neither_user_nor_scope(one: GrantWorld, code: str) -> None:
    seen = one.world.dump()
    for secret in (code, CONSENT.client_name, CONSENT.redirect_uri, CONSENT.challenge):
        assert secret.encode() not in seen
