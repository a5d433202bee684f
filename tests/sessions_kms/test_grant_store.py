"""The session of a grant: no cookie opens it, its key stays, and it lives as long as grants do."""

from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.sessions.backends.base import UpdateError

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.format.attributes import as_number
from sessions_kms.grant_store import GrantStore, end_grant_by_id
from sessions_kms.operations.purging import Clearing
from sessions_kms.services import services
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.memory_dynamodb import refuse_write
from tests.sessions_kms.support.sessions import again, id_of_record, save_session
from tests.sessions_kms.support.stacks import Stack, another_process
from tests.sessions_kms.support.wire import lose_response

DAY = 86_400


@pytest.fixture
def grant(fake: Stack) -> GrantStore:
    return create_grant()


def create_grant(**content: Any) -> GrantStore:
    made = GrantStore()
    made.update({USER_ID: "7", **content})
    run_sync(made.start_grant())
    return made


def load_grant(key: str | None) -> GrantStore | None:
    found = GrantStore(key)
    return found if run_sync(found.load_grant()) else None


def test_grant_is_loaded_with_its_content(grant: GrantStore) -> None:
    found = load_grant(grant.session_key)
    assert found is not None
    assert found[USER_ID] == "7"


def test_its_key_in_a_cookie_opens_nothing_and_changes_nothing(grant: GrantStore) -> None:
    cookie = SessionStore(grant.session_key)
    assert dict(cookie.items()) == {}
    assert cookie.session_key is None
    cookie["mine"] = 1
    cookie.save()
    assert cookie.session_key != grant.session_key
    found = load_grant(grant.session_key)
    assert found is not None
    assert "mine" not in found


def test_its_key_in_a_cookie_replaces_nothing_unseen(grant: GrantStore) -> None:
    cookie = SessionStore(grant.session_key)
    cookie._session_cache = {"mine": 1}
    with pytest.raises(UpdateError):
        cookie.save()
    assert load_grant(grant.session_key) is not None


def test_key_of_a_cookie_opens_no_grant(fake: Stack) -> None:
    assert load_grant(save_session("7").session_key) is None


def test_it_keeps_its_key_where_django_changes_keys(grant: GrantStore) -> None:
    key = grant.session_key
    grant["more"] = 1
    grant.cycle_key()
    assert grant.session_key == key
    found = load_grant(key)
    assert found is not None
    assert found["more"] == 1


def test_saves_of_two_processes_are_laid_over_each_other(grant: GrantStore) -> None:
    here, there = load_grant(grant.session_key), load_grant(grant.session_key)
    assert here is not None
    assert there is not None
    here["here"] = there["there"] = 1
    run_sync(here.save_grant())
    with another_process():
        run_sync(there.save_grant())
    found = load_grant(grant.session_key)
    assert found is not None
    assert (found["here"], found["there"]) == (1, 1)


def test_one_that_was_ended_is_not_saved_again(grant: GrantStore) -> None:
    other = load_grant(grant.session_key)
    assert other is not None
    run_sync(grant.end_grant())
    other["more"] = 1
    with pytest.raises(UpdateError):
        run_sync(other.save_grant())
    assert load_grant(grant.session_key) is None


def test_create_of_unknown_outcome_uses_another_key(fake: Stack) -> None:
    fake.dynamodb.on("PutItem session", lose_response)
    made = create_grant()
    fake.dynamodb.heal()
    assert load_grant(made.session_key) is not None


@pytest.mark.parametrize("by_id", [True, False])
def test_end_is_announced_only_when_it_is_known(
    fake: Stack, grant: GrantStore, *, by_id: bool
) -> None:
    def end() -> None:
        run_sync(end_grant_by_id(services(), id_of_record(grant)) if by_id else grant.end_grant())

    fake.dynamodb.on("DeleteItem session", refuse_write)
    with pytest.raises(StoreUnavailable):
        end()
    fake.dynamodb.heal()
    end()
    assert fake.sessions() == {}
    run_sync(end_grant_by_id(services(), "A" * 43))


@pytest.mark.parametrize(
    ("absolute", "grants", "lives"),
    [(DAY, None, DAY), (DAY, 3600, 3600), (DAY, 9 * DAY, 9 * DAY), (None, None, 90 * DAY)],
)
def test_it_ends_at_an_absolute_timeout_of_its_own(
    make_stack: MakeStack, absolute: int | None, grants: int | None, lives: int
) -> None:
    stack = make_stack(absolute_timeout=absolute, grant_timeout=grants)
    made = create_grant(_session_expiry=400 * DAY)
    browser = save_session("7", _session_expiry=400 * DAY)
    end = made.absolute_end()
    assert end is not None
    assert end.timestamp() == stack.clock() + lives
    stack.clock.advance(lives - 1)
    assert load_grant(made.session_key) is not None
    shorter = absolute is not None and absolute < lives
    assert bool(dict(again(browser).items())) is not shorter
    stack.clock.advance(1)
    assert load_grant(made.session_key) is None


def test_clearing_leaves_a_grant_that_lives_beyond_other_sessions(make_stack: MakeStack) -> None:
    stack = make_stack(absolute_timeout=DAY, grant_timeout=9 * DAY)
    made = create_grant(_session_expiry=400 * DAY)
    save_session("7")
    stack.clock.advance(2 * DAY)
    for _ in Clearing(stack.services).delete_expired(at_most=100):
        pass
    assert set(stack.sessions()) == {id_of_record(made)}


def test_end_that_was_written_later_is_refused(fake: Stack, grant: GrantStore) -> None:
    item = fake.dynamodb.items[id_of_record(grant)]
    fake.put_item(item | {"ttl": as_number(int(item["ttl"]["N"]) + DAY)})
    assert load_grant(grant.session_key) is None
