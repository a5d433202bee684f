"""The grant of an assertion: used once, for fifteen minutes, eight at once; and what ends it."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from pytest_django import Settings

from oauth.clients import grant_end, live_grants, timed_deletions
from oauth.clients.grants import grants
from oauth.clients.id_jag import rate
from oauth.clients.id_jag.issuers import is_still_accepted
from oauth.clients.rules.errors import TooManyRequests
from oauth.clients.server import AuthorizationServer
from oauth.clients.token_pair import Lifetimes
from oauth.exceptions import NotConnected, ReauthenticationRequired
from oauth.sign_in.session_user import DIGEST
from oauth.tokens import asserted_account, vault
from oauth.tokens.remaining_access import RemainingAccess
from sessions_kms import id_of
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.operations import ending, listing
from sessions_kms.operations.used_tokens import use_identity_assertion
from sessions_kms.services import services
from tests.oauth.clients.support.app import ISSUER
from tests.oauth.clients.support.asserted import open_session
from tests.oauth.clients.support.asserting import (
    PUBLIC_ID,
    SECRET,
    AssertingClient,
    make_server,
)
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.id_jag_provider import ASSERTION_AGE, IdJagProvider
from tests.oauth.support.logout_fixtures import FORM, post
from tests.oauth.support.logout_provider import EVENT
from tests.sessions_kms.model.world import World
from tests.sessions_kms.support.memory_dynamodb import after, refuse_write
from tests.sessions_kms.support.sessions import saved_id
from tests.sessions_kms.support.stacks import Stack

FILES = f"{ISSUER}/gateway/files"


def test_assertion_is_accepted_once(tool: AssertingClient) -> None:
    assertion = tool.assertion()
    assert tool.present(assertion).status_code == 200
    for _ in range(2):
        response = tool.present(assertion)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")


def test_same_jti_of_two_assertions_is_accepted_once(tool: AssertingClient) -> None:
    assert tool.ask(jti="one").status_code == 200
    assert tool.ask(jti="one").json()["error"] == "invalid_grant"


def test_one_of_100_in_two_processes_is_first() -> None:
    world = World(2)
    now = int(world.clock())

    def use(number: int) -> bool:
        process = world.processes[number % 2]
        return run_sync(use_identity_assertion(process, "https://idp", "jti", until=now + 360))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(use, range(100))) == 1
    [item] = [each for name, each in world.table.items.items() if name.startswith("assertion#")]
    assert int(item["ttl"]["N"]) == now + 660


def test_rejection_uses_up_nothing(tool: AssertingClient, corp: IdJagProvider) -> None:
    assertion = tool.assertion()
    assert tool.present(assertion, client_secret="wrong").status_code == 401
    assert tool.present(assertion, resource=FILES).status_code == 400
    corp.failing["/jwks"] = lambda: (500, "text/plain", b"")
    assert tool.present(assertion).status_code == 200  # with the cached keys


def test_failure_of_any_call_uses_up_nothing(tool: AssertingClient, store: Stack) -> None:
    """After a 503 a client may repeat its request, and there is no other grant than the new one."""
    tool.get_token()
    store.dynamodb.calls.clear()
    tool.get_token()
    calls = list(dict.fromkeys(store.dynamodb.calls))
    assert calls[-2:] == ["PutItem assertion", "Query logout"]
    answered = []
    for call in calls:
        store.clock.advance(1000)
        assertion, before = tool.assertion(), sessions(store)
        store.dynamodb.on(call, refuse_write)
        status = tool.present(assertion).status_code
        store.dynamodb.heal()
        if status == 503:
            assert sessions(store) == before, call
            assert tool.present(assertion).status_code == 200, call
        else:
            answered.append(call)
        assert tool.present(assertion).json()["error"] == "invalid_grant", call
    assert answered == ["Query logout"]  # that applies the limit


def sessions(store: Stack) -> set[str]:
    return {name for name in store.dynamodb.items if "#" not in name}


def test_loser_of_a_race_leaves_no_grant(tool: AssertingClient, store: Stack) -> None:
    assertion = tool.assertion()
    statuses: list[int] = []

    def present_again() -> None:
        if not statuses:
            statuses.append(0)
            statuses[0] = tool.present(assertion).status_code

    store.dynamodb.on("PutItem assertion", after(present_again))
    assert tool.present(assertion).json()["error"] == "invalid_grant"
    assert statuses == [200]
    assert len(sessions(store)) == 1
    [shown] = list_grants()
    assert len(shown.ids) == 1


def test_replay_writes_nothing_and_ends_nothing(
    tool: AssertingClient, store: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_grants, "ASSERTED_MAX", 1)
    assertion = tool.assertion()
    token = tool.present(assertion).json()["access_token"]
    store.clock.advance(5)
    before = dict(store.dynamodb.items)
    assert tool.present(assertion).json()["error"] == "invalid_grant"
    assert store.dynamodb.items == before
    assert open_session(token) is not None


def test_grant_has_no_token_of_the_provider_and_ends_after_fifteen_minutes(
    tool: AssertingClient, store: Stack
) -> None:
    token = tool.get_token()
    session = open_session(token)
    assert session is not None
    assert vault.stored_providers(session) == []
    assert DIGEST in session  # without it, a process with another secret key would end the grant
    assert open_session(token, "files") is None
    for _ in range(14):
        store.clock.advance(60)
        found = open_session(token)
        assert found is not None
        run_sync(found.avisit())
    store.clock.advance(60)
    assert open_session(token) is None


def test_items_end_with_the_grant(tool: AssertingClient, store: Stack) -> None:
    before = set(store.dynamodb.items)
    now = int(store.clock())
    tool.get_token()
    new = {
        name: int(item["ttl"]["N"]) - now
        for name, item in store.dynamodb.items.items()
        if name not in before and "data-key" not in name
    }
    kinds = sorted(name.partition("#")[0] if "#" in name else "session" for name in new)
    assert kinds == ["about", "assertion", "logout", "logout", "session", "token"]
    assert all(899 <= left <= 901 for name, left in new.items() if "assertion#" not in name)
    # Its use is known while it is accepted, also by a clock that is five minutes behind.
    [used] = [left for name, left in new.items() if "assertion#" in name]
    assert used >= ASSERTION_AGE + 60 + 300
    # Otherwise the index would list it until DynamoDB deletes it.
    store.clock.advance(902)
    timed_deletions._waiting.delete_due(also_later=True)
    assert grant_end.drain_deletions(20)
    [session] = [name for name in new if "#" not in name]
    assert session not in store.dynamodb.items


def test_shorter_grant_age_applies(
    tool: AssertingClient, store: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    grants = store.services.config
    monkeypatch.setattr(type(grants), "grant_age", property(lambda _: 600))
    vars(store.services).pop("of_brief_grants", None)
    assert 598 <= tool.ask().json()["expires_in"] <= 600


def test_ninth_grant_ends_the_oldest_of_its_user_client_and_upstream(
    tool: AssertingClient, corp: IdJagProvider, store: Stack
) -> None:
    other = AssertingClient(corp, PUBLIC_ID, {}).get_token()
    files = tool.get_token(resource=FILES)
    another = tool.get_token(sub="2002")
    tokens = []
    for _ in range(9):
        tokens.append(tool.get_token())
        store.clock.advance(10)
    alive = [open_session(each) is not None for each in tokens]
    assert alive == [False] + [True] * 8
    assert open_session(other) is not None
    assert open_session(files, "files") is not None
    assert open_session(another) is not None


def test_grants_of_the_same_second_never_end_each_other(
    tool: AssertingClient, store: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_grants, "ASSERTED_MAX", 2)
    tokens = [tool.get_token() for _ in range(4)]
    assert all(open_session(each) is not None for each in tokens)
    store.clock.advance(1)
    tokens.append(tool.get_token())
    assert sum(open_session(each) is not None for each in tokens) == 2


def test_grants_do_not_count_among_the_fifty(
    tool: AssertingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_grants, "LIVE_MAX", 2)
    tokens = [tool.get_token() for _ in range(4)]
    assert live_grants.make_room(services(), user_id()) == []
    assert all(open_session(each) is not None for each in tokens)
    assert run_sync(live_grants.list_grants(services(), user_id())) == []


def test_eleventh_request_within_a_minute_gets_503_and_uses_up_nothing(
    tool: AssertingClient, store: Stack
) -> None:
    for _ in range(10):
        tool.get_token()
    assertion = tool.assertion()
    response = tool.present(assertion)
    assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")
    assert 1 <= int(response["Retry-After"]) <= 60
    assert tool.ask(resource=FILES).status_code == 200
    assert tool.ask(sub="2002").status_code == 200
    store.clock.advance(60)
    assert tool.present(assertion).status_code == 200


def test_rate_is_bounded_and_a_clock_that_was_set_back_limits_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rate, "KEYS_MAX", 2)
    requests = rate.RequestRate()
    for number in range(50):
        requests.count((str(number), "tool", "tools"), lambda: 1000.0)
    assert len(requests._times) == 2
    for _ in range(9):
        requests.count(("49", "tool", "tools"), lambda: 1000.0)
    with pytest.raises(TooManyRequests):
        requests.count(("49", "tool", "tools"), lambda: 1059.0)
    requests.count(("49", "tool", "tools"), lambda: 10.0)


def user_id() -> str:
    return str(User.objects.get().pk)


def list_grants() -> list[live_grants.LiveGrant]:
    return run_sync(live_grants.list_asserted_grants(services(), user_id()))


def end_user(tool: AssertingClient, token: str) -> None:
    call_command("end_sessions", user=user_id(), no_input=True, stdout=StringIO())


def revoke(tool: AssertingClient, token: str) -> None:
    form = urlencode({"token": token, "client_id": "tool", "client_secret": SECRET})
    assert tool.http.post("/oauth/revoke", form, FORM).status_code == 200


def end_in_list(tool: AssertingClient, token: str) -> None:
    tool.get_token()
    [shown] = list_grants()
    assert len(shown.ids) == 2
    assert shown.labels.asserted_by == "corp"
    ended = live_grants.end_grant(services(), shown.row.id, user_id=user_id())
    assert ended == shown.labels


def end_this(tool: AssertingClient, token: str) -> None:
    stored = open_session(token)
    session = id_of("" if stored is None else stored.session_key or "")
    assert live_grants.end_grant(services(), session, user_id=user_id()) is not None


def end_all_in_list(tool: AssertingClient, token: str) -> None:
    assert len(live_grants.end_all_grants(services(), user_id())) == 1


def end_client(tool: AssertingClient, token: str) -> None:
    call_command("end_sessions", client="tool", no_input=True, stdout=StringIO())


@pytest.mark.parametrize("end", [end_user, revoke, end_in_list, end_all_in_list, end_client])
def test_what_ends_other_grants_ends_these(
    tool: AssertingClient, end: Callable[[AssertingClient, str], None]
) -> None:
    token = tool.get_token()
    end(tool, token)
    assert open_session(token) is None
    # The client is not blocked.
    assert tool.ask().status_code == 200


def test_user_cannot_end_another_users(tool: AssertingClient) -> None:
    token = tool.get_token()
    [shown] = list_grants()
    assert live_grants.end_grant(services(), shown.row.id, user_id="999") is None
    assert open_session(token) is not None


def test_token_of_a_client_that_authenticated_is_revoked_only_by_it(tool: AssertingClient) -> None:
    token = tool.get_token()
    form = f"token={token}&client_id=tool"
    response = tool.http.post("/oauth/revoke", form, FORM)
    assert response.status_code == 401
    assert open_session(token) is not None


def test_logout_at_the_provider_ends_it(
    tool: AssertingClient, corp: IdJagProvider, store: Stack
) -> None:
    corp.more_of_metadata["backchannel_logout_supported"] = True
    token, other = tool.get_token(), tool.get_token(sub="2002")
    logout = corp.assertion({"typ": "logout+jwt"}, aud=corp.client_id, events={EVENT: {}})
    response = post(logout)
    assert response.status_code == 200, response.content
    assert open_session(token) is None
    assert open_session(other) is not None


@pytest.mark.parametrize("ends", [True, False])
def test_logout_of_one_session_at_the_provider_ends_it_if_that_is_set(
    tool: AssertingClient, corp: IdJagProvider, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    corp.more_of_metadata["backchannel_logout_supported"] = True
    monkeypatch.setattr(Lifetimes, "configured", lambda: Lifetimes(end_with_sid=ends))
    token = tool.get_token(sid="at-the-desk")
    logout = corp.assertion(
        {"typ": "logout+jwt"},
        aud=corp.client_id,
        events={EVENT: {}},
        sid="at-the-desk",
    )
    assert post(logout).status_code == 200
    assert (open_session(token) is None) is ends


def test_provider_that_may_no_longer_vouch_and_refused_clients_end_their_grants(
    tool: AssertingClient, corp: IdJagProvider, settings: Settings
) -> None:
    def is_accepted(server: AuthorizationServer, client_id: str = "tool") -> bool:
        return is_still_accepted(server, client_id, "tools", is_authenticated=True)

    server = make_server()
    assert is_accepted(server)
    assert not is_accepted(make_server(listed={}))
    assert not is_accepted(make_server(identity_upstreams=frozenset()))
    document = "https://app.example.com/client.json"
    assert is_accepted(server, document)
    assert not is_accepted(make_server(refused=frozenset({"app.example.com"})), document)
    assert not is_accepted(make_server(private_key_jwt=False), document)
    configure(settings, environment("corp", corp))
    assert not is_accepted(server)


def test_public_client_that_is_no_longer_listed_keeps_no_grant(
    tool: AssertingClient, corp: IdJagProvider
) -> None:
    """Its document could still be fetched, so it would be known, but only with a key."""
    public = AssertingClient(corp, PUBLIC_ID, {}).get_token()
    found = [run_sync(grants().open(each, upstream="tools")) for each in (public, tool.get_token())]
    assert [each is not None and each.is_authenticated for each in found] == [False, True]
    for server, expected in ((make_server(), True), (make_server(listed={}), False)):
        assert is_still_accepted(server, PUBLIC_ID, "tools", is_authenticated=False) is expected


def read_sessions(store: Stack, list_them: Callable[[], object]) -> int:
    """Return how many sessions are read for a list."""
    store.dynamodb.calls.clear()
    list_them()
    return Counter(store.dynamodb.calls)["GetItem session"]


def test_grants_are_listed_and_ended_beside_any_number_of_young_sessions(
    tool: AssertingClient, store: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions of a program that signs in each time, or grants of one client with many upstreams"""
    monkeypatch.setattr(listing, "COUNTED", 3)
    monkeypatch.setattr(live_grants, "LISTED_MAX", 6)
    token = tool.get_token()
    store.clock.advance(1)
    others = [tool.get_token(resource=FILES) for _ in range(4)]
    for _ in range(10):
        saved_id(user_id())

    assert read_sessions(store, list_grants) == 5
    assert [len(each.ids) for each in list_grants()] == [4, 1]
    monkeypatch.setattr(live_grants, "LISTED_MAX", 2)
    assert live_grants.end_grant(services(), list_grants()[0].row.id, user_id=user_id()) is not None
    assert not any(open_session(each, "files") for each in others)
    assert open_session(token) is not None
    others = [tool.get_token(resource=FILES) for _ in range(4)]
    assert len(live_grants.end_all_grants(services(), user_id())) == 2
    assert open_session(token) is None
    assert not any(open_session(each, "files") for each in others)


