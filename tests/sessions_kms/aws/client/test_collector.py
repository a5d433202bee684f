"""The collector of garbage: never off for longer than what it was paused for."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import suppress

import pytest

from sessions_kms.aws import clients
from sessions_kms.aws.client import collector
from sessions_kms.aws.client.making import table_client
from sessions_kms.exceptions import TableUnavailable


@pytest.fixture(autouse=True)
def as_python_begins() -> Iterator[None]:
    gc.unfreeze()  # what the tests have frozen
    yield
    gc.unfreeze()
    gc.enable()


def test_it_is_off_while_paused_and_on_again_even_where_that_fails() -> None:
    with suppress(LookupError), collector.paused():
        assert not gc.isenabled()
        raise LookupError
    assert gc.isenabled()


def test_a_project_that_wants_it_off_keeps_it_off() -> None:
    gc.disable()
    with collector.paused():
        pass
    assert not gc.isenabled()


def test_of_two_at_once_whoever_began_last_leaves_it_to_the_first() -> None:
    first, second = collector.paused(), collector.paused()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()


def test_of_two_that_both_found_it_on_the_last_leaves_it_on() -> None:
    found, calls = gc.isenabled, iter([True, True])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "isenabled", lambda: next(calls, None) or found())
        with collector.paused():
            with collector.paused():
                pass
            assert found()
    assert gc.isenabled()


def test_process_that_was_forked_meanwhile_has_it_on() -> None:
    with collector.paused():
        child = os.fork()
        if child == 0:
            os._exit(0 if gc.isenabled() else 1)
        assert not gc.isenabled()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_forked_process_of_a_project_that_wants_it_off_has_it_off() -> None:
    gc.disable()
    child = os.fork()
    if child == 0:
        os._exit(1 if gc.isenabled() else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_was_made_meanwhile_is_old_without_being_gone_through() -> None:
    seen: list[str] = []

    def see(phase: str, _: object) -> None:
        seen.append(phase)

    with collector.paused():
        gc.callbacks.append(see)
        kept = [[number] for number in range(10 * gc.get_threshold()[0])]
    gc.callbacks.remove(see)
    assert not any(each is kept for each in gc.get_objects(generation=0))
    assert seen == []


def test_what_a_project_froze_stays_frozen() -> None:
    there: list[object] = [[]]
    gc.freeze()
    with collector.paused():
        pass
    assert not any(each is there for each in gc.get_objects())


def test_clients_are_made_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bool] = []

    def dynamodb_client(_region: str | None) -> None:
        heard.append(gc.isenabled())
        raise TableUnavailable("no Region")

    monkeypatch.setattr(clients, "dynamodb_client", dynamodb_client)
    with pytest.raises(TableUnavailable):
        table_client(None)
    assert (heard, gc.isenabled()) == ([False], True)
