"""Responses of DynamoDB that are lost, with another request acting before anybody looks.

Over real HTTP: a proxy lets the server apply a write, has the other request do its part, and
drops the connection.
"""

from collections.abc import Callable
from typing import Any

import pytest

from sessions_kms.backend import SessionStore
from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.operations.ending import end_linked
from sessions_kms.services import services
from sessions_kms.session.links import LINKS
from tests.sessions_kms.support.faults import Dropped, Exchange, Response
from tests.sessions_kms.support.faulty import FaultyStack, MakeFaulty
from tests.sessions_kms.support.sessions import save_changes, saved_key, stored_item
from tests.sessions_kms.support.stacks import another_process

pytestmark = pytest.mark.parametrize("make_stack", ["servers"], indirect=True)


def lose_next_response(
    faulty: FaultyStack, operation: str, meanwhile: Callable[[], object] = lambda: None
) -> None:
    """Have the next such write applied, and something else done before its sender knows."""

    def lose(exchange: Exchange) -> Response:
        exchange.forward()
        with another_process():
            meanwhile()
        raise Dropped

    faulty.table.on(operation, lose, times=1)


CHANGES: dict[str, tuple[Callable[[Any], object], Callable[[Any], object], dict[str, Any]]] = {
    "both set one key": (
        lambda mine: mine.update({"a": "mine"}), lambda theirs: theirs.update({"a": "theirs"}),
        {"a": "theirs", "b": [1]},
    ),
    "the other deletes it": (
        lambda mine: mine.update({"a": "mine"}), lambda theirs: theirs.pop("a"), {"b": [1]},
    ),
    "the other appends": (
        lambda mine: mine["b"].append(2), lambda theirs: theirs["b"].append(3),
        {"a": "old", "b": [1, 2, 3]},
    ),
    "the other adds one": (
        lambda mine: mine.pop("a"), lambda theirs: theirs.update({"a": "theirs"}),
        {"a": "theirs", "b": [1]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_save_whose_response_is_lost_is_not_laid_over_a_later_acknowledged_one(
    make_faulty: MakeFaulty, name: str
) -> None:
    change, others_change, expected = CHANGES[name]
    faulty = make_faulty()
    key = saved_key(a="old", b=[1])
    mine = SessionStore(key)
    change(mine)

    def meanwhile() -> None:
        theirs = SessionStore(key)
        others_change(theirs)
        theirs.save()

    lose_next_response(faulty, "PutItem", meanwhile)
    mine.save()
    assert stored_item(key) == expected


def test_lost_response_to_a_key_change_keeps_everyone_signed_in(faulty: FaultyStack) -> None:
    signed_out = 0
    for _ in range(20):
        key = saved_key(_auth_user_id="7")
        session = SessionStore(key)
        lose_next_response(faulty, "TransactWriteItems")
        try:
            session.cycle_key()
        except StoreUnavailable:
            signed_out += not stored_item(key)  # It keeps the old cookie.
        else:
            signed_out += not stored_item(session.session_key)
    assert signed_out == 0


def test_save_that_a_program_without_ancestors_outran_is_not_merged(faulty: FaultyStack) -> None:
    key = saved_key(a="old")
    mine = SessionStore(key)
    mine["a"] = "mine"

    def meanwhile() -> None:
        save_changes(key, a="theirs")
        (item,) = faulty.stack.sessions().values()
        faulty.stack.put_item({name: item[name] for name in item if name != "ancestors"})

    lose_next_response(faulty, "PutItem", meanwhile)
    with pytest.raises(StoreUnavailable):
        mine.save()
    assert stored_item(key) == {"a": "theirs"}


def test_save_that_sixteen_others_followed_is_recognised_and_seventeen_are_not(
    faulty: FaultyStack,
) -> None:
    for others, told in ((16, None), (17, StoreUnavailable)):
        key = saved_key(n=0)
        mine = SessionStore(key)
        mine["mine"] = True

        def meanwhile(key: str = key, others: int = others) -> None:
            for number in range(others):
                save_changes(key, n=number + 1)

        lose_next_response(faulty, "PutItem", meanwhile)
        if told:
            with pytest.raises(told):
                mine.save()
        else:
            mine.save()
        assert stored_item(key) == {"n": others, "mine": True}


def test_second_save_after_a_lost_response_loses_nothing_of_others(faulty: FaultyStack) -> None:
    key = saved_key(a=0, b=0)
    mine = SessionStore(key)
    mine["a"] = 1

    def meanwhile() -> None:
        theirs = SessionStore(key)
        theirs["a"], theirs["b"] = 2, 2
        theirs.save()

    lose_next_response(faulty, "PutItem", meanwhile)
    mine.save()
    mine["c"] = 3
    mine.save()
    assert stored_item(key) == {"a": 2, "b": 2, "c": 3}


def test_name_that_another_added_again_after_a_lost_response_still_ends_the_session(
    make_faulty: MakeFaulty,
) -> None:
    faulty, link = make_faulty(), "1" * 64
    key = saved_key(a=0, **{LINKS: [link]})
    mine = SessionStore(key)
    mine[LINKS] = []

    def meanwhile() -> None:
        theirs = SessionStore(key)
        theirs[LINKS] = [link]
        theirs.save()

    lose_next_response(faulty, "PutItem", meanwhile)
    mine.save()
    assert stored_item(key)[LINKS] == [link]
    assert end_linked(services(), link) == 1
    assert stored_item(key) == {}
