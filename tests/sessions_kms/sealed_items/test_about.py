"""Session metadata: where they are stored, when they move and end, who can read them."""

import json
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import KMSUnavailable
from sessions_kms.format.attributes import Item
from sessions_kms.operations import ending
from sessions_kms.operations.listing import Inspection
from sessions_kms.operations.purging import Clearing
from sessions_kms.sealed_items import about
from sessions_kms.sealed_items.about import ABOUT
from sessions_kms.services import services
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.commands import run
from tests.sessions_kms.support.memory_dynamodb import refuse_write
from tests.sessions_kms.support.sessions import id_of_record, save_session
from tests.sessions_kms.support.stacks import Stack
from tests.sessions_kms.support.stepping import as_coroutine

ADA = "7"
WORDS = {"browser": "Firefox", "system": "Windows"}
WEEK = 7 * 86_400


def sign_in_user(words: Any = WORDS, **content: Any) -> SessionStore:
    return save_session(ADA, **{ABOUT: words, **content})


def read_labels(stack: Stack, session: SessionStore) -> about.Labels:
    return run_sync(about.SessionMetadata(stack.services).read(id_of_record(session)))


def about_items(stack: Stack) -> dict[str, Item]:
    return {name: item for name, item in stack.items().items() if name.startswith("about#")}


def test_sign_in_stores_the_metadata_before_the_session(fake: Stack) -> None:
    session = save_session(**{ABOUT: WORDS})
    assert about_items(fake) == {}, "nobody is signed in"
    session.cycle_key()
    fake.dynamodb.calls.clear()
    session[USER_ID] = ADA
    session.save()
    assert fake.dynamodb.calls == ["PutItem about", "PutItem session"]
    assert read_labels(fake, session) == WORDS


def test_item_has_no_plaintext_and_the_longest_lifetime(stack: Stack) -> None:
    session = sign_in_user(_session_expiry=3600)
    ((name, item),) = about_items(stack).items()
    assert name == f"about#django#{id_of_record(session)}"
    assert "owner" not in item
    assert b"Firefox" not in json.dumps(item, default=repr).encode()
    created = int(stack.sessions()[id_of_record(session)]["createdAt"]["N"])
    assert int(item["ttl"]["N"]) == created + WEEK


def test_save_that_changes_no_word_writes_the_session_alone(fake: Stack) -> None:
    session = sign_in_user()
    fake.dynamodb.calls.clear()
    session["more"] = 1
    session.save()
    assert fake.dynamodb.calls == ["PutItem session"]


def test_changed_words_are_put_and_removed_ones_deleted(stack: Stack) -> None:
    session = sign_in_user()
    session[ABOUT] = {"browser": "Chrome"}
    session.save()
    assert read_labels(stack, session) == {"browser": "Chrome"}
    del session[ABOUT]
    session.save()
    assert about_items(stack) == {}


