"""What signing in and out costs at AWS, counted where boto sends its calls."""

from __future__ import annotations

from tests.bench.calls import deletes, puts, reads
from tests.oauth.support.counted_store import Calls, calls, store
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor

__all__ = ["calls", "store"]


def test_sign_in_costs_six_puts_and_five_reads(
    calls: Calls, corp: FakeProvider, visitor: Visitor
) -> None:
    visitor.sign_in(corp)
    # One of the puts is the tombstone of the key that the sign-in changed, and one what lists
    # show of the session. The number of reads was 3 before missing items and writes were confirmed
    # by a read; which read confirms what was not traced one by one.
    assert (puts(calls), deletes(calls), reads(calls)) == (6, 0, 5)


def test_sign_in_asks_no_kms(calls: Calls, corp: FakeProvider, visitor: Visitor) -> None:
    visitor.sign_in(corp)
    assert [name for name in calls if name in {"Decrypt", "GenerateDataKey"}] == []


def test_sign_out_costs_one_read_and_two_deletes(
    calls: Calls, corp: FakeProvider, visitor: Visitor
) -> None:
    visitor.sign_in(corp)
    calls.clear()
    visitor.client.post("/accounts/logout/")
    assert calls == {"GetItem": 1, "DeleteItem": 2}


def test_anonymous_page_costs_nothing(calls: Calls, visitor: Visitor, corp: FakeProvider) -> None:
    assert visitor.client.get("/").status_code == 200
    assert calls == {}
