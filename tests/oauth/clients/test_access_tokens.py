"""Access tokens work as long as their answer says, and no item of one is left without a reason."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings

from oauth.clients import grant_end, token_pair
from oauth.clients.rules.errors import InvalidGrant
from oauth.clients.sealed_grant import TokenResponse
from oauth.clients.token_pair import LATE_ARRIVAL, Lifetimes
from oauth.network.concurrency import QUEUE_MAX
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.operations.ending import end_sessions_of
from sessions_kms.operations.purging import Clearing
from sessions_kms.sealed_items.tokens import NewToken, SealedToken, Tokens
from sessions_kms.services import services
from tests.oauth.support.grants import CONSENT, GrantWorld
from tests.sessions_kms.support.fakes import together
from tests.sessions_kms.support.memory_dynamodb import after, refused
from tests.sessions_kms.support.stacks import install
from tests.sessions_kms.support.wire import Killed, killed_after, lost, unreachable

AGE = 3600
GRACE = 120
NAMED_MAX = 8  # as docs/mcp.md says
FIRST = "TransactWriteItems token answer token token answer"
LATER = "TransactWriteItems token answer token token token answer"


@pytest.fixture
def issued(one: GrantWorld) -> TokenResponse:
    return one.begin()


@pytest.fixture(autouse=True)
def _settled() -> Iterator[None]:
    yield
    assert grant_end.drain_deletions(10)


def item_of(one: GrantWorld, shown: str) -> str:
    return one.grants._tokens.id_of(shown)


def is_there(one: GrantWorld, shown: str) -> bool:
    """Return True if the item of a token is in the table, once nothing is left to delete."""
    assert grant_end.drain_deletions(10)
    return item_of(one, shown) in one.items


def content_of(one: GrantWorld, shown: str) -> dict[str, Any]:
    """Return what a token opens, as it is sealed."""
    found = run_sync(Tokens(one.grants.services).find(shown))
    assert isinstance(found, SealedToken)
    content: dict[str, Any] = json.loads(found.content)
    return content


def called_anew(one: GrantWorld, shown: str) -> bool:
    """Return True if a token opens its grant in a process that remembers nothing."""
    return run_sync(one.started(0).session(shown, upstream="mcp")) is not None


# As long as was said


@pytest.mark.parametrize("seed", range(4))
def test_every_access_token_is_valid_for_its_announced_lifetime(seed: int) -> None:
    """However its client calls, refreshes and repeats; but for the oldest of nine."""
    one = GrantWorld(grant_timeout=30 * 86_400)
    install(one.world.processes[0])
    chance = random.Random(seed)  # noqa: S311 - what is wanted is the same again
    last = one.begin()
    promised = [(last.access_token, one.clock() + last.expires_in)]
    spent = ""
    for _ in range(60):
        one.clock.advance(chance.choice((0.25, 7, 40, 119, 600, 1800, AGE - 1, AGE)))
        if chance.random() < 0.7:
            spent, last = last.refresh_token, one.refresh(last.refresh_token)
            promised.append((last.access_token, one.clock() + last.expires_in))
        elif spent and content_of(one, spent)["spent_at"] + GRACE >= one.clock():
            again = one.refresh(spent)
            assert again.access_token == last.access_token
            if again.expires_in > 1:
                promised.append((again.access_token, one.clock() + again.expires_in))
        assert grant_end.drain_deletions(10)
        newest = list(dict.fromkeys(each for each, _ in promised))[-NAMED_MAX:]
        for each, until in promised:
            works = called_anew(one, each)
            if one.clock() < until and each in newest:
                assert works
            received = max(end for shown, end in promised if shown == each)
            assert not works or one.clock() < received + 1, "answers tell whole seconds"
    assert len(promised) > 30


def test_repeated_response_has_the_remaining_lifetime(
    one: GrantWorld, issued: TokenResponse
) -> None:
    second = one.refresh(issued.refresh_token)
    one.clock.advance(100.5)
    again = one.refresh(issued.refresh_token)
    assert again.access_token == second.access_token
    assert (second.expires_in, again.expires_in) == (AGE, AGE - 101)
    one.clock.advance(again.expires_in)
    assert one.lives(again)
    one.clock.advance(0.5)
    assert not one.lives(again)


def test_remaining_lifetime_is_computed_after_the_table_responded(
    one: GrantWorld, issued: TokenResponse
) -> None:
    """The table may take seconds to write it."""
    one.world.table.on(FIRST, after(lambda: one.clock.advance(2.5)))
    assert one.refresh(issued.refresh_token).expires_in == AGE - 3


def test_repeated_response_for_an_expired_token_omits_its_lifetime() -> None:
    """Some clients take 0 for no end, and would call with it until they are refused."""
    one = GrantWorld(lifetimes=Lifetimes(access_token_age=60, refresh_grace=300))
    install(one.world.processes[0])
    first = one.begin()
    one.refresh(first.refresh_token)
    one.clock.advance(200)
    assert one.refresh(first.refresh_token).expires_in == 1


def test_response_has_the_end_of_the_grant(settings: Settings) -> None:
    settings.SESSION_COOKIE_AGE = 5 * 86_400
    one = GrantWorld(grant_timeout=8 * 86_400)
    install(one.world.processes[0])
    issued = one.begin()
    received = (issued.refresh_token_timeout, issued.authorization_expires_in)
    assert received == (5 * 86_400, 8 * 86_400)
    one.clock.advance(4 * 86_400)
    issued = one.refresh(issued.refresh_token)
    received = (issued.refresh_token_timeout, issued.authorization_expires_in)
    assert received == (4 * 86_400, 4 * 86_400), "it may not be kept longer than the grant lives"
    one.clock.advance(4 * 86_400 - 1)
    last = one.refresh(issued.refresh_token)
    assert last.expires_in == last.refresh_token_timeout == last.authorization_expires_in == 1
    one.clock.advance(1)
    with pytest.raises(InvalidGrant):
        one.refresh(last.refresh_token)


@pytest.mark.parametrize(("later", "lives"), [(-1, True), (0, False)])
def test_refresh_token_is_valid_for_its_announced_lifetime(
    settings: Settings, later: int, *, lives: bool
) -> None:
    settings.SESSION_COOKIE_AGE = 2 * 86_400
    one = GrantWorld(grant_timeout=8 * 86_400)
    install(one.world.processes[0])
    issued = one.begin()
    assert issued.refresh_token_timeout is not None
    one.clock.advance(issued.refresh_token_timeout + later)
    if lives:
        assert one.refresh(issued.refresh_token)
    else:
        with pytest.raises(InvalidGrant):
            one.refresh(issued.refresh_token)


# What the next exchange deletes


def test_exchange_deletes_only_expired_items(one: GrantWorld, issued: TokenResponse) -> None:
    one.clock.advance(AGE - 1)
    second = one.refresh(issued.refresh_token)
    assert is_there(one, issued.access_token)
    one.clock.advance(1)
    third = one.refresh(second.refresh_token)
    assert not is_there(one, issued.access_token)
    assert is_there(one, second.access_token)
    assert one.lives(second)
    assert one.lives(third)


def test_ninth_access_token_ends_only_the_oldest(one: GrantWorld) -> None:
    pairs = [one.begin()]
    other = one.begin()
    for _ in range(NAMED_MAX - 1):
        one.clock.advance(10)
        pairs.append(one.refresh(pairs[-1].refresh_token))
    assert all(is_there(one, each.access_token) for each in pairs)
    one.clock.advance(10)
    pairs.append(one.refresh(pairs[-1].refresh_token))
    assert [is_there(one, each.access_token) for each in pairs] == [False, *[True] * NAMED_MAX]
    assert [called_anew(one, each.access_token) for each in pairs] == [False, *[True] * NAMED_MAX]
    assert called_anew(one, other.access_token), "of another grant of the same person"
    named = content_of(one, pairs[-1].refresh_token)["access_tokens"]
    assert [each["id"] for each in named] == [item_of(one, each.access_token) for each in pairs[1:]]


@pytest.mark.parametrize("fault", [refused, unreachable])
def test_oldest_access_token_stays_valid_until_the_ninth_is_issued(
    one: GrantWorld, fault: Any
) -> None:
    pairs = [one.begin()]
    for _ in range(NAMED_MAX - 1):
        one.clock.advance(10)
        pairs.append(one.refresh(pairs[-1].refresh_token))
    one.world.table.on(LATER, fault)
    with pytest.raises(StoreUnavailable):
        one.refresh(pairs[-1].refresh_token)
    assert all(is_there(one, each.access_token) for each in pairs)
    one.world.table.heal()
    one.refresh(pairs[-1].refresh_token)
    assert not is_there(one, pairs[0].access_token)


@pytest.mark.parametrize("fault", [lost, killed_after])
def test_ninth_of_unknown_outcome_leaves_eight(one: GrantWorld, fault: Any) -> None:
    """Also where its process dies at once: then the oldest one lives until its end."""
    pairs = [one.begin()]
    for _ in range(NAMED_MAX - 1):
        one.clock.advance(10)
        pairs.append(one.refresh(pairs[-1].refresh_token))
    one.world.table.on(LATER, fault)
    try:
        one.refresh(pairs[-1].refresh_token)
    except Killed:
        assert fault is killed_after
    assert is_there(one, pairs[0].access_token) == (fault is killed_after)
    assert all(is_there(one, each.access_token) for each in pairs[1:])


def test_many_refreshes_at_once_delete_for_one_exchange(one: GrantWorld) -> None:
    pairs = [one.begin()]
    for _ in range(NAMED_MAX):
        one.clock.advance(10)
        pairs.append(one.refresh(pairs[-1].refresh_token))
    outcomes = together(16, lambda _: one.refresh(pairs[-1].refresh_token))
    assert len({each.access_token for each in outcomes if isinstance(each, TokenResponse)}) == 1
    there = [is_there(one, each.access_token) for each in pairs]
    assert there == [False, False, *[True] * (NAMED_MAX - 1)]


@pytest.mark.parametrize("call", ["DeleteItem token"])
def test_failed_deletion_does_not_fail_the_exchange(
    one: GrantWorld, issued: TokenResponse, call: str
) -> None:
    one.clock.advance(AGE)
    one.world.table.on(call, refused)
    second = one.refresh(issued.refresh_token)
    assert one.lives(second)
    assert is_there(one, issued.access_token)
    assert not called_anew(one, issued.access_token), "it is over all the same"
    one.world.table.heal()
    assert not called_anew(one, issued.access_token)
    assert not is_there(one, issued.access_token), "now that it was presented"


# What is presented when it is over


def test_presenting_an_expired_token_deletes_it(one: GrantWorld, issued: TokenResponse) -> None:
    one.clock.advance(AGE)
    assert not one.lives(issued)
    assert not is_there(one, issued.access_token)
    assert is_there(one, issued.refresh_token)
    assert one.lives(one.refresh(issued.refresh_token))


def test_revoking_an_expired_token_deletes_it_and_ends_nothing(
    one: GrantWorld, issued: TokenResponse
) -> None:
    one.clock.advance(AGE)
    run_sync(one.grants.revoke(issued.access_token, client_id=CONSENT.client_id))
    assert not is_there(one, issued.access_token)
    assert one.lives(one.refresh(issued.refresh_token))


def test_presenting_an_expired_code_deletes_it(one: GrantWorld) -> None:
    code = one.allow()
    one.clock.advance(60)
    with pytest.raises(InvalidGrant):
        one.redeem(code)
    assert not is_there(one, code)


@pytest.mark.parametrize("kind", [token_pair.ACCESS, token_pair.REFRESH, token_pair.CODE])
def test_made_up_tokens_cost_no_writes(one: GrantWorld, issued: TokenResponse, kind: str) -> None:
    one.calls.clear()
    for _ in range(20):
        made_up = token_pair.new_token(kind)
        one.session(made_up)
        run_sync(one.grants.revoke(made_up, client_id=CONSENT.client_id))
        for ask in (one.refresh, one.redeem):
            with pytest.raises(InvalidGrant):
                ask(made_up)
    assert grant_end.drain_deletions(10)
    assert {*one.calls} <= {"GetItem token"}


def test_item_that_was_rewritten_meanwhile_is_not_deleted(
    one: GrantWorld, issued: TokenResponse
) -> None:
    """Only expired items are deleted: the condition has the expiry."""
    one.clock.advance(AGE)
    item_id = item_of(one, issued.access_token)

    def renewed() -> None:
        one.items[item_id] = one.items[item_id] | {"ttl": {"N": str(int(one.clock()) + 60)}}

    one.world.table.on("DeleteItem token", after(renewed))
    assert not one.lives(issued)
    assert is_there(one, issued.access_token)


# The end of a grant


def grown(one: GrantWorld) -> list[TokenResponse]:
    """Return the pairs of a grant whose access tokens are all good."""
    pairs = [one.begin()]
    for _ in range(3):
        one.clock.advance(200)
        pairs.append(one.refresh(pairs[-1].refresh_token))
    return pairs


def left_of(one: GrantWorld, pairs: list[TokenResponse]) -> dict[str, list[bool]]:
    return {
        name: [is_there(one, getattr(each, name)) for each in pairs]
        for name in ("access_token", "refresh_token")
    }


NOTHING = [False] * 4
BURIED = [True, True, False, False]  # of tombstones none is named


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
def test_revocation_deletes_every_item_that_the_token_names(one: GrantWorld, which: str) -> None:
    pairs, other = grown(one), one.begin()
    before = {item_id for item_id in one.items if item_id.startswith(("token#", "answer#"))}
    run_sync(one.grants.revoke(getattr(pairs[-1], which), client_id=CONSENT.client_id))
    assert left_of(one, pairs) == {"access_token": NOTHING, "refresh_token": BURIED}
    gone = before - one.items.keys()
    assert len([each for each in gone if each.startswith("answer#")]) == 1
    assert one.lives(other)
    assert one.lives(one.refresh(other.refresh_token))


def test_revocation_by_a_spent_token_deletes_items_while_its_response_is_stored(
    one: GrantWorld,
) -> None:
    pairs = grown(one)
    run_sync(one.grants.revoke(pairs[-2].refresh_token, client_id=CONSENT.client_id))
    assert left_of(one, pairs) == {"access_token": NOTHING, "refresh_token": BURIED}


def test_reuse_deletes_the_items_that_the_spent_token_names(one: GrantWorld) -> None:
    pairs = grown(one)
    one.clock.advance(GRACE + 1)
    with pytest.raises(InvalidGrant):
        one.refresh(pairs[-2].refresh_token)
    assert left_of(one, pairs) == {"access_token": NOTHING, "refresh_token": BURIED}
    assert "session" not in one.kinds()


def test_end_by_a_call_deletes_the_items_that_its_token_names(one: GrantWorld) -> None:
    pairs = grown(one)
    session = one.session(pairs[-1].access_token)
    assert session is not None
    run_sync(one.grants.end(session, access_token=pairs[-1].access_token))
    assert left_of(one, pairs) == {"access_token": NOTHING, "refresh_token": BURIED}


def test_revocation_of_an_ended_grant_deletes_the_items_of_its_token(one: GrantWorld) -> None:
    """In a list, say, by which no token was known."""
    pairs = grown(one)
    end_sessions_of(services(), "7")
    run_sync(one.grants.revoke(pairs[-1].refresh_token, client_id=CONSENT.client_id))
    assert left_of(one, pairs) == {"access_token": NOTHING, "refresh_token": BURIED}


@pytest.mark.parametrize("by", ["revocation", "reuse"])
def test_end_by_a_spent_token_without_response_deletes_its_items(one: GrantWorld, by: str) -> None:
    """By then only the id of the grant's session is known."""
    pairs = grown(one)
    one.clock.advance(GRACE + LATE_ARRIVAL + 1)
    assert one.lives(pairs[-1]), "which deletes the answer"
    if by == "revocation":
        run_sync(one.grants.revoke(pairs[-2].refresh_token, client_id=CONSENT.client_id))
    else:
        with pytest.raises(InvalidGrant):
            one.refresh(pairs[-2].refresh_token)
    left = left_of(one, pairs)
    assert left["refresh_token"] == [True, True, False, True], "the last one, nobody knows"
    assert left["access_token"] == [False, False, False, True]
    assert "session" not in one.kinds()