def test_grants_that_a_client_begins_and_ends_hide_no_other(
    tool: AssertingClient, corp: IdJagProvider, store: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither do those that it begins beyond the eighth."""
    monkeypatch.setattr(live_grants, "LISTED_MAX", 3)
    monkeypatch.setattr(live_grants, "ASSERTED_MAX", 2)
    other = AssertingClient(corp, PUBLIC_ID, {}).get_token()
    for end in (revoke, end_this, None):
        for _ in range(3):
            store.clock.advance(1)
            token = tool.get_token()
            if end is not None:
                end(tool, token)
        shown = list_grants()
        assert len(shown) == (2 if end is None else 1)
    assert open_session(other) is not None


def test_forged_times_in_the_index_hide_no_grant_and_use_up_no_assertion(
    tool: AssertingClient, store: Stack
) -> None:
    """A writer of the table copies entries, with a number that no session has."""
    token = tool.get_token()
    for name, item in store.items().items():
        if name.startswith("logout#"):
            copy = name.rpartition("#")[0] + "#" + "A" * 43
            store.put_item({**item, "id": {"S": copy}, "createdAt": {"N": "-1"}})
    other = tool.get_token()
    assert len(live_grants.end_all_grants(services(), user_id())) == 1
    assert [open_session(each) for each in (token, other)] == [None, None]


def test_grant_is_no_access_that_a_revocation_at_the_provider_would_end(
    tool: AssertingClient, corp: IdJagProvider, visitor: Visitor
) -> None:
    visitor.sign_in(corp)
    tool.get_token()
    held = visitor.load_tokens()
    assert held is not None
    remaining = RemainingAccess.beside(services(), visitor.session)
    assert not remaining.includes("corp", held)


def test_nothing_secret_is_logged(
    tool: AssertingClient, corp: IdJagProvider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    tokens: list[str] = [tool.get_token(email="ada@example.com")]
    tool.ask(aud="x")
    for secret in (*corp.secrets, *tokens, SECRET, "ada@example.com"):
        assert secret not in caplog.text


def test_operator_ends_the_grants_of_a_provider(tool: AssertingClient, store: Stack) -> None:
    """As `end_sessions --provider` does: the session stays, and no call finds an account."""
    session = open_session(tool.get_token())
    assert session is not None
    account = asserted_account.parse_account(session[asserted_account.KEY])
    assert account is not None
    assert run_sync(asserted_account.require_account(services(), account, "corp")) == account
    with pytest.raises(NotConnected):
        run_sync(asserted_account.require_account(services(), account, "other"))
    store.clock.advance(60)
    ending.end_before_of(services(), "corp", account.granted_at)
    with pytest.raises(ReauthenticationRequired):
        run_sync(asserted_account.require_account(services(), account, "corp"))
    assert "1001" not in repr(account)