def test_without_an_absolute_timeout_the_item_ends_no_earlier_than_the_session(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(absolute_timeout=None)
    session = sign_in_user()
    stack.clock.advance(WEEK - 60)
    session["more"] = 1
    session.save()
    (item,) = about_items(stack).values()
    assert item["ttl"] == stack.sessions()[id_of_record(session)]["ttl"]


def test_key_change_moves_it_in_the_same_transaction(stack: Stack) -> None:
    session = sign_in_user()
    old = id_of_record(session)
    session.cycle_key()
    assert list(about_items(stack)) == [f"about#django#{id_of_record(session)}"]
    assert read_labels(stack, session) == WORDS
    assert run_sync(about.SessionMetadata(stack.services).read(old)) == {}


def test_key_change_that_fails_moves_nothing(stack: Stack) -> None:
    session = sign_in_user()
    other = SessionStore(session.session_key)
    assert other[USER_ID] == ADA
    before = about_items(stack)
    run_sync(stack.services.session_items.end(id_of_record(session)))
    with pytest.raises(Exception, match="ended before"):
        other.cycle_key()
    assert about_items(stack) == before


def test_end_of_a_session_deletes_its_metadata(stack: Stack) -> None:
    own, one, many, first = sign_in_user(), sign_in_user(), sign_in_user(), sign_in_user()
    own.flush()
    assert ending.end_session(services(), id_of_record(one), user_id=ADA)
    assert Inspection(services()).end(id_of_record(first))
    assert list(about_items(stack)) == [f"about#django#{id_of_record(many)}"]
    ending.end_sessions_of(services(), ADA)
    assert about_items(stack) == {}


def test_session_ends_even_if_its_metadata_cannot_be_deleted(fake: Stack) -> None:
    session = sign_in_user()
    fake.dynamodb.on("DeleteItem about", refuse_write)
    assert ending.end_sessions_of(services(), ADA) == 1
    assert not SessionStore().exists(session.session_key or "")


def test_item_that_cannot_be_written_stops_no_sign_in(fake: Stack) -> None:
    fake.dynamodb.on("PutItem about", refuse_write)
    session = sign_in_user()
    assert SessionStore(session.session_key)[USER_ID] == ADA
    assert read_labels(fake, session) == {}


@pytest.mark.parametrize(
    "malformed",
    [None, "x", ["x"], {"x": 1}, {"x": "x" * 101}, dict.fromkeys("123456789", "x")],
)
def test_invalid_label_stays_in_the_session_and_is_not_published(
    fake: Stack, malformed: Any
) -> None:
    session = sign_in_user(malformed)
    session.cycle_key()
    assert SessionStore(session.session_key)[ABOUT] == malformed
    assert about_items(fake) == {}


def test_metadata_of_another_session_is_ignored(stack: Stack) -> None:
    ada, mallory = sign_in_user(), sign_in_user({"browser": "Opera"})
    ours, theirs = about_items(stack)[f"about#django#{id_of_record(ada)}"], id_of_record(mallory)
    stack.put_item(ours | {"id": {"S": f"about#django#{theirs}"}})
    assert read_labels(stack, mallory) == {}
    stack.put_item(ours | {"encryptedData": {"B": b"x" * 20_000}})
    assert read_labels(stack, ada) == {}


def test_unavailable_kms_is_waited_for_once_and_shows_no_metadata(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, asked = sign_in_user(), []

    def refuse(encrypted: bytes, period: int) -> Any:
        asked.append(period)
        raise KMSUnavailable

    monkeypatch.setattr(fake.services.keyring, "unwrap", as_coroutine(refuse))
    inspection = Inspection(services())
    assert [run_sync(inspection.about(id_of_record(session))) for _ in range(3)] == [{}, {}, {}]
    assert len(asked) == 1


def test_clearing_by_time_or_data_key_deletes_it(stack: Stack) -> None:
    sign_in_user()
    (ours,) = about_items(stack).values()
    stack.put_item(ours | {"id": {"S": "about#django2#x"}})
    stack.clock.advance(60)
    later = sign_in_user()
    until = int(stack.clock()) - 30
    clearing = Clearing(stack.services)
    list(clearing.delete_created(until))
    assert clearing.cleared.deleted == 1, "sessions are counted"
    assert about_items(stack).keys() == {f"about#django#{id_of_record(later)}", "about#django2#x"}
    period = int(stack.sessions()[id_of_record(later)]["keyPeriod"]["N"])
    list(clearing.delete_sealed(period, but=None, since=stack.clock()))
    assert list(about_items(stack)) == ["about#django2#x"]


def test_expired_item_is_cleared(fake: Stack) -> None:
    sign_in_user()
    fake.clock.advance(2 * WEEK)
    list(Clearing(fake.services).delete_expired(at_most=10))
    assert about_items(fake) == {}


def test_dry_run_of_ending_deletes_none(fake: Stack) -> None:
    sign_in_user()
    run("end_sessions", "--all", "--dry-run", "--no-input")
    assert len(about_items(fake)) == 1
