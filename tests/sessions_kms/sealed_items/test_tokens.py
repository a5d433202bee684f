"""Tokens and their items: decryption, exchange, deletion, and what the table reveals."""

import json
import logging
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest

from sessions_kms.aws.clock import ServerClock
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import FateUnknown, StoreUnavailable, TableUnavailable
from sessions_kms.format.item_types import answer_id, session_id
from sessions_kms.operations.purging import Clearing
from sessions_kms.sealed_items.tokens import (
    Exchange,
    NewToken,
    SealedToken,
    Tokens,
    TokenTombstone,
    new_stamp,
)
from sessions_kms.services import services
from tests.sessions_kms.support.memory_dynamodb import refuse_write
from tests.sessions_kms.support.stacks import Stack
from tests.sessions_kms.support.stepping import run_blocking
from tests.sessions_kms.support.wire import lose_response

ONE, NEXT, ACCESS = (f"gw{each}_" + each * 32 for each in "rca")
CONTENT = b'{"canary": "5d1f"}'
SESSION = session_id("django", "k" * 32)


@pytest.fixture
def tokens(stack: Stack) -> Tokens:
    return begin_tokens(stack)


def begin_tokens(stack: Stack) -> Tokens:
    made = Tokens(stack.services)
    run_sync(made.begin(NewToken(ONE, CONTENT, int(stack.clock()) + 3600)))
    return made


def find_token(tokens: Tokens, token: str = ONE) -> SealedToken:
    opened = run_sync(tokens.find(token))
    assert isinstance(opened, SealedToken)
    return opened


def exchange(tokens: Tokens, **changes: Any) -> Exchange:
    ttl = int(services().clock()) + 3600
    members: dict[str, Any] = {
        "expected": find_token(tokens).stamp,
        "stamp": new_stamp(),
        "spent": NewToken(ONE, b"spent", ttl),
        "answer": NewToken(ONE, b"answer", ttl),
        "successors": [NewToken(NEXT, b"next", ttl), NewToken(ACCESS, b"access", ttl)],
    }
    return Exchange(**(members | changes))


def is_done(tokens: Tokens, spending: Exchange) -> bool:
    """Exchange; roto's responses to transactions are incomplete, so the stored items decide."""
    try:
        return run_sync(tokens.exchange(spending))
    except FateUnknown:
        return find_token(tokens, spending.spent.token).stamp == spending.stamp


def tombstone(tokens: Tokens, token: str, ttl: int) -> TokenTombstone:
    return TokenTombstone(
        id=tokens.id_of(token), session=SESSION, spent_at=ttl - 10, ttl=ttl, stamp=new_stamp()
    )


def test_token_opens_its_item_and_no_other_does(tokens: Tokens) -> None:
    assert find_token(tokens).content == CONTENT
    assert run_sync(tokens.find(NEXT)) is None
    assert run_sync(tokens.find(ONE.replace("gwr_", "gwa_"))) is None


def test_item_shows_no_content_and_no_token(stack: Stack, tokens: Tokens) -> None:
    dump = repr(stack.items())
    assert "canary" not in dump
    assert ONE not in dump
    (item,) = (each for name, each in stack.items().items() if name.startswith("token#"))
    assert "owner" not in item
    assert "session" not in item


def test_item_under_another_tokens_id_opens_nothing(fake: Stack) -> None:
    tokens = begin_tokens(fake)
    item = fake.dynamodb.items[tokens.id_of(ONE)]
    fake.put_item(item | {"id": {"S": tokens.id_of(NEXT)}})
    assert run_sync(tokens.find(NEXT)) is None


def test_exchange_is_atomic_and_happens_once(stack: Stack, tokens: Tokens) -> None:
    spending = exchange(tokens)
    assert is_done(tokens, spending)
    assert find_token(tokens).content == b"spent"
    assert find_token(tokens).stamp == spending.stamp
    assert run_sync(tokens.answer(ONE)) == b"answer"
    assert (find_token(tokens, NEXT).content, find_token(tokens, ACCESS).content) == (
        b"next",
        b"access",
    )
    before = stack.items()
    assert not is_done(tokens, exchange(tokens, expected=new_stamp()))
    assert not is_done(tokens, exchange(tokens)), "its successors are there already"
    assert stack.items() == before


