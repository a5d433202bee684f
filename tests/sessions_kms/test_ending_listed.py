"""Which sessions of a user are listed: read no further than needed, and none that is forged."""

from collections import Counter
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID

from sessions_kms import ending
from sessions_kms.backend import SessionStore
from sessions_kms.loading import id_of
from tests.sessions_kms.stacks import Stack

NOW = 1_800_000_000


def signed_in(**content: Any) -> str:
    """Save a session of user 7; return its id."""
    session = SessionStore()
    session.update({USER_ID: "7", **content})
    session.save()
    return id_of(session.session_key or "")


def listed() -> list[str]:
    return [info.id for info in ending.sessions_of("7")]


def calls(stack: Stack) -> Counter[str]:
    found: list[str] = stack.services.table.calls  # type: ignore[attr-defined]  # the fake counts
    return Counter(found)


def forge(stack: Stack, name: str, of: str, **changed: str) -> None:
    """Put a copy of a record with other numbers, as who can write to the table may."""
    numbers = {attribute: {"N": value} for attribute, value in changed.items()}
    stack.put_item({**stack.items()[of], "id": {"S": name * 43}, **numbers})


def test_index_is_read_only_as_far_as_is_shown(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "LISTED_MAX", 3)
    for _ in range(7):
        signed_in()
    fake.services.table.calls.clear()  # type: ignore[attr-defined]  # the fake counts
    assert len(listed()) == 3
    assert (calls(fake)["owned_page"], calls(fake)["owned"], calls(fake)["get"]) == (1, 0, 3)


def test_what_has_ended_hides_no_older_session(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "LISTED_MAX", 3)
    old = {signed_in() for _ in range(2)}
    stack.clock.advance(10)
    for _ in range(4):
        signed_in(_session_expiry=10)
    stack.clock.advance(60)
    assert set(listed()) == old


def test_listing_ends_however_many_stand_before_the_sessions(
    fake: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "LISTED_MAX", 1)
    signed_in()
    fake.clock.advance(10)
    for _ in range(ending.PAGES_MAX):
        signed_in(_session_expiry=10)
    fake.clock.advance(60)
    assert listed() == []
    assert calls(fake)["owned_page"] == ending.PAGES_MAX


@pytest.mark.parametrize(
    "changed",
    [
        {"createdAt": "9" * 30, "ttl": "9" * 31},
        {"createdAt": str(NOW + 301), "ttl": str(NOW + 999)},
        {"createdAt": "9" * 30, "updatedAt": "9" * 30, "ttl": "9" * 31, "keyPeriod": "0"},
        {"keyPeriod": "1"},
    ],
)
def test_record_that_no_process_can_have_sealed_now_is_not_listed(
    stack: Stack, changed: dict[str, str]
) -> None:
    session = signed_in()
    forge(stack, "A", session, **changed)
    assert listed() == [session]


def test_record_within_the_skew_of_clocks_is_listed(stack: Stack) -> None:
    session = signed_in()
    forge(stack, "A", session, createdAt=str(NOW + 300))
    assert listed() == ["A" * 43, session]
