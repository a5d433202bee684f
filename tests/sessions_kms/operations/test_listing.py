"""Sessions looked at page by page, without decryption, in a table shared with other things."""

import dataclasses
from datetime import UTC, datetime

import pytest

from sessions_kms import services
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.data_keys.keyring import DataKey
from sessions_kms.exceptions import KMSUnavailable, TableUnavailable
from sessions_kms.format.attributes import Item
from sessions_kms.operations import listing as inspection
from sessions_kms.operations.listing import KEYS_ASKED, OWNED_ROWS, READS, ROWS, Inspection, Row
from sessions_kms.services import id_of
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.sessions import save_session, saved_id
from tests.sessions_kms.support.stacks import Stack, fake_stack, install

NOW = 1_800_000_000
DAY = 86400


def pages() -> list[list[Row]]:
    """Follow the whole table to its end."""
    found, listing = [], Inspection(services.services()).list_table()
    found.append(listing.rows)
    while listing.next is not None:
        listing = Inspection(services.services()).list_table(listing.next)
        found.append(listing.rows)
    return found


def ids(rows: list[Row]) -> list[str]:
    return [row.id for row in rows]


def lease(number: int) -> Item:
    return {"id": {"S": f"lease#django#{number:05}"}, "ttl": {"N": str(NOW + DAY)}}


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "ROWS", 4)
    monkeypatch.setattr(inspection, "OWNED_ROWS", 3)


def test_row_shows_the_plaintext_parts_of_the_record(stack: Stack) -> None:
    session = save_session("7")
    stack.clock.advance(60)
    session["more"] = "x" * 1000
    session.save()
    [row] = Inspection(services.services(), session.session_key).list_table().rows
    assert row.id == id_of(session.session_key or "")
    assert (row.user_id, row.doubtful, row.current) == ("7", False, True)
    assert row.created_at == datetime.fromtimestamp(NOW, UTC)
    assert row.updated_at == datetime.fromtimestamp(NOW + 60, UTC)
    assert row.ends_at == datetime.fromtimestamp(NOW + 7 * DAY, UTC)
    assert (row.version, row.revision, row.key_period) == (1, 2, NOW - NOW % DAY)
    assert 1000 < (Inspection(services.services()).size(row.id) or 0) < 2000
    assert Inspection(services.services()).size("x" * 43) is None
    assert not Inspection(services.services(), None).list_table().rows[0].current


def test_whole_table_is_seen_once_page_by_page(stack: Stack, few_rows: None) -> None:
    made = {saved_id("7") for _ in range(5)} | {saved_id() for _ in range(5)}
    made |= {saved_id("7", _about={"browser": "Firefox"})}  # which is a separate item
    stack.put_item(lease(1))
    found = pages()
    assert sorted(row.id for page in found for row in page) == sorted(made)
    assert max(map(len, found)) <= 4


def test_pages_go_on_where_an_item_was_deleted(stack: Stack, few_rows: None) -> None:
    made = {saved_id("7") for _ in range(10)}
    first = Inspection(services.services()).list_table()
    for row in first.rows:  # Among them the one that the next page starts after.
        stack.delete_item(row.id)
    assert first.next is not None
    second = Inspection(services.services()).list_table(first.next)
    assert len(second.rows) == 4
    assert second.next is not None
    third = Inspection(services.services()).list_table(second.next)
    assert {*ids(first.rows), *ids(second.rows), *ids(third.rows)} == made


def test_users_pages_go_on_where_an_item_was_deleted(stack: Stack, few_rows: None) -> None:
    made: list[str] = []
    for _ in range(5):
        made.insert(0, saved_id("7"))
        stack.clock.advance(1)
    saved_id("8")
    first = run_sync(Inspection(services.services()).list_user_sessions("7"))
    assert ids(first.rows) == made[:3]
    assert first.next is not None
    for each in made[1:3]:
        stack.delete_item(each)
    rest = run_sync(Inspection(services.services()).list_user_sessions("7", first.next))
    assert (ids(rest.rows), rest.next) == (made[3:], None)


