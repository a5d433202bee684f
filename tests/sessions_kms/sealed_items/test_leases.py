"""Leases: one holder works, all get the result, and dead holders are replaced."""

from typing import Any

import pytest

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import TableUnavailable
from sessions_kms.sealed_items import leases as module
from sessions_kms.sealed_items.leases import CLOCK_DIFFERENCE, Claim, Leases
from sessions_kms.testing.dynamodb import Handle, error
from tests.sessions_kms.support.fakes import together
from tests.sessions_kms.support.stacks import Stack

SECRET = "s" * 32
RESULT = b"the refreshed token"


def stored_lease(stack: Stack) -> Any:
    [item] = [item for name, item in stack.items().items() if name.startswith("lease#django#")]
    return item


@pytest.fixture
def leases(stack: Stack) -> Leases:
    return Leases(stack.services)


def test_first_claim_succeeds_and_the_second_waits_for_its_end(leases: Leases) -> None:
    assert run_sync(leases.claim(SECRET, "one", seconds=30)) == Claim(held=True)
    assert run_sync(leases.claim(SECRET, "two", seconds=30)) == Claim(
        held=False, wait=30 + CLOCK_DIFFERENCE
    )


def test_holder_may_claim_again(leases: Leases) -> None:
    assert run_sync(leases.claim(SECRET, "one", seconds=30)).held
    assert run_sync(leases.claim(SECRET, "one", seconds=30)).held


def test_result_is_found_by_all_later_callers(leases: Leases) -> None:
    run_sync(leases.claim(SECRET, "one", seconds=30))
    assert run_sync(leases.complete(SECRET, "one", RESULT, keep=600))
    for holder in ("one", "two"):
        assert run_sync(leases.claim(SECRET, holder, seconds=30)) == Claim(
            held=False, result=RESULT
        )


def test_other_secret_is_another_lease(leases: Leases) -> None:
    run_sync(leases.claim(SECRET, "one", seconds=30))
    assert run_sync(leases.claim("t" * 32, "two", seconds=30)).held


def test_lease_of_a_dead_holder_is_taken_over_after_it_has_expired_by_any_clock(
    stack: Stack, leases: Leases
) -> None:
    run_sync(leases.claim(SECRET, "dead", seconds=30))
    stack.clock.advance(30 + CLOCK_DIFFERENCE - 1)
    assert run_sync(leases.claim(SECRET, "two", seconds=30)).wait == 1
    stack.clock.advance(1)
    assert run_sync(leases.claim(SECRET, "two", seconds=30)).held


def test_holder_that_lost_its_lease_can_neither_renew_nor_complete(
    stack: Stack, leases: Leases
) -> None:
    run_sync(leases.claim(SECRET, "slow", seconds=30))
    stack.clock.advance(30 + CLOCK_DIFFERENCE)
    run_sync(leases.claim(SECRET, "two", seconds=30))
    assert not run_sync(leases.renew(SECRET, "slow", seconds=30))
    assert not run_sync(leases.complete(SECRET, "slow", b"late", keep=600))
    run_sync(leases.release(SECRET, "slow"))
    assert run_sync(leases.claim(SECRET, "three", seconds=30)).wait > 0
    assert run_sync(leases.complete(SECRET, "two", RESULT, keep=600))


def test_renewal_moves_the_end(stack: Stack, leases: Leases) -> None:
    run_sync(leases.claim(SECRET, "one", seconds=30))
    stack.clock.advance(20)
    assert run_sync(leases.renew(SECRET, "one", seconds=30))
    assert run_sync(leases.claim(SECRET, "two", seconds=30)).wait == 30 + CLOCK_DIFFERENCE


def test_released_lease_is_free_at_once(leases: Leases) -> None:
    run_sync(leases.claim(SECRET, "one", seconds=30))
    run_sync(leases.release(SECRET, "one"))
    assert run_sync(leases.claim(SECRET, "two", seconds=30)).held


def test_result_ends_and_the_work_may_be_done_again(stack: Stack, leases: Leases) -> None:
    run_sync(leases.claim(SECRET, "one", seconds=30))
    run_sync(leases.complete(SECRET, "one", RESULT, keep=600))
    stack.clock.advance(599)
    assert run_sync(leases.claim(SECRET, "two", seconds=30)).result == RESULT
    stack.clock.advance(1)
    assert run_sync(leases.claim(SECRET, "two", seconds=30)).held


def test_table_shows_neither_secret_nor_result(stack: Stack, leases: Leases) -> None:
    run_sync(leases.claim(SECRET, "one", seconds=30))
    run_sync(leases.complete(SECRET, "one", RESULT, keep=600))
    stored = repr(stack.items()).encode()
    assert SECRET.encode() not in stored
    assert RESULT not in stored
    item = stored_lease(stack)
    assert RESULT not in item["encryptedData"]["B"]


def test_claim_does_not_show_its_result() -> None:
    assert "token" not in repr(Claim(held=False, result=RESULT))