def test_tombstone_that_ends_a_grant_is_deleted_with_it(one: GrantWorld) -> None:
    pairs = grown(one)
    run_sync(one.grants.revoke(pairs[0].refresh_token, client_id=CONSENT.client_id))
    assert left_of(one, pairs)["refresh_token"] == [False, True, True, True]
    assert "session" not in one.kinds()


def test_end_by_a_call_succeeds_though_its_token_cannot_be_read(one: GrantWorld) -> None:
    pairs = grown(one)
    session = one.session(pairs[-1].access_token)
    assert session is not None
    process = one.started(0)
    one.world.table.on("GetItem token", refused)
    run_sync(process.end(session, access_token=pairs[-1].access_token))
    one.world.table.heal()
    assert "session" not in one.kinds()


def test_nothing_is_deleted_while_the_grant_may_live(one: GrantWorld) -> None:
    pairs = grown(one)
    one.world.table.on("DeleteItem session", refused)
    with pytest.raises(StoreUnavailable):
        run_sync(one.grants.revoke(pairs[-1].refresh_token, client_id=CONSENT.client_id))
    assert left_of(one, pairs) == {"access_token": [True] * 4, "refresh_token": [True] * 4}
    one.world.table.heal()
    assert one.lives(pairs[-1])
    assert one.lives(one.refresh(pairs[-1].refresh_token))


