"""Access tokens work as long as their response says, and no item of one is left without a reason.

A `Client` holds the pairs of tokens of one grant, the oldest first. What is in the table is drawn:
"#" for a token whose item is there, "." for one whose item is gone; "..##" is of four pairs.
"""

import asyncio
import json
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_django import Settings

from oauth.clients import grant_end, token_pair
from oauth.clients.sealed_grant import TokenResponse
from oauth.clients.token_pair import LATE_ARRIVAL, Lifetimes
from oauth.network.concurrency import QUEUE_MAX
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.operations.ending import end_sessions_of
from sessions_kms.operations.purging import Clearing
from sessions_kms.sealed_items.tokens import NewToken, SealedToken, Tokens
from sessions_kms.services import services
from tests.oauth.support.grants import GrantWorld, install_world
from tests.sessions_kms.support.fakes import together
from tests.sessions_kms.support.memory_dynamodb import after, refuse_write
from tests.sessions_kms.support.wire import Killed, kill_after, lose_response, unreachable
from tests.support.forking import in_child

HOUR, DAY = 3600, 86_400
AGE, GRACE, REMEMBERED = HOUR, 120, 8  # access tokens per grant, as docs/mcp.md says
FIRST_EXCHANGE = "TransactWriteItems token answer token token answer"
LATER_EXCHANGE = "TransactWriteItems token answer token token token answer"


