"""Links of a session: written before it, found while it changes, and read whatever they hold."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID
from django.test import RequestFactory

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.operations import ending
from sessions_kms.sealed_items.sealing import Sealing
from sessions_kms.services import id_of, services
from sessions_kms.session.links import LINKS, LINKS_MAX
from sessions_kms.testing.dynamodb import Handle
from tests.sessions_kms.support.leaks import TOKEN, Secrets, in_error, in_reports
from tests.sessions_kms.support.sessions import again, is_alive, link_items, save_session
from tests.sessions_kms.support.stacks import Stack
from tests.sessions_kms.support.stepping import as_coroutine, run_blocking

LINK, OTHER_LINK = "a" * 64, "b" * 64
MALFORMED = [
    "x",
    {"a": 1},
    None,
    ["https://example.org/"],
    [LINK, 1],
    [f"{n:064x}" for n in range(LINKS_MAX + 1)],
]
KEY = "k" * 32


def save_linked(*names: str, **content: Any) -> SessionStore:
    return save_session("7", **{LINKS: list(names), **content})


def import_session(stack: Stack, **content: Any) -> SessionStore:
    """Store a session without looking at its links, as one of another engine is taken over."""
    store = SessionStore(KEY)
    seal = run_sync(Sealing(stack.services).seal(store._codec.dumps({USER_ID: "7", **content})))
    record = seal.record(KEY, revision=1, created_at=seal.now, ttl=seal.now + 3600, user_id="7")
    run_sync(stack.services.session_items.create(record, now=record.updated_at))
    return store


# Ended by a link while the session is being stored


def before(
    monkeypatch: pytest.MonkeyPatch, table: Any, name: str, job: Callable[[], object]
) -> None:
    """Have something happen right before the first call of a method of the table."""
    method: Callable[..., Any] = getattr(table, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(table, name, method)
        job()
        return method(*args, **kwargs)

    monkeypatch.setattr(table, name, call)


def test_session_that_is_being_stored_while_its_link_is_ended_can_be_ended_later(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = stack.services.session_items
    before(monkeypatch, items, "create", lambda: ending.end_linked(services(), LINK))
    session = save_linked(LINK)
    assert is_alive(session)
    assert ending.end_linked(services(), LINK) == 1
    assert not is_alive(session)


def test_session_stored_between_two_queries_is_ended(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = save_linked(LINK)
    session_id = id_of(session.session_key or "")
    item = fake.items()[session_id]
    fake.delete_item(session_id)  # Only its link is written yet.
    looks: list[str] = []
    owned = run_blocking(fake.services.queries.owned_ids)

    def look(owner: str) -> list[str]:
        looks.append(owner)
        if len(looks) == 2:
            fake.put_item(item)
        return owned(owner)

    monkeypatch.setattr(fake.services.queries, "owned_ids", as_coroutine(look))
    assert ending.end_linked(services(), LINK) == 1
    assert not is_alive(session)
    assert link_items(fake) == set()


def test_session_that_changes_its_key_while_its_link_is_ended_is_ended(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = save_linked(LINK)
    old = id_of(session.session_key or "")
    queries = fake.services.queries
    owned = run_blocking(queries.owned_ids)
    ended: list[int] = []

    def move_meanwhile(move: Handle) -> Any:
        # The new link is written. Who ends the session looks at that one first, and then
        # finds the old one without a record: the key was changed in between.
        moved: list[Any] = []

        def look(handle: Handle) -> Any:
            found = handle()
            if "Item" not in found and not moved:
                moved.append(move())
            return found

        fake.dynamodb.on("GetItem session", look)
        ended.append(ending.end_linked(services(), LINK))
        return moved[0]

    def old_last(owner: str) -> list[str]:
        return sorted(owned(owner), key=lambda each: old in each)

    monkeypatch.setattr(queries, "owned_ids", as_coroutine(old_last))
    fake.dynamodb.on("TransactWriteItems session session", move_meanwhile)
    session.cycle_key()
    assert ended == [1]
    assert not is_alive(session)


def test_link_of_a_deleted_session_stays_and_ends_nothing(stack: Stack) -> None:
    session = save_linked(LINK)
    session.delete()
    assert ending.end_linked(services(), LINK) == 0
    assert len(link_items(stack)) == 1


def test_link_that_a_session_lists_no_longer_is_deleted(stack: Stack) -> None:
    session = save_linked(LINK)
    session[LINKS] = []
    session.save()
    assert link_items(stack) == set()


# Malformed links: refused where they are set, ignored where they are stored


@pytest.mark.parametrize("malformed", MALFORMED)
def test_stored_session_with_malformed_links_is_read_and_saved(
    stack: Stack, malformed: Any
) -> None:
    import_session(stack, **{LINKS: malformed}, a=1)
    session = SessionStore(KEY)
    assert session["a"] == 1
    session["a"] = 2
    session.save()
    assert (again(session)["a"], again(session)[LINKS]) == (2, malformed)
    session.cycle_key()
    assert again(session)["a"] == 2


def test_excess_and_invalid_links_are_ignored(stack: Stack) -> None:
    names = [f"{n:064x}" for n in range(LINKS_MAX + 1)]
    import_session(stack, **{LINKS: ["x", *names]})
    session = SessionStore(KEY)
    session.cycle_key()
    assert len(link_items(stack)) == LINKS_MAX
    assert ending.end_linked(services(), names[-1]) == 0
    assert ending.end_linked(services(), names[0]) == 1
    assert not is_alive(session)


@pytest.mark.parametrize("malformed", MALFORMED)
def test_malformed_links_that_the_application_sets_are_refused_and_nothing_is_stored(
    fake: Stack, malformed: Any
) -> None:
    session = save_linked(LINK, a=1)
    before = fake.items()
    session[LINKS] = malformed
    with pytest.raises(ValueError, match="link"):
        session.save()
    assert fake.items() == before


def test_malformed_links_that_are_changed_to_other_malformed_ones_are_refused(fake: Stack) -> None:
    import_session(fake, **{LINKS: ["x"]})
    session = SessionStore(KEY)
    session[LINKS].append("y")
    with pytest.raises(ValueError, match="link"):
        session.save()


def test_malformed_links_can_be_replaced(stack: Stack) -> None:
    import_session(stack, **{LINKS: ["x"]})
    session = SessionStore(KEY)
    session[LINKS] = [LINK]
    session.save()
    assert ending.end_linked(services(), LINK) == 1


def test_links_that_two_requests_added_are_cut_to_what_a_session_may_list(stack: Stack) -> None:
    session = save_linked()
    one, two = again(session), again(session)
    one.load(), two.load()
    one[LINKS] = [f"{n:064x}" for n in range(10)]
    two[LINKS] = [f"{n:064x}" for n in range(10, 20)]
    one.save()
    two.save()
    assert again(session)[LINKS] == [f"{n:064x}" for n in range(LINKS_MAX)]


def test_two_requests_leave_malformed_links_as_they_are(stack: Stack) -> None:
    import_session(stack, **{LINKS: ["x"]})
    one, two = SessionStore(KEY), SessionStore(KEY)
    one["a"], two["b"] = 1, 2
    one.save()
    two.save()
    merged = SessionStore(KEY)
    assert (merged["a"], merged["b"], merged[LINKS]) == (1, 2, ["x"])


def test_error_of_malformed_links_shows_nothing_of_the_session(fake: Stack) -> None:
    secrets = Secrets()
    secrets.add("token", TOKEN)
    session = save_linked(LINK, token=TOKEN)
    session[LINKS] = ["x"]
    with pytest.raises(ValueError, match="link") as caught:
        session.save()
    assert in_error(caught.value, secrets) == set()
    assert in_reports(caught.value, RequestFactory().get("/"), secrets) == set()
