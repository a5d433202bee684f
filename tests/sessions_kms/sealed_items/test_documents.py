"""Documents: one writer wins, old ones are written again, and what may delete them."""

import json

import pytest

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import TableUnavailable
from sessions_kms.format.attributes import Item
from sessions_kms.format.record import LONGEST_AGE as LIFETIME
from sessions_kms.operations.purging import Clearing
from sessions_kms.sealed_items.documents import (
    CONTENT_MAX,
    RENEWED_AFTER,
    SealedDocuments,
    StoredDocument,
)
from tests.sessions_kms.support.memory_dynamodb import refuse_write
from tests.sessions_kms.support.stacks import Stack

NAME = "pin/wiki"
ITEM_ID = f"document#django#{NAME}"


@pytest.fixture
def documents(stack: Stack) -> SealedDocuments:
    return SealedDocuments(stack.services)


def load_document(documents: SealedDocuments) -> StoredDocument:
    found = run_sync(documents.load(NAME))
    assert found is not None
    return found


def stored_item(stack: Stack) -> Item:
    return stack.items()[ITEM_ID]


def test_one_of_two_writers_wins_and_the_other_sees_it(documents: SealedDocuments) -> None:
    assert run_sync(documents.load(NAME)) is None
    assert run_sync(documents.store(NAME, b"first", expected=None))
    assert not run_sync(documents.store(NAME, b"second", expected=None))
    before = load_document(documents)
    assert before.content == b"first"
    assert run_sync(documents.store(NAME, b"third", expected=before.version))
    assert not run_sync(documents.store(NAME, b"fourth", expected=before.version))
    assert load_document(documents).content == b"third"
    run_sync(documents.delete(NAME))
    assert run_sync(documents.load(NAME)) is None
    assert not run_sync(documents.store(NAME, b"fifth", expected=before.version))


def test_table_shows_no_content(stack: Stack, documents: SealedDocuments) -> None:
    run_sync(documents.store(NAME, b"the content", expected=None))
    assert b"the content" not in json.dumps(stored_item(stack), default=repr).encode()
    assert "the content" not in repr(load_document(documents))


def test_document_in_use_never_expires(stack: Stack, documents: SealedDocuments) -> None:
    run_sync(documents.store(NAME, b"content", expected=None))
    first = stored_item(stack)
    assert int(first["ttl"]["N"]) == int(stack.clock()) + LIFETIME
    stack.clock.advance(RENEWED_AFTER - 1)
    load_document(documents)
    assert stored_item(stack) == first, "a young one is not written"
    stack.clock.advance(1)
    found = load_document(documents)
    again = stored_item(stack)
    assert int(again["ttl"]["N"]) == int(stack.clock()) + LIFETIME
    assert again["keyPeriod"] != first["keyPeriod"]
    assert run_sync(documents.store(NAME, b"next", expected=found.version)), "its new version"


def test_document_that_has_ended_is_missing_and_is_replaced(
    stack: Stack, documents: SealedDocuments
) -> None:
    """A forger with the leaked data key chooses `ttl`, but not a time after the key's period."""
    run_sync(documents.store(NAME, b"forged", expected=None))
    stack.clock.advance(LIFETIME)
    ended = stored_item(stack) | {"ttl": {"N": str(int(stack.clock()) + LIFETIME)}}
    stack.put_item(ended)
    assert run_sync(documents.load(NAME)) is None
    assert stored_item(stack) == ended, "it is not renewed"
    assert run_sync(documents.store(NAME, b"next", expected=None))
    assert not run_sync(documents.store(NAME, b"late", expected=None))
    assert load_document(documents).content == b"next"


def test_ended_document_that_another_writer_replaces_stays_theirs(fake: Stack) -> None:
    documents = SealedDocuments(fake.services)
    run_sync(documents.store(NAME, b"first", expected=None))
    fake.clock.advance(LIFETIME)
    find = documents._find_ended

    async def find_late(item_id: str) -> bytes | None:
        ended = await find(item_id)
        await SealedDocuments(fake.services).store(NAME, b"theirs", expected=None)
        return ended

    documents._find_ended = find_late  # type: ignore[method-assign]
    assert not run_sync(documents.store(NAME, b"ours", expected=None))
    assert load_document(documents).content == b"theirs"


def test_document_is_read_although_it_cannot_be_written_again(fake: Stack) -> None:
    documents = SealedDocuments(fake.services)
    run_sync(documents.store(NAME, b"content", expected=None))
    fake.clock.advance(RENEWED_AFTER + 1)
    fake.dynamodb.on("PutItem document", refuse_write)
    assert load_document(documents).content == b"content"


def test_clearsessions_deletes_it_only_past_its_time(
    stack: Stack, documents: SealedDocuments
) -> None:
    run_sync(documents.store(NAME, b"content", expected=None))
    stack.clock.advance(LIFETIME - 1)
    list(Clearing(stack.services).delete_expired(at_most=10))
    assert ITEM_ID in stack.items()
    stack.clock.advance(3600)
    list(Clearing(stack.services).delete_expired(at_most=10))
    assert ITEM_ID not in stack.items()


def test_it_ends_with_a_leaked_data_key_and_not_with_all_sessions(
    stack: Stack, documents: SealedDocuments
) -> None:
    run_sync(documents.store(NAME, b"content", expected=None))
    list(Clearing(stack.services).delete_created(int(stack.clock()) + 60))
    assert load_document(documents).content == b"content"
    period = int(stored_item(stack)["keyPeriod"]["N"])
    list(Clearing(stack.services).delete_sealed(period, but=None, since=stack.clock()))
    assert run_sync(documents.load(NAME)) is None


def test_damaged_document_is_not_missing_but_can_be_deleted(
    stack: Stack, documents: SealedDocuments, caplog: pytest.LogCaptureFixture
) -> None:
    run_sync(documents.store(NAME, b"content", expected=None))
    stack.put_item(stored_item(stack) | {"authTag": {"B": bytes(16)}})
    with pytest.raises(TableUnavailable):
        run_sync(documents.load(NAME))
    assert f"The document {NAME} was refused: authentication" in caplog.messages
    run_sync(documents.delete(NAME))
    assert run_sync(documents.load(NAME)) is None


@pytest.mark.parametrize("name", ["", "pin#wiki", "x" * 201, "wiki\n", "w\u0131ki"])
def test_other_names_are_rejected(fake: Stack, name: str) -> None:
    with pytest.raises(ValueError, match="Not a name"):
        run_sync(SealedDocuments(fake.services).store(name, b"", expected=None))


def test_content_is_bounded(fake: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = SealedDocuments(fake.services)
    with pytest.raises(ValueError, match="at most"):
        run_sync(documents.store(NAME, bytes(CONTENT_MAX + 1), expected=None))
    assert run_sync(documents.store(NAME, bytes(CONTENT_MAX), expected=None))
    assert len(load_document(documents).content) == CONTENT_MAX
    monkeypatch.setattr("sessions_kms.sealed_items.documents.CONTENT_MAX", CONTENT_MAX - 1)
    with pytest.raises(TableUnavailable):
        load_document(documents)