class Client:
    """A client with the pairs of tokens of one grant, the oldest first."""

    def __init__(self, world: GrantWorld) -> None:
        self.world = world
        self.pairs = [world.begin()]

    @property
    def last(self) -> TokenResponse:
        return self.pairs[-1]

    def waits(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    def refreshes(self, times: int = 1, *, every: float = 0) -> TokenResponse:
        for _ in range(times):
            self.waits(every)
            self.pairs.append(self.world.refresh(self.last.refresh_token))
        return self.last

    def repeats_its_refresh(self) -> TokenResponse:
        return self.world.refresh(self.pairs[-2].refresh_token)

    def revokes(self, token: str) -> None:
        self.world.revoke(token)

    def can_call(self, pair: TokenResponse) -> bool:
        return self.world.lives(pair)

    def can_call_anew(self, pair: TokenResponse) -> bool:
        """Return True if a process that remembers nothing accepts the access token."""
        anew = self.world.started(0).open(pair.access_token, upstream="mcp")
        return run_sync(anew) is not None

    def cannot_refresh(self, token: str) -> None:
        self.world.assert_not_refreshed(token)

    def draw_items(self) -> tuple[str, str]:
        """Draw the items of its access tokens and of its refresh tokens, once all is deleted."""
        return (
            draw(self.world, *(each.access_token for each in self.pairs)),
            draw(self.world, *(each.refresh_token for each in self.pairs)),
        )

    def access_tokens(self) -> str:
        return self.draw_items()[0]


def id_of(world: GrantWorld, token: str) -> str:
    return Tokens(world.grants.services).id_of(token)


def draw(world: GrantWorld, *tokens: str) -> str:
    assert grant_end.drain_deletions(10)
    return "".join("#" if id_of(world, each) in world.items else "." for each in tokens)


def sealed_content(world: GrantWorld, token: str) -> dict[str, Any]:
    """Return what a token opens."""
    found = run_sync(Tokens(world.grants.services).find(token))
    assert isinstance(found, SealedToken)
    content: dict[str, Any] = json.loads(found.content)
    return content


@pytest.fixture
def client(one: GrantWorld) -> Client:
    return Client(one)


@pytest.fixture
def grown(client: Client) -> Client:
    """A client with four pairs, whose access tokens are all valid."""
    client.refreshes(3, every=200)
    return client


@pytest.fixture
def full(client: Client) -> Client:
    """A client with as many valid access tokens as a grant may have."""
    client.refreshes(REMEMBERED - 1, every=10)
    return client


@pytest.fixture(autouse=True)
def _nothing_left_to_delete() -> Iterator[None]:
    yield
    assert grant_end.drain_deletions(10)


# Lifetimes are kept as announced


@pytest.mark.parametrize("seed", range(4))
def test_access_token_works_exactly_as_long_as_its_response_says(seed: int) -> None:
    """However the client calls, refreshes and repeats; but for the oldest of nine."""
    client = Client(install_world(grant_timeout=30 * DAY))
    now, chance = client.world.clock, random.Random(seed)  # noqa: S311 - the same again
    promises = [(client.last, now() + client.last.expires_in)]
    for _ in range(60):
        client.waits(chance.choice((0.25, 7, 40, 119, 600, 1800, AGE - 1, AGE)))
        if chance.random() < 0.7:
            issued = client.refreshes()
            promises.append((issued, now() + issued.expires_in))
        elif len(client.pairs) > 1 and is_in_its_grace(client):
            again = client.repeats_its_refresh()
            assert again.access_token == client.last.access_token
            if again.expires_in > 1:
                promises.append((again, now() + again.expires_in))
        remembered = [each.access_token for each in client.pairs[-REMEMBERED:]]
        assert grant_end.drain_deletions(10)
        for pair, end in promises:
            works = client.can_call_anew(pair)
            latest = max(e for each, e in promises if each.access_token == pair.access_token)
            assert works or now() >= end or pair.access_token not in remembered
            assert not works or now() < latest + 1, "responses tell whole seconds"
    assert len(promises) > 30


def is_in_its_grace(client: Client) -> bool:
    spent_at = sealed_content(client.world, client.pairs[-2].refresh_token)["spent_at"]
    return bool(spent_at + GRACE >= client.world.clock())


def test_repeated_response_tells_the_remaining_lifetime(client: Client) -> None:
    assert client.refreshes().expires_in == AGE
    client.waits(100.5)
    again = client.repeats_its_refresh()
    assert (again.access_token, again.expires_in) == (client.last.access_token, AGE - 101)
    client.waits(again.expires_in)
    assert client.can_call(again)
    client.waits(0.5)
    assert not client.can_call(again)


def test_remaining_lifetime_is_computed_after_a_slow_write(client: Client) -> None:
    client.world.world.table.on(FIRST_EXCHANGE, after(lambda: client.waits(2.5)))
    assert client.refreshes().expires_in == AGE - 3


def test_repeated_response_of_an_expired_token_says_one_second() -> None:
    """Some clients take 0 for no end, and would call with it until they are refused."""
    client = Client(install_world(lifetimes=Lifetimes(access_token_age=60, refresh_grace=300)))
    client.refreshes()
    client.waits(200)
    assert client.repeats_its_refresh().expires_in == 1


def test_response_tells_when_the_grant_ends(settings: Settings) -> None:
    settings.SESSION_COOKIE_AGE = 5 * DAY
    client = Client(install_world(grant_timeout=8 * DAY))

    def tell(pair: TokenResponse) -> tuple[int | None, int | None]:
        return pair.refresh_token_timeout, pair.authorization_expires_in

    assert tell(client.last) == (5 * DAY, 8 * DAY)
    assert tell(client.refreshes(every=4 * DAY)) == (4 * DAY, 4 * DAY)
    last = client.refreshes(every=4 * DAY - 1)
    assert (last.expires_in, *tell(last)) == (1, 1, 1)
    client.waits(1)
    client.cannot_refresh(last.refresh_token)


@pytest.mark.parametrize(("later", "works"), [(-1, True), (0, False)])
def test_refresh_token_works_as_long_as_its_response_says(
    settings: Settings, later: int, *, works: bool
) -> None:
    settings.SESSION_COOKIE_AGE = 2 * DAY
    client = Client(install_world(grant_timeout=8 * DAY))
    assert client.last.refresh_token_timeout is not None
    client.waits(client.last.refresh_token_timeout + later)
    if works:
        assert client.refreshes()
    else:
        client.cannot_refresh(client.last.refresh_token)


# An exchange deletes what is over, and the ninth access token ends the oldest


def test_exchange_deletes_expired_items_only(client: Client) -> None:
    client.refreshes(every=AGE - 1)
    assert client.access_tokens() == "##"
    client.refreshes(every=1)
    assert client.access_tokens() == ".##"
    assert [client.can_call(each) for each in client.pairs] == [False, True, True]


def test_ninth_access_token_ends_the_oldest_of_its_grant(full: Client) -> None:
    other = full.world.begin()
    assert full.access_tokens() == "########"
    full.refreshes(every=10)
    assert full.access_tokens() == ".########"
    assert [full.can_call_anew(each) for each in full.pairs] == [False, *[True] * REMEMBERED]
    assert full.can_call_anew(other)
    named = sealed_content(full.world, full.last.refresh_token)["access_tokens"]
    assert [each["id"] for each in named] == [
        id_of(full.world, each.access_token) for each in full.pairs[1:]
    ]


@pytest.mark.parametrize("fault", [refuse_write, unreachable])
def test_oldest_access_token_lives_until_the_ninth_is_issued(full: Client, fault: Any) -> None:
    full.world.world.table.on(LATER_EXCHANGE, fault)
    with pytest.raises(StoreUnavailable):
        full.refreshes()
    assert full.access_tokens() == "########"
    full.world.world.table.heal()
    full.refreshes()
    assert full.access_tokens() == ".########"


@pytest.mark.parametrize(
    ("fault", "left"),
    [
        pytest.param(lose_response, ".#######", id="its response is lost"),
        pytest.param(kill_after, "########", id="its process dies: the oldest lives to its end"),
    ],
)
def test_ninth_of_unknown_outcome_leaves_the_newer_ones(
    full: Client, fault: Any, left: str
) -> None:
    full.world.world.table.on(LATER_EXCHANGE, fault)
    try:
        full.refreshes()
    except Killed:
        assert fault is kill_after
    assert full.access_tokens()[:REMEMBERED] == left


def test_sixteen_refreshes_at_once_are_one_exchange(full: Client) -> None:
    full.refreshes(every=10)
    outcomes = together(16, lambda _: full.world.refresh(full.last.refresh_token))
    assert len({each.access_token for each in outcomes if isinstance(each, TokenResponse)}) == 1
    assert full.access_tokens() == "..#######"


def test_exchange_succeeds_though_nothing_can_be_deleted(client: Client) -> None:
    client.world.world.table.on("DeleteItem token", refuse_write)
    assert client.can_call(client.refreshes(every=AGE))
    assert client.access_tokens() == "##"
    assert not client.can_call_anew(client.pairs[0])
    client.world.world.table.heal()
    assert not client.can_call_anew(client.pairs[0])
    assert client.access_tokens() == ".#", "it was presented once more"


def test_refreshes_of_many_grants_at_once_delete_all_that_is_expired(one: GrantWorld) -> None:
    clients = [Client(one) for _ in range(20)]
    one.clock.advance(AGE)
    together(20, lambda number: clients[number].refreshes())
    assert {each.access_tokens() for each in clients} == {".#"}


# What is presented when it is over is deleted


def test_calling_with_an_expired_token_deletes_it(client: Client) -> None:
    client.waits(AGE)
    assert not client.can_call(client.last)
    assert client.draw_items() == (".", "#")
    assert client.can_call(client.refreshes())


def test_revoking_an_expired_token_deletes_it_and_ends_nothing(client: Client) -> None:
    client.waits(AGE)
    client.revokes(client.last.access_token)
    assert client.access_tokens() == "."
    assert client.can_call(client.refreshes())


def test_exchanging_an_expired_code_deletes_it(one: GrantWorld) -> None:
    code = one.allow()
    one.clock.advance(60)
    one.assert_not_redeemed(code)
    assert draw(one, code) == "."


@pytest.mark.parametrize("kind", [token_pair.ACCESS, token_pair.REFRESH, token_pair.CODE])
def test_made_up_token_costs_reads_only(client: Client, kind: str) -> None:
    world = client.world
    world.calls.clear()
    for _ in range(20):
        made_up = token_pair.new_token(kind)
        world.session(made_up)
        client.revokes(made_up)
        client.cannot_refresh(made_up)
        world.assert_not_redeemed(made_up)
    assert grant_end.drain_deletions(10)
    assert {*world.calls} <= {"GetItem token"}


def test_item_that_was_renewed_meanwhile_is_kept(client: Client) -> None:
    """The condition of the deletion has the expiry."""
    client.waits(AGE)
    items, item_id = client.world.items, id_of(client.world, client.last.access_token)

    def renew() -> None:
        end = str(int(client.world.clock()) + 60)
        items[item_id] = items[item_id] | {"ttl": {"N": end}}

    client.world.world.table.on("DeleteItem token", after(renew))
    assert not client.can_call(client.last)
    assert client.access_tokens() == "#"


def test_clearsessions_deletes_expired_access_tokens(client: Client) -> None:
    client.waits(AGE + 300)
    list(Clearing(services()).delete_expired(at_most=100))
    assert client.draw_items() == (".", "#")


# The end of a grant deletes what the presented token names

End = Callable[[Client], None]


def revoke(kind: str, number: int) -> End:
    return lambda client: client.revokes(getattr(client.pairs[number], kind))


def reuse_token(number: int, *, after: float = 0) -> End:
    def reuse(client: Client) -> None:
        client.waits(after)
        client.cannot_refresh(client.pairs[number].refresh_token)

    return reuse


def late(end: End) -> End:
    """Return an end of which no response is stored any more: only the session's id is known."""

    def end_late(client: Client) -> None:
        forget_response(client)
        end(client)

    return end_late


def forget_response(client: Client) -> None:
    client.waits(GRACE + LATE_ARRIVAL + 1)
    assert client.can_call(client.last), "which deletes the response"


def end_by_call(client: Client) -> None:
    session = client.world.load_session(client.last)
    run_sync(client.world.grants.end(session, access_token=client.last.access_token))


def ending_in_a_list_first(client: Client) -> None:
    end_sessions_of(services(), "7")
    client.revokes(client.last.refresh_token)


# Of tombstones, which older refresh tokens leave, none is named.
ENDS = {
    "newest access token revoked": (revoke("access_token", -1), "....", "##.."),
    "newest refresh token revoked": (revoke("refresh_token", -1), "....", "##.."),
    "spent token revoked": (revoke("refresh_token", -2), "....", "##.."),
    "spent token reused": (reuse_token(-2, after=GRACE + 1), "....", "##.."),
    "ended by a call": (end_by_call, "....", "##.."),
    "ended in a list, then revoked": (ending_in_a_list_first, "....", "##.."),
    "spent token revoked late": (late(revoke("refresh_token", -2)), "...#", "##.#"),
    "spent token reused late": (late(reuse_token(-2)), "...#", "##.#"),
    "tombstone revoked": (revoke("refresh_token", 0), "####", ".###"),
}


@pytest.mark.parametrize(("end", "access", "refresh"), ENDS.values(), ids=ENDS)
def test_end_of_a_grant_deletes_what_the_token_names(
    grown: Client, end: End, access: str, refresh: str
) -> None:
    other = Client(grown.world)
    end(grown)
    assert grown.draw_items() == (access, refresh)
    if end is not ending_in_a_list_first:  # which ends all grants of the person
        assert grown.world.kinds().count("session") == 1
        assert other.can_call(other.last)
        assert other.can_call(other.refreshes())


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_revocation_deletes_the_stored_response(grown: Client, kind: str) -> None:
    before = grown.world.kinds().count("answer")
    grown.revokes(getattr(grown.last, kind))
    assert grant_end.drain_deletions(10)
    assert grown.world.kinds().count("answer") == before - 1


def test_call_ends_its_grant_though_its_token_cannot_be_read(grown: Client) -> None:
    session = grown.world.load_session(grown.last)
    process = grown.world.started(0)
    grown.world.world.table.on("GetItem token", refuse_write)
    run_sync(process.end(session, access_token=grown.last.access_token))
    assert "session" not in grown.world.kinds()


@pytest.mark.parametrize(
    ("end", "is_late"),
    [
        pytest.param(revoke("refresh_token", -1), False, id="newest token"),
        pytest.param(revoke("refresh_token", 0), True, id="tombstone"),
        pytest.param(revoke("refresh_token", -2), True, id="spent token without its response"),
    ],
)
def test_nothing_is_deleted_while_the_grant_may_live(
    grown: Client, end: End, *, is_late: bool
) -> None:
    if is_late:
        forget_response(grown)
    before = grown.draw_items()
    grown.world.world.table.on("DeleteItem session", refuse_write)
    with pytest.raises(StoreUnavailable):
        end(grown)
    assert grown.draw_items() == before
    grown.world.world.table.heal()
    assert is_late or grown.can_call(grown.last)
    assert grown.can_call(grown.refreshes())


def test_tokens_of_a_grant_that_was_ended_in_a_list_are_useless(grown: Client) -> None:
    end_sessions_of(services(), "7")
    for each in grown.pairs:
        assert not grown.can_call_anew(each)
        grown.cannot_refresh(each.refresh_token)
    assert grown.draw_items()[0] == "####"
    assert grown.access_tokens() == "####"


# Nobody waits for deletions


class Gate:
    """Holds up deletions until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self, handle: Any) -> Any:
        self.reached.release()
        assert self.open.wait(30)
        return handle()


@pytest.fixture
def gate(one: GrantWorld) -> Iterator[Gate]:
    made = Gate()
    one.world.table.on("DeleteItem token", made)
    try:
        yield made
    finally:
        made.open.set()


def test_thread_waits_for_no_deletion(client: Client, gate: Gate) -> None:
    client.refreshes(every=AGE)
    assert gate.reached.acquire(timeout=30)
    assert client.can_call(client.last)
    client.revokes(client.last.refresh_token)
    assert not client.can_call(client.last)
    gate.open.set()
    assert client.access_tokens() == ".."


async def test_event_loop_waits_for_no_deletion(client: Client, gate: Gate) -> None:
    client.waits(AGE)
    grants = client.world.grants
    assert await grants.open(client.last.access_token, upstream="mcp") is None
    assert await asyncio.to_thread(gate.reached.acquire, timeout=30)
    other = client.world.begin()
    assert await grants.open(other.access_token, upstream="mcp") is not None
    gate.open.set()
    assert client.access_tokens() == "."


def test_deletions_that_wait_are_bounded_in_number_and_threads(one: GrantWorld, gate: Gate) -> None:
    before = set(threading.enumerate())
    for number in range(QUEUE_MAX + 50):
        grant_end.delete_items_soon(one.grants.services, [f"token#django#{number}"])
    begun = [each.name for each in set(threading.enumerate()) - before]
    assert begun.count("oauth-background") <= grant_end.DELETION_THREADS
    gate.open.set()
    assert grant_end.drain_deletions(30)
    assert one.calls.count("DeleteItem token") <= QUEUE_MAX + grant_end.DELETION_THREADS


def test_forked_process_deletes_with_threads_of_its_own(client: Client) -> None:
    client.waits(AGE)
    grant_end.delete_items_soon(client.world.grants.services, ["token#django#any"])
    assert grant_end.drain_deletions(10)

    def call_and_draw() -> str:
        client.can_call(client.last)
        return client.access_tokens()

    assert in_child(call_and_draw) == "."


# Later releases


def test_fields_of_a_later_release_are_ignored(client: Client) -> None:
    content = sealed_content(client.world, client.last.refresh_token)
    content["access_tokens"][0]["later"] = 1
    later = token_pair.new_token(token_pair.REFRESH)
    end = int(client.world.clock()) + 600
    made = NewToken(later, json.dumps(content | {"later": {}}).encode(), end)
    run_sync(Tokens(client.world.grants.services).begin(made))
    assert client.can_call(client.world.refresh(later))
