"""Which other sessions of a user count before tokens are revoked: in doubt, each one."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.grant_store import GrantStore
from sessions_kms.operations import ending
from sessions_kms.operations.other_sessions import CANDIDATES_MAX, OtherSessions
from sessions_kms.sealed_items import about
from sessions_kms.services import id_of, services
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.memory_dynamodb import refuse_write
from tests.sessions_kms.support.sessions import id_of_record, save_session, saved_id
from tests.sessions_kms.support.stacks import Stack, install

APP = {about.CLIENT: "A tool", "provider": "corp"}
BROWSER = {"browser": "Firefox"}


@pytest.fixture
def stack(fake: Stack) -> Stack:
    return fake


def find(*but: str, user_id: str = "7") -> list[about.Labels]:
    return run_sync(OtherSessions(services(), user_id, but).find())


def start_grant() -> str:
    """Store a grant; return its id."""
    grant = GrantStore()
    grant.update({USER_ID: "7", about.ABOUT: APP})
    run_sync(grant.start_grant())
    return id_of(grant.session_key or "")


def test_every_grant_is_found_and_the_first_browser_ends_the_search(stack: Stack) -> None:
    one, other = start_grant(), start_grant()
    assert find() == [APP, APP]
    assert find(one, other) == []
    stack.clock.advance(1)
    browsers = {saved_id("7", **{about.ABOUT: BROWSER}) for _ in range(2)}
    assert find() == [BROWSER]
    assert find(*browsers) == [APP, APP]


def test_others_anonymous_and_ended_sessions_do_not_count(stack: Stack) -> None:
    save_session("8")
    save_session()
    ended, of_another = saved_id("7"), saved_id("7")
    stack.dynamodb.stop_index()  # It goes on to list all of them.
    assert ending.end_session(services(), ended, user_id="7")
    stack.put_item(stack.items()[of_another] | {"owner": {"S": "user#django#8"}})
    assert find() == []


@pytest.mark.parametrize(
    ("session_age", "grant_age", "counts"),
    [(60, 30 * 86_400, APP), (30 * 86_400, 60, BROWSER), (60, 60, None)],
)
def test_each_kind_has_its_own_maximum_age(
    stack: Stack, session_age: int, grant_age: int, counts: about.Labels | None
) -> None:
    """The maximum ages were shortened since: no record has expired by its own time."""
    save_session("7", **{about.ABOUT: BROWSER})
    start_grant()
    now = services()
    config = replace(now.config, absolute_timeout=session_age, grant_timeout=grant_age)
    install(replace(now, config=config))
    stack.clock.advance(61)
    assert find() == ([] if counts is None else [counts])


def test_old_grant_whose_metadata_is_missing_counts(make_fake: MakeStack) -> None:
    stack = make_fake(absolute_timeout=3600, grant_timeout=30 * 86_400)
    without_metadata(stack, start_grant())
    save_session("7")
    stack.clock.advance(3601)
    assert find() == [{}]


def of_later_release(stack: Stack, item_id: str) -> None:
    stack.put_item(stack.items()[item_id] | {"version": {"N": "99"}})


def of_the_future(stack: Stack, item_id: str) -> None:
    later = {"N": str(int(stack.clock()) + 86_400)}
    stack.put_item(stack.items()[item_id] | {"updatedAt": later, "createdAt": later})


def without_metadata(stack: Stack, item_id: str) -> None:
    stack.delete_item(about.id_of(services(), item_id))


@pytest.mark.parametrize(
    ("change", "labels"), [(of_later_release, {}), (without_metadata, {}), (of_the_future, APP)]
)
def test_session_counts_in_doubt(
    stack: Stack, change: Callable[[Stack, str], None], labels: about.Labels
) -> None:
    change(stack, start_grant())
    assert find() == [labels]


def test_session_that_changes_its_key_meanwhile_is_found(stack: Stack) -> None:
    session = save_session("7")
    stack.dynamodb.stop_index()
    session.cycle_key()
    assert id_of_record(session) in stack.items()
    install(replace(services(), sleep=lambda _: stack.dynamodb.catch_up()))
    assert len(find()) == 1


@pytest.mark.parametrize("call", ["Query user", "GetItem session", "GetItem about"])
def test_failed_read_is_an_error(stack: Stack, call: str) -> None:
    start_grant()
    stack.dynamodb.on(call, refuse_write)
    with pytest.raises(StoreUnavailable):
        find()


def test_number_of_reads_is_bounded(stack: Stack) -> None:
    ids = [saved_id("7") for _ in range(CANDIDATES_MAX + 1)]
    stack.dynamodb.stop_index()
    for item_id in ids:
        stack.delete_item(item_id)
    assert find(ids[0]) == []
    stack.dynamodb.calls.clear()
    with pytest.raises(StoreUnavailable, match="more sessions"):
        find()
    assert stack.dynamodb.calls.count("GetItem session") == CANDIDATES_MAX


def test_user_whom_the_index_cannot_have_is_an_error(stack: Stack) -> None:
    with pytest.raises(StoreUnavailable):
        find(user_id="7" * 3000)