def test_page_is_a_bounded_number_of_calls_among_many_other_items(fake: Stack) -> None:
    for number in range(5000):
        fake.put_item(lease(number))
    calls = fake.dynamodb.calls
    calls.clear()
    listing = Inspection(services.services()).list_table()
    assert listing.rows == []
    assert listing.next is not None
    assert calls == ["Scan"] * READS


def test_page_of_sessions_is_one_call(fake: Stack) -> None:
    for _ in range(ROWS + 50):
        saved_id("7")
    calls = fake.dynamodb.calls
    calls.clear()
    listing = Inspection(services.services()).list_table()
    # The data key's item is among them, which would need a second call for another row.
    assert len(listing.rows) == ROWS
    assert calls.count("Scan") <= 2
    calls.clear()
    assert len(run_sync(Inspection(services.services()).list_user_sessions("7")).rows) == OWNED_ROWS
    assert (calls.count("Query user"), calls.count("GetItem session")) == (1, OWNED_ROWS)


def test_what_is_no_live_session_is_not_shown(stack: Stack) -> None:
    expired = saved_id("7", _session_expiry=60)
    stack.clock.advance(120)
    broken = saved_id("7")
    stack.put_item(stack.items()[broken] | {"iv": {"B": b"short"}})
    future = saved_id("7")
    stack.put_item(stack.items()[future] | {"version": {"N": "2"}})
    live = saved_id("7")
    assert {expired, broken, future, live} <= set(stack.items())
    assert ids(Inspection(services.services()).list_table().rows) == [live]
    assert ids(run_sync(Inspection(services.services()).list_user_sessions("7")).rows) == [live]
    assert [
        run_sync(Inspection(services.services()).find(each)) is None
        for each in (expired, broken, live)
    ] == [
        True,
        True,
        False,
    ]


def test_sessions_before_the_not_before_are_not_shown(make_stack: MakeStack) -> None:
    make_stack(not_before=NOW)
    saved_id("7")
    assert Inspection(services.services()).list_table().rows == []


@pytest.mark.parametrize("given", ["data-key#django#1799971200", "", "x" * 43, "é" * 43, "x" * 44])
def test_no_other_item_is_found(stack: Stack, given: str) -> None:
    saved_id()
    before = stack.items()
    assert run_sync(Inspection(services.services()).find(given)) is None
    assert not Inspection(services.services()).end(given)
    assert stack.items() == before


def test_forged_times_are_shown_as_the_latest(stack: Stack) -> None:
    made = saved_id("7")
    far = {"N": "9" * 38}
    item = stack.items()[made] | {"createdAt": far, "updatedAt": far, "ttl": far}
    stack.put_item(item | {"keyPeriod": far, "revision": far})
    [row] = Inspection(services.services()).list_table().rows
    assert row.ends_at.year == row.created_at.year == 9999


@pytest.mark.parametrize("user_id", ["", "x" * 2000, "\ud800"])
def test_user_id_that_cannot_exist_has_no_sessions(stack: Stack, user_id: str) -> None:
    saved_id("7")
    assert run_sync(
        Inspection(services.services()).list_user_sessions(user_id)
    ) == inspection.Listing([])


def test_session_is_ended_once(stack: Stack) -> None:
    made, anonymous, other = saved_id("7"), saved_id(), saved_id("7")
    assert Inspection(services.services()).end(made)
    assert not Inspection(services.services()).end(made)
    assert Inspection(services.services()).end(anonymous)
    assert ids(Inspection(services.services()).list_table().rows) == [other]


def store_by(neighbour: Stack, ours: Stack, user: str | None = None) -> str:
    """Store a session of another project in the table that it shares with ours."""
    install(neighbour.services)
    made = saved_id(user)
    install(ours.services)
    ours.put_item(neighbour.items()[made])
    return made


