"""The calls to AWS of a sign-in and sign-out, counted in the table's client."""

import pytest

from tests.bench.calls import deletes, puts, reads
from tests.oauth.support.counted_store import Calls, calls, client_name, store
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor

__all__ = ["calls", "client_name", "store"]


@pytest.mark.parametrize(("client_name", "read"), [("builtin", 4), ("boto", 3)])
def test_sign_in_costs_six_puts_and_three_or_four_reads(
    calls: Calls, corp: FakeProvider, visitor: Visitor, read: int
) -> None:
    """In both requests of it together, as docs/cost.md says."""
    visitor.sign_in(corp)
    # One of the puts is the tombstone of the key that the sign-in changed, and one what lists
    # show of the session. The callback reads the session; and each of the two requests reads it
    # once more after allauth has saved it in its midst. The built-in client reads the new session
    # once it is put, since the response to a transaction is no evidence of it.
    assert (puts(calls), deletes(calls), reads(calls)) == (6, 0, read)


def test_sign_in_makes_no_kms_call(calls: Calls, corp: FakeProvider, visitor: Visitor) -> None:
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