@pytest.mark.parametrize("number", [0, -2])
def test_nothing_is_deleted_while_a_grant_may_live_whose_key_is_unknown(
    one: GrantWorld, number: int
) -> None:
    """By a tombstone, and by a spent token whose answer is gone."""
    pairs = grown(one)
    one.clock.advance(GRACE + LATE_ARRIVAL + 1)
    assert one.lives(pairs[-1])
    before = left_of(one, pairs)
    one.world.table.on("DeleteItem session", refused)
    with pytest.raises(StoreUnavailable):
        run_sync(one.grants.revoke(pairs[number].refresh_token, client_id=CONSENT.client_id))
    assert left_of(one, pairs) == before
    one.world.table.heal()
    assert one.lives(one.refresh(pairs[-1].refresh_token))


def test_items_of_a_grant_that_was_ended_in_a_list_are_useless(one: GrantWorld) -> None:
    pairs = grown(one)
    end_sessions_of(services(), "7")
    for each in pairs:
        assert not called_anew(one, each.access_token)
        with pytest.raises(InvalidGrant):
            one.refresh(each.refresh_token)
    assert left_of(one, pairs)["access_token"] == [True] * 4


def test_clearsessions_deletes_expired_ones(one: GrantWorld, issued: TokenResponse) -> None:
    one.clock.advance(AGE + 300)
    list(Clearing(services()).delete_expired(at_most=100))
    assert not is_there(one, issued.access_token)
    assert is_there(one, issued.refresh_token)


