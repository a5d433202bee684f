"""The ends of a grant: by the client, by its person, by an operator, by one grant too many."""

from typing import Any

import pytest

from oauth.clients import grant_end
from oauth.clients.consent import Consent, GrantLabels, make_labels
from oauth.clients.rules.errors import InvalidGrant
from oauth.provider.token_set import TokenSet
from oauth.signals import grant_ended
from sessions_kms import about
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.operations import ending
from sessions_kms.operations.listing import Inspection
from sessions_kms.services import services
from tests.oauth.support.grants import BACKEND, CONSENT, TOKENS, GrantWorld, PeopleInMemory
from tests.sessions_kms.support.memory_dynamodb import refuse_write
from tests.sessions_kms.support.sessions import saved_id
from tests.sessions_kms.support.stacks import install
from tests.support.cases import each_case
from tests.support.signals import record_signal

GRACE = 120


@pytest.fixture
def revoked(one: GrantWorld, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, TokenSet]]:
    """Return what is revoked at providers, once the session is gone."""
    found: list[tuple[str, TokenSet]] = []

    def revoke(_: Any, provider: str, token_set: TokenSet, __: Any) -> None:
        assert "session" not in one.kinds()
        found.append((provider, token_set))

    monkeypatch.setattr(grant_end, "revoke_soon", revoke)
    return found


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
def test_either_token_ends_the_grant_here_and_at_the_provider(
    one: GrantWorld, revoked: list[Any], which: str
) -> None:
    issued = one.begin()
    one.revoke(getattr(issued, which))
    assert not one.lives(issued)
    assert {"session", "about"}.isdisjoint(one.kinds())
    assert [(provider, held.grant_secret) for provider, held in revoked] == [
        ("corp", TOKENS.grant_secret)
    ]
    one.revoke(getattr(issued, which))
    assert len(revoked) == 1


def test_code_without_its_verifier_ends_nothing_whether_spent_or_not(
    one: GrantWorld, revoked: list[Any]
) -> None:
    """It is in the browser's history, and the client's id is no secret."""
    code = one.allow()
    one.revoke(code)
    issued = one.redeem(code)
    one.revoke(code)
    assert one.lives(issued)
    assert one.refresh(issued.refresh_token)
    assert revoked == []


def test_another_clients_token_is_refused(one: GrantWorld, revoked: list[Any]) -> None:
    issued = one.begin()
    for token in (issued.access_token, issued.refresh_token):
        with pytest.raises(InvalidGrant):
            one.revoke(token, client_id="dcr.other")
    assert one.lives(issued)
    assert revoked == []


@pytest.mark.parametrize("token", ["", "x", "gwa_" + "a" * 32, "gwr_" + "a" * 32])
def test_unknown_token_is_no_error(one: GrantWorld, token: str) -> None:
    one.revoke(token)


@pytest.mark.parametrize(("later", "received"), [(0, 1), (GRACE + 31, 0)])
def test_spent_token_ends_the_grant_and_revokes_its_tokens_while_its_response_is_stored(
    one: GrantWorld, revoked: list[Any], later: int, received: int
) -> None:
    first = one.begin()
    second = one.refresh(first.refresh_token)
    one.clock.advance(later)
    assert one.lives(second)
    one.revoke(first.refresh_token)
    assert not one.lives(second)
    assert len(revoked) == received


def test_tombstone_ends_the_grant(one: GrantWorld) -> None:
    first = one.begin()
    third = one.refresh(one.refresh(first.refresh_token).refresh_token)
    one.revoke(first.refresh_token)
    assert not one.lives(third)


def test_nothing_is_revoked_while_the_session_may_still_exist(
    one: GrantWorld, revoked: list[Any]
) -> None:
    issued = one.begin()
    one.world.table.on("DeleteItem session", refuse_write)
    with pytest.raises(StoreUnavailable):
        one.revoke(issued.refresh_token)
    assert revoked == []
    one.world.table.heal()
    assert one.lives(issued)


def test_reuse_revokes_the_tokens_of_its_stored_response(
    one: GrantWorld, revoked: list[Any]
) -> None:
    code = one.allow()
    one.redeem(code)
    one.clock.advance(11)
    one.assert_not_redeemed(code)
    assert len(revoked) == 1


def test_loaded_grant_can_be_ended_by_the_caller(one: GrantWorld, revoked: list[Any]) -> None:
    issued = one.begin()
    session = one.load_session(issued)
    run_sync(one.grants.end(session, access_token=issued.access_token))
    assert not one.lives(issued)
    assert len(revoked) == 1