def test_exchange_buries_the_token_before_and_forgets_its_answer(
    stack: Stack, tokens: Tokens
) -> None:
    assert is_done(tokens, exchange(tokens))
    ttl = int(stack.clock()) + 3600
    spending = exchange(
        tokens,
        expected=find_token(tokens, NEXT).stamp,
        spent=NewToken(NEXT, b"spent", ttl),
        answer=NewToken(NEXT, b"answer", ttl),
        successors=[],
        buried=tombstone(tokens, ONE, ttl),
        forgotten=tokens.id_of(ONE),
    )
    assert is_done(tokens, spending)
    assert run_sync(tokens.find(ONE)) == spending.buried
    assert run_sync(tokens.answer(ONE)) is None
    assert run_sync(tokens.answer(NEXT)) == b"answer"


def test_exchange_whose_answer_is_lost_is_not_sent_again(fake: Stack) -> None:
    tokens = begin_tokens(fake)
    spending = exchange(tokens)
    fake.dynamodb.calls.clear()
    fake.dynamodb.on("TransactWriteItems token answer token token", lose_response)
    with pytest.raises(FateUnknown):
        run_sync(tokens.exchange(spending))
    assert len(fake.dynamodb.calls) == 1
    assert find_token(tokens).stamp == spending.stamp


def test_first_token_whose_answer_is_lost_is_recognised(fake: Stack) -> None:
    fake.dynamodb.on("PutItem token", lose_response)
    with pytest.raises(TableUnavailable):
        begin_tokens(fake)
    fake.dynamodb.heal()
    assert find_token(Tokens(fake.services)).content == CONTENT


def test_everything_ends_at_its_ttl(stack: Stack, tokens: Tokens) -> None:
    now = int(stack.clock())
    assert is_done(tokens, exchange(tokens, answer=NewToken(ONE, b"answer", now + 60)))
    stack.put_item(tombstone(tokens, "gwr_" + "b" * 32, now + 60).to_item())
    stack.clock.advance(59.9)
    assert run_sync(tokens.answer(ONE)) is not None
    assert run_sync(tokens.find("gwr_" + "b" * 32)) is not None
    stack.clock.advance(0.1)
    assert run_sync(tokens.answer(ONE)) is None
    assert run_sync(tokens.find("gwr_" + "b" * 32)) is None
    stack.clock.advance(3540)
    assert run_sync(tokens.find(ONE)) is None