# Beside the answer


class Held:
    """Holds up deletions until it is let go."""

    def __init__(self) -> None:
        self.met = threading.Semaphore(0)
        self.let_go = threading.Event()

    def __call__(self, handle: Any) -> Any:
        self.met.release()
        assert self.let_go.wait(30)
        return handle()


@pytest.fixture
def held(one: GrantWorld) -> Iterator[Held]:
    made = Held()
    one.world.table.on("DeleteItem token", made)
    try:
        yield made
    finally:
        made.let_go.set()


def test_deletion_is_not_waited_for_in_a_thread(
    one: GrantWorld, issued: TokenResponse, held: Held
) -> None:
    one.clock.advance(AGE)
    second = one.refresh(issued.refresh_token)
    assert held.met.acquire(timeout=30)
    assert one.lives(second)
    run_sync(one.grants.revoke(second.refresh_token, client_id=CONSENT.client_id))
    assert not one.lives(second)
    held.let_go.set()
    assert not is_there(one, issued.access_token)


async def test_deletion_is_not_waited_for_in_an_event_loop(
    one: GrantWorld, issued: TokenResponse, held: Held
) -> None:
    one.clock.advance(AGE)
    steps = one.grants
    assert await steps.session(issued.access_token, upstream="mcp") is None
    assert await asyncio.to_thread(held.met.acquire, timeout=30)
    other = one.begin()
    assert await steps.session(other.access_token, upstream="mcp") is not None
    held.let_go.set()
    assert not is_there(one, issued.access_token)


