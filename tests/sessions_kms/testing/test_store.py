"""The store of a test run: its faults, and what is undone."""

import sys
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest
from django.test import Client, override_settings
from pytest_django import Settings

from sessions_kms import InvalidRecord, KMSUnavailable, StoreUnavailable, services
from sessions_kms.aws.kms import IncorrectKey
from sessions_kms.backend import SessionStore
from sessions_kms.operations.ending import end_before
from sessions_kms.testing import MemoryStore, backend, store
from tests.sessions_kms.testing.kit import content_of, make_session, open_session
from tests.support.forking import in_child

KEY = "arn:aws:kms:eu-west-1:111122223333:key/11111111-2222-3333-4444-555555555555"
OTHER_KEY = "arn:aws:kms:eu-west-1:111122223333:key/66666666-2222-3333-4444-555555555555"


def test_nothing_is_stored_in_the_clear(kit: MemoryStore) -> None:
    key = make_session(secret="canary")
    assert "canary" not in repr(kit.dynamodb.items)
    assert key not in repr(kit.dynamodb.items)


@pytest.mark.parametrize(
    ("fault", "hours"),
    [("unavailable", 0), ("throttled", 0), ("unavailable", 2)],  # cached values expire in two hours
)
def test_unreachable_or_throttled_store_serves_nobody_and_loses_nothing(
    kit: MemoryStore, fault: str, hours: int
) -> None:
    key = make_session(n=1)
    kit.advance(hours=hours)
    with getattr(kit, fault)():
        with pytest.raises(StoreUnavailable):
            content_of(key)
        with pytest.raises(StoreUnavailable):
            make_session()
    assert content_of(key) == {"n": 1}
    make_session()


def test_write_whose_response_is_lost_is_found(kit: MemoryStore) -> None:
    with kit.lose_responses():
        key = make_session(n=1)
        session = open_session(key)
        session["n"] = 2
        session.save()
        assert content_of(key) == {"n": 2}
        with pytest.raises(StoreUnavailable):
            session.delete()
    assert content_of(key) == {}


def test_faults_nest_and_end_with_errors(kit: MemoryStore) -> None:
    key = make_session(n=1)
    with suppress(ZeroDivisionError), kit.unavailable(), kit.lose_responses():
        assert content_of(key) == {"n": 1}
        raise ZeroDivisionError
    assert content_of(key) == {"n": 1}
    with kit.lose_responses(), kit.unavailable(), pytest.raises(StoreUnavailable):
        content_of(key)


def test_fault_takes_effect_though_keys_and_cutoffs_are_cached(kit: MemoryStore) -> None:
    make_session()
    with kit.unavailable(), pytest.raises(StoreUnavailable):
        make_session()


@pytest.mark.parametrize("fault", ["unavailable", "throttled"])
def test_kms_cannot_be_used_either(kit: MemoryStore, fault: str) -> None:
    made = kit.kms.generate_data_key(KEY, {"a": "b"})
    with getattr(kit, fault)():
        with pytest.raises(KMSUnavailable):
            kit.kms.generate_data_key(KEY, {"a": "b"})
        with pytest.raises(KMSUnavailable):
            kit.kms.decrypt(KEY, made.ciphertext, {"a": "b"})
    assert kit.kms.decrypt(KEY, made.ciphertext, {"a": "b"}).plaintext == made.plaintext


def test_data_key_is_bound_to_its_kms_key_and_context(kit: MemoryStore) -> None:
    blob = kit.kms.generate_data_key(KEY, {"a": "b"}).ciphertext
    kit.kms.generate_data_key(OTHER_KEY, {})
    with pytest.raises(InvalidRecord):
        kit.kms.decrypt(KEY, blob, {"a": "c"})
    with pytest.raises(IncorrectKey):
        kit.kms.decrypt(OTHER_KEY, blob, {"a": "b"})
    moved = kit.kms.re_encrypt(blob, source=KEY, destination=OTHER_KEY, context={"a": "b"})
    plaintexts = {
        kit.kms.decrypt(key, each, {"a": "b"}).plaintext
        for key, each in ((KEY, blob), (OTHER_KEY, moved))
    }
    assert len(plaintexts) == 1