@pytest.mark.parametrize("name", ["encryptedData", "authTag", "salt", "commitment", "iv"])
def test_altered_item_opens_nothing_and_is_logged(
    fake: Stack, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    tokens = begin_tokens(fake)
    item = fake.dynamodb.items[tokens.id_of(ONE)]
    item[name] = {"B": bytes([item[name]["B"][0] ^ 1]) + item[name]["B"][1:]}
    with caplog.at_level(logging.WARNING, "sessions_kms.sealed_items.tokens"):
        assert run_sync(tokens.find(ONE)) is None
    (record,) = caplog.records
    assert "was refused" in record.getMessage()
    assert ONE not in record.getMessage()


def test_one_wrong_answer_is_read_again(fake: Stack) -> None:
    tokens = begin_tokens(fake)
    whole = fake.dynamodb.items[tokens.id_of(ONE)]
    answers = iter([{**whole, "stamp": {"B": b""}}])

    def wrong_once(handle: Any) -> Any:
        answer = handle()
        if (item := next(answers, None)) is not None:
            answer = answer | {"Item": item}
        return answer

    fake.dynamodb.on("GetItem token", wrong_once)
    assert find_token(tokens).content == CONTENT


def test_table_away_is_no_answer(fake: Stack) -> None:
    tokens = begin_tokens(fake)
    fake.dynamodb.on("GetItem token", refuse_write)
    fake.dynamodb.on("GetItem answer", refuse_write)
    for ask in (run_blocking(tokens.find), run_blocking(tokens.answer)):
        with pytest.raises(StoreUnavailable):
            ask(ONE)


@pytest.mark.parametrize("done", [True, False])
def test_answer_is_forgotten_or_left_to_its_ttl(fake: Stack, *, done: bool) -> None:
    tokens = begin_tokens(fake)
    assert is_done(tokens, exchange(tokens))
    if not done:
        fake.dynamodb.on("DeleteItem answer", refuse_write)
    assert run_sync(tokens.forget(tokens.id_of(ONE))) is done
    assert (run_sync(tokens.answer(ONE)) is None) is done


def test_expired_item_is_reported_for_each_use_of_its_token(fake: Stack) -> None:
    told: list[tuple[str, int]] = []
    tokens = begin_tokens(fake)
    watched = Tokens(fake.services, lambda item_id, ttl: told.append((item_id, ttl)))
    assert is_done(tokens, exchange(tokens))
    buried, now = "gwr_" + "b" * 32, int(fake.clock())
    fake.put_item(tombstone(tokens, buried, now + 60).to_item())
    for each in (ONE, NEXT, buried, "gwa_" + "n" * 32):
        run_sync(watched.find(each))
    assert run_sync(watched.answer(ONE)) is not None
    assert told == [], "of what is good, or never was"
    fake.clock.advance(3600)
    for each in (NEXT, buried, "gwa_" + "n" * 32):
        assert run_sync(watched.find(each)) is None
    assert run_sync(watched.answer(ONE)) is None
    ids = [tokens.id_of(NEXT), tokens.id_of(buried), answer_id(tokens.id_of(ONE))]
    assert told == list(zip(ids, [now + 3600, now + 60, now + 3600], strict=True))


def test_clock_that_is_wrong_makes_nothing_be_over(fake: Stack) -> None:
    """What would delete it believes no clock that the table's last answer contradicts."""
    told: list[str] = []
    begin_tokens(fake)
    clock, now = ServerClock(fake.clock), fake.clock()
    for offset in (7200, 7200, 7200, 0):
        clock.observe(formatdate(now + offset, usegmt=True))
    assert clock() > now + 3600
    services = replace(fake.services, clock=clock)
    watched = Tokens(services, lambda item_id, _: told.append(item_id))
    assert isinstance(run_sync(watched.find(ONE)), SealedToken)
    assert told == []


@pytest.mark.parametrize(("ended_by", "goes"), [(None, True), (3600, True), (3599, False)])
def test_item_is_removed_if_it_had_ended_by_then(
    stack: Stack, tokens: Tokens, ended_by: int | None, *, goes: bool
) -> None:
    by = None if ended_by is None else int(stack.clock()) + ended_by
    assert run_sync(tokens.remove(tokens.id_of(ONE), ended_by=by)) is goes
    assert (run_sync(tokens.find(ONE)) is None) is goes
    assert run_sync(tokens.remove(tokens.id_of(NEXT))) is True, "that was never there"


def test_tombstone_with_a_ciphertext_is_invalid(fake: Stack) -> None:
    tokens = begin_tokens(fake)
    added = tombstone(tokens, ONE, int(fake.clock()) + 60).to_item()
    fake.dynamodb.items[tokens.id_of(ONE)] |= {name: added[name] for name in ("session", "spentAt")}
    assert find_token(tokens).content == CONTENT


# Who tends them


def test_clearing_deletes_expired_items(stack: Stack, tokens: Tokens) -> None:
    assert is_done(tokens, exchange(tokens))
    stack.put_item(tombstone(tokens, "gwr_" + "b" * 32, int(stack.clock()) + 60).to_item())
    stack.clock.advance(4 * 3600)
    for _ in Clearing(stack.services).delete_expired(at_most=100):
        pass
    assert [name for name in stack.items() if name.startswith(("token#", "answer#"))] == []


def test_sessions_of_a_moment_end_with_their_tokens(stack: Stack, tokens: Tokens) -> None:
    assert is_done(tokens, exchange(tokens))
    moment = int(stack.clock())
    stack.clock.advance(10)
    run_sync(tokens.begin(NewToken("gwr_" + "b" * 32, CONTENT, moment + 3600)))
    for _ in Clearing(stack.services).delete_created(moment):
        pass
    kept = [name for name in stack.items() if name.startswith(("token#", "answer#"))]
    assert kept == [tokens.id_of("gwr_" + "b" * 32)]


def test_content_is_as_documented_and_bounded(fake: Stack) -> None:
    tokens = begin_tokens(fake)
    assert json.loads(find_token(tokens).content) == {"canary": "5d1f"}
    run_sync(tokens.begin(NewToken(NEXT, bytes(40 * 1024), int(fake.clock()) + 60)))
    assert run_sync(tokens.find(NEXT)) is None