def neighbour_of(stack: Stack) -> Stack:
    """Give a project of another namespace, with the same KMS key and table if that can be."""
    if stack.kind == "fake":
        return fake_stack(stack.clock, namespace="other")
    config = dataclasses.replace(stack.config, namespace="other")
    return dataclasses.replace(stack, services=services.build(config, clock=stack.clock))


def assert_hidden(stack: Stack, foreign: list[str]) -> None:
    ours = [saved_id("7"), saved_id()]
    assert set(foreign) < set(stack.items())
    assert sorted(ids(Inspection(services.services()).list_table().rows)) == sorted(ours)
    for each in foreign:
        assert run_sync(Inspection(services.services()).find(each)) is None
        assert not Inspection(services.services()).end(each)
    assert set(foreign) < set(stack.items())


def test_sessions_of_another_project_are_neither_shown_nor_ended(stack: Stack) -> None:
    other = neighbour_of(stack)
    assert_hidden(stack, [store_by(other, stack, "7"), store_by(other, stack)])


@pytest.mark.parametrize("make_stack", ["servers"], indirect=True)
def test_sessions_under_another_projects_kms_key_are_not_shown(make_stack: MakeStack) -> None:
    other, stack = make_stack(namespace="other"), make_stack()
    assert_hidden(stack, [store_by(other, stack, "7"), store_by(other, stack)])


def test_page_of_the_list_unwraps_few_data_keys(make_fake: MakeStack) -> None:
    stack = make_fake(data_key_period=0)
    for _ in range(KEYS_ASKED + 20):
        saved_id()
    asked = Counting(stack)
    rows = Inspection(services.services()).list_table().rows
    assert len(rows) == KEYS_ASKED + 20
    assert asked.count == KEYS_ASKED
    assert sum(row.doubtful for row in rows) == 20


def test_signed_in_sessions_are_shown_without_kms(fake: Stack) -> None:
    saved_id("7")
    asked = Counting(fake)
    assert len(Inspection(services.services()).list_table().rows) == 1
    assert asked.count == 0


def test_kms_outage_leaves_anonymous_sessions_in_doubt_and_is_met_once(fake: Stack) -> None:
    anonymous, signed_in = saved_id(), saved_id("7")
    fake.clock.advance(2 * DAY)
    saved_id()
    asked = Counting(fake, outage=True)
    doubtful = {row.id: row.doubtful for row in Inspection(services.services()).list_table().rows}
    assert (doubtful[anonymous], doubtful[signed_in]) == (True, False)
    assert list(doubtful.values()).count(True) == 2
    assert asked.count == 1


def test_session_in_doubt_is_not_ended(fake: Stack) -> None:
    anonymous = saved_id()
    Counting(fake, outage=True)
    with pytest.raises(KMSUnavailable):
        Inspection(services.services()).end(anonymous)
    with pytest.raises(KMSUnavailable):
        run_sync(Inspection(services.services()).find(anonymous))
    assert anonymous in fake.items()


def test_unreachable_table_is_reported(fake: Stack) -> None:
    made = saved_id("7")
    fake.dynamodb.unavailable = True
    for look in (
        Inspection(services.services()).list_table,
        lambda: run_sync(Inspection(services.services()).list_user_sessions("7")),
        lambda: run_sync(Inspection(services.services()).find(made)),
        lambda: Inspection(services.services()).end(made),
    ):
        with pytest.raises(TableUnavailable):
            look()


class Counting:
    """Takes the keyring's place; counts what it is asked, and may fail as in an outage."""

    def __init__(self, stack: Stack, *, outage: bool = False) -> None:
        self.count = 0
        self._inner = stack.services.keyring
        self._outage = outage
        stack.services = dataclasses.replace(stack.services, keyring=self)
        install(stack.services)

    async def generate(self, period: int) -> DataKey:
        return await self._inner.generate(period)

    async def confirmed(self, key: DataKey) -> DataKey:
        return await self._inner.confirmed(key)

    async def unwrap(self, encrypted: bytes, period: int) -> DataKey:
        self.count += 1
        if self._outage:
            raise KMSUnavailable
        return await self._inner.unwrap(encrypted, period)