def test_audit_trail_names_the_session_and_why(one: GrantWorld) -> None:
    issued = one.begin()
    session_id = one.id_of(issued)
    with record_signal(grant_ended) as received:
        one.revoke(issued.access_token)
    (details,) = received
    assert (details["session"], details["reason"]) == (session_id[:8], "revoked")


# By its person, and by operators


def test_lists_of_sessions_show_and_end_it(one: GrantWorld) -> None:
    issued = one.begin()
    (row,) = run_sync(Inspection(services()).list_user_sessions("7")).rows
    assert row.id == one.id_of(issued)
    assert GrantLabels.from_labels(run_sync(Inspection(services()).about(row.id))) == GrantLabels(
        client="A client",
        client_id="dcr.one",
        host="client.example",
        upstream="mcp",
        redirect_host="127.0.0.1",
        provider="corp",
    )
    assert ending.end_session(services(), row.id, user_id="7")
    assert not one.lives(issued)


def test_end_of_all_sessions_of_a_person_ends_the_grants(one: GrantWorld) -> None:
    grants = [one.begin(), one.begin()]
    assert ending.end_sessions_of(services(), "7") == 2
    assert not any(one.lives(each) for each in grants)


def test_grant_lives_and_is_listed_beyond_the_absolute_timeout_of_sessions() -> None:
    one = GrantWorld(absolute_timeout=86_400, grant_timeout=30 * 86_400)
    install(one.world.processes[0])
    issued = one.begin()
    saved_id("7")
    for _ in range(29):
        one.clock.advance(86_400)
        issued = one.refresh(issued.refresh_token)
    assert one.lives(issued)
    (row,) = run_sync(Inspection(services()).list_user_sessions("7")).rows
    assert row.id == one.id_of(issued)
    assert row.ends_at.timestamp() == one.clock() + 86_400
    one.clock.advance(86_400)
    assert not one.lives(issued)
    assert list(run_sync(Inspection(services()).list_user_sessions("7")).rows) == []


# One too many


def test_fifty_first_grant_ends_the_least_recently_used_one(one: GrantWorld) -> None:
    browser = SessionStore()
    browser.update({"_auth_user_id": "7", about.ABOUT: {"browser": "Firefox"}})
    browser.save()
    grants = []
    with record_signal(grant_ended) as received:
        for _ in range(50):
            one.clock.advance(10)
            grants.append(one.begin())
        assert received == []
        one.clock.advance(10)
        grants[0] = one.refresh(grants[0].refresh_token)
        one.clock.advance(10)
        allowed = run_sync(
            one.grants.allow(PeopleInMemory.ada, CONSENT, "corp", TOKENS, backend=BACKEND)
        )
    grants.append(one.redeem(allowed.code))
    assert [one.lives(each) for each in grants] == [True, False, *[True] * 49]
    assert [each.client for each in allowed.ended] == ["A client"]
    assert [each["reason"] for each in received] == ["too_many"]
    assert SessionStore().exists(browser.session_key or "")


def test_few_grants_cost_one_query(one: GrantWorld) -> None:
    one.begin()
    one.calls.clear()
    one.allow()
    assert [call for call in one.calls if "Item" not in call] == ["Query user"]
    assert "GetItem about" not in one.calls


# What a list shows


@each_case(
    ("changes", "shown"),
    [
        ({"client_host": None}, {"host": ""}),
        ({"client_name": "x" * 300}, {"client": "x" * 100}),
        (
            {"client_host": "a." * 60 + "evil.example"},
            {"host": "…" + ("a." * 60 + "evil.example")[-99:]},
        ),
        (
            {"redirect_uri": "https://app.example:8443/cb?x=1"},
            {"redirect_host": "app.example"},
        ),
        ({"redirect_uri": "cursor://anysphere.cursor-mcp/oauth"}, {"redirect_host": "cursor:"}),
        ({"redirect_uri": "http://[::1]:9/cb"}, {"redirect_host": "::1"}),
    ],
)
def test_words_fit_and_show_the_end_of_hosts(
    changes: dict[str, Any], shown: dict[str, str]
) -> None:
    words = make_labels(Consent(**(vars(CONSENT) | changes)), "corp")
    assert about.read_labels({about.ABOUT: words}) == words
    received = GrantLabels.from_labels(words)
    assert received is not None
    assert {name: getattr(received, name) for name in shown} == shown


def test_labels_of_a_browser_session_are_not_a_grants() -> None:
    assert GrantLabels.from_labels({"browser": "Firefox", "provider": "corp"}) is None