def test_deletion_queue_is_bounded(one: GrantWorld, held: Held) -> None:
    before = set(threading.enumerate())
    for number in range(QUEUE_MAX + 50):
        grant_end.delete_items_soon(one.grants.services, [f"token#django#{number}"])
    begun = [each.name for each in set(threading.enumerate()) - before]
    assert grant_end._background._queue.qsize() <= QUEUE_MAX
    assert begun.count("oauth-background") <= grant_end.DELETION_THREADS
    held.let_go.set()
    assert grant_end.drain_deletions(30)


def test_forked_process_deletes_with_threads_of_its_own(
    one: GrantWorld, issued: TokenResponse
) -> None:
    one.clock.advance(AGE)
    grant_end.delete_items_soon(one.grants.services, ["token#django#any"])
    assert grant_end.drain_deletions(10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, since Python 3.12
        child = os.fork()
    if child == 0:  # pragma: no cover - not measured in the child
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        try:
            one.lives(issued)
            is_done = (
                grant_end.drain_deletions(10) and item_of(one, issued.access_token) not in one.items
            )
        except BaseException:  # noqa: BLE001 - the child must not go on with the tests
            is_done = False
        os._exit(0 if is_done else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


# Releases that know nothing of it


def test_fields_of_a_later_release_are_ignored(one: GrantWorld, issued: TokenResponse) -> None:
    content = content_of(one, issued.refresh_token)
    content["access_tokens"][0]["later"] = 1
    later = token_pair.new_token(token_pair.REFRESH)
    made = NewToken(later, json.dumps(content | {"later": {}}).encode(), int(one.clock()) + 600)
    run_sync(Tokens(one.grants.services).begin(made))
    assert one.lives(one.refresh(later))


def test_concurrent_refreshes_of_many_grants_delete_all_expired_items(one: GrantWorld) -> None:
    made = [one.begin() for _ in range(20)]
    one.clock.advance(AGE)
    together(20, lambda number: one.refresh(made[number].refresh_token))
    assert not any(is_there(one, each.access_token) for each in made)