@pytest.mark.parametrize("attribute", ["encryptedData", "authTag", "salt", "commitment", "iv"])
def test_changed_result_is_unavailable_and_not_computed_again(
    stack: Stack, leases: Leases, attribute: str
) -> None:
    run_sync(leases.claim(SECRET, "one", seconds=30))
    run_sync(leases.complete(SECRET, "one", RESULT, keep=600))
    item = stored_lease(stack)
    value = item[attribute]["B"]
    stack.put_item(item | {attribute: {"B": bytes([value[0] ^ 1]) + value[1:]}})
    with pytest.raises(TableUnavailable):
        run_sync(leases.claim(SECRET, "two", seconds=30))


def test_lease_of_an_unknown_version_is_unavailable_and_not_taken_over(
    stack: Stack, leases: Leases
) -> None:
    run_sync(leases.claim(SECRET, "one", seconds=30))
    item = stored_lease(stack)
    stack.put_item(item | {"version": {"N": "2"}})
    stack.clock.advance(60)
    with pytest.raises(TableUnavailable):
        run_sync(leases.claim(SECRET, "two", seconds=30))


def test_sealed_result_put_in_the_place_of_a_session_is_no_session(
    stack: Stack, leases: Leases
) -> None:
    from sessions_kms.backend import SessionStore
    from sessions_kms.format.item_types import session_id

    run_sync(leases.claim(SECRET, "one", seconds=30))
    run_sync(leases.complete(SECRET, "one", b'{"_auth_user_id": "1"}', keep=600))
    item = stored_lease(stack)
    stack.put_item(item | {"id": {"S": session_id("django", SECRET)}})
    assert dict(SessionStore(SECRET).items()) == {}


@pytest.mark.parametrize("make_stack", ["fake", "servers"], indirect=True)
def test_of_many_threads_one_works_and_all_get_its_result(leases: Leases) -> None:
    worked: list[str] = []
    results: list[bytes] = []

    def ask(number: int) -> None:
        name = f"thread{number}"
        while True:
            claim = run_sync(leases.claim(SECRET, name, seconds=30))
            if claim.held:
                worked.append(name)
                run_sync(leases.complete(SECRET, name, RESULT, keep=600))
            elif claim.result is not None:
                results.append(claim.result)
                return

    assert together(8, ask) == [None] * 8
    assert len(worked) == 1
    assert results == [RESULT] * 8


def test_claims_that_are_always_beaten_end(fake: Stack) -> None:
    def beaten(_: Handle) -> Any:
        raise error("PutItem", "ConditionalCheckFailedException")

    fake.dynamodb.on("PutItem lease", beaten)
    with pytest.raises(TableUnavailable):
        run_sync(Leases(fake.services).claim(SECRET, "one", seconds=30))
    assert fake.dynamodb.calls.count("PutItem lease") == module.TRIES


def test_result_is_kept_though_the_holder_renews_its_lease_meanwhile(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder's own renewal comes between the read and the write of its result."""
    worker, waiter = Leases(stack.services), Leases(stack.services)
    run_sync(worker.claim(SECRET, "one", seconds=30))
    read = worker._get

    async def read_and_renewed(secret: str) -> object:
        found = await read(secret)
        monkeypatch.undo()
        assert run_sync(waiter.renew(secret, "one", seconds=30))
        return found

    monkeypatch.setattr(worker, "_get", read_and_renewed)
    assert run_sync(worker.complete(SECRET, "one", RESULT, keep=600))
    assert run_sync(waiter.claim(SECRET, "two", seconds=30)).result == RESULT


def test_result_is_replaced_and_kept_shorter(stack: Stack, leases: Leases) -> None:
    run_sync(leases.claim(SECRET, "one", seconds=30))
    stamp = run_sync(leases.complete(SECRET, "one", RESULT, keep=600))
    assert stamp is not None
    assert run_sync(leases.replace(SECRET, "one", RESULT, stamp=stamp, keep=100))
    assert run_sync(leases.claim(SECRET, "two", seconds=30)).result == RESULT
    stack.clock.advance(100)
    assert run_sync(leases.claim(SECRET, "two", seconds=30)).held


def test_only_the_result_of_this_stamp_is_replaced(stack: Stack, leases: Leases) -> None:
    assert not run_sync(leases.replace(SECRET, "one", b"late", stamp=b"s" * 16, keep=100))
    run_sync(leases.claim(SECRET, "one", seconds=30))
    stamp = run_sync(leases.complete(SECRET, "one", b"old", keep=60))
    assert stamp is not None
    stack.clock.advance(60)
    assert run_sync(leases.claim(SECRET, "two", seconds=30)).held
    assert not run_sync(leases.replace(SECRET, "one", b"late", stamp=stamp, keep=100))
    assert run_sync(leases.complete(SECRET, "two", RESULT, keep=600))
    assert not run_sync(leases.replace(SECRET, "one", b"late", stamp=stamp, keep=100))
    assert run_sync(leases.claim(SECRET, "one", seconds=30)).result == RESULT