def test_block_is_undone(kit: MemoryStore) -> None:
    kept, changed, deleted = make_session(n=1), make_session(n=1), make_session(n=1)
    with kit.isolated():
        added = make_session(n=1)
        session = open_session(changed)
        session["n"] = 2
        session.save()
        open_session(deleted).delete()
        kit.advance(days=1)
        with kit.isolated():
            open_session(kept).delete()
            kit.advance(days=7)
            assert content_of(changed) == {}
        assert content_of(kept) == {"n": 1}
        assert content_of(changed) == {"n": 2}
    assert [content_of(each) for each in (kept, changed, deleted)] == [{"n": 1}] * 3
    assert content_of(added) == {}


def test_end_of_all_sessions_is_undone(kit: MemoryStore) -> None:
    key = make_session(n=1)
    with kit.isolated():
        kit.advance(seconds=10)
        end_before(services.services(), int(kit.now()))
        assert content_of(key) == {}
    assert content_of(key) == {"n": 1}


def test_records_end_in_any_order(kit: MemoryStore) -> None:
    outer = kit.begin()
    of_outer = make_session(n=1)
    inner = kit.begin()
    of_inner = make_session(n=1)
    kit.end(outer)
    late = make_session(n=1)
    kit.undo(outer)
    assert [content_of(each) for each in (of_outer, of_inner, late)] == [{}, {"n": 1}, {"n": 1}]
    kit.undo(kit.end(inner))
    assert [content_of(each) for each in (of_inner, late)] == [{}, {}]


def test_engine_may_be_switched_for_a_part_of_a_suite(settings: Settings) -> None:
    settings.SESSION_ENGINE = "sessions_kms.backend"
    production = services.services()
    with override_settings(SESSION_ENGINE="sessions_kms.testing.backend"), store.isolated():
        assert services.services() is not production
        assert content_of(make_session(n=1)) == {"n": 1}
        kit_services = services.services()
    assert services.services() is not kit_services
    client: Any = services.services().table._sender.client
    assert client is not store.dynamodb


def test_other_settings_keep_the_services(kit: MemoryStore, settings: Settings) -> None:
    made = services.services()
    settings.SESSION_ENGINE = "sessions_kms.testing.backend"
    settings.SESSION_COOKIE_AGE = 60
    assert services.services() is made


def test_engine_of_a_project_is_combined_with_it(
    kit: MemoryStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Theirs(SessionStore):
        def get_session_cookie_age(self) -> int:
            return 60

    class Both(Theirs, backend.SessionStore):
        pass

    module = ModuleType("engine_of_theirs")
    module.SessionStore = Both  # type: ignore[attr-defined]  # it is made here
    monkeypatch.setitem(sys.modules, module.__name__, module)
    settings.SESSION_ENGINE = module.__name__
    key = make_session(n=1)
    assert content_of(key) == {"n": 1}
    kit.advance(seconds=61)
    assert content_of(key) == {}


@pytest.mark.usefixtures("db")
def test_no_query_is_made_for_a_session(
    kit: MemoryStore, client: Client, django_assert_num_queries: object
) -> None:
    with django_assert_num_queries(0):  # type: ignore[operator]  # pytest-django's
        make_session(n=1)


def test_forked_child_has_the_sessions_though_a_thread_held_the_lock(kit: MemoryStore) -> None:
    key = make_session(n=1)
    with kit.dynamodb._lock:
        found = in_child(lambda: [content_of(key), content_of(make_session(n=2))])
    assert found == [{"n": 1}, {"n": 2}]


def test_records_show_no_items(kit: MemoryStore) -> None:
    make_session(secret="canary")
    with kit.isolated():
        make_session()
        assert "encrypted" not in repr(kit._records)
