"""The state of pending sign-ins is bounded, but sufficient for real ones."""

from typing import Any

import pytest
from allauth.socialaccount.internal import statekit

from oauth.sign_in import views
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import BOB, Visitor
from tests.support.clock import FakeClock

LONGEST = "/" + "x" * (views.NEXT_URL_MAX - 1)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Have each sign-in begin a second after the one before."""
    made = FakeClock(1_800_000_000)

    class Time:
        @staticmethod
        def time() -> float:
            made.advance(1)
            return made()

    monkeypatch.setattr(statekit, "time", Time)
    return made


def pending_sign_ins(visitor: Visitor) -> dict[str, Any]:
    found: dict[str, Any] = visitor.session.get("socialaccount_states", {})
    return found


def start_sign_in(visitor: Visitor, **form: str) -> str:
    response = visitor.start(**form)
    assert response.status_code == 302
    address: str = response["Location"]
    return address


def test_at_most_ten_sign_ins_are_pending_and_the_oldest_is_dropped(
    corp: FakeProvider, visitor: Visitor
) -> None:
    oldest = start_sign_in(visitor, next="/0")
    rest = [start_sign_in(visitor, next=f"/{number}") for number in range(1, 11)]
    assert len(pending_sign_ins(visitor)) == views.STATES_MAX
    assert {state[0]["next"] for state in pending_sign_ins(visitor).values()} == {
        f"/{number}" for number in range(1, 11)
    }
    assert visitor.client.get(corp.consent(oldest))["Location"] == "/accounts/login/?again=1"
    assert visitor.client.get(corp.consent(rest[0]))["Location"] == "/1"


def test_longest_allowed_next_url_is_followed(corp: FakeProvider, visitor: Visitor) -> None:
    for _ in range(8):
        start_sign_in(visitor, next=LONGEST)
    assert visitor.sign_in(corp, next=LONGEST)["Location"] == LONGEST
    assert len(pending_sign_ins(visitor)) == 2  # three of this length fit


def test_pending_sign_ins_are_bounded_in_bytes(corp: FakeProvider, visitor: Visitor) -> None:
    for number in range(12):
        start_sign_in(visitor, next=f"/{number}" + "\N{EURO SIGN}" * 300)
        session = visitor.session
        size = len(session.serializer().dumps(dict(session.items())))
        assert size <= views.STATES_SIZE_MAX
    assert len(pending_sign_ins(visitor)) == 4


@pytest.mark.parametrize("process", ["login", "connect", "redirect", ""])
def test_known_processes_start_a_sign_in(
    corp: FakeProvider, visitor: Visitor, process: str
) -> None:
    start_sign_in(visitor, process=process)


@pytest.mark.parametrize("process", ["Login", "reauthenticate", "login ", "login\0", "x" * 99])
@pytest.mark.parametrize("method", ["get", "post"])
def test_other_processes_are_refused_before_anything_is_fetched(
    corp: FakeProvider, visitor: Visitor, process: str, method: str
) -> None:
    asked: list[str] = []
    corp.hooks["/.well-known/openid-configuration"] = lambda: asked.append("metadata")
    ask = getattr(visitor.client, method)
    assert ask("/accounts/oidc/corp/login/", {"process": process}).status_code == 400
    assert asked == []


def test_pending_connection_of_a_signed_in_user_is_checked_too(
    other: FakeProvider, signed_in: Visitor
) -> None:
    for _ in range(12):
        signed_in.start("other", process="connect", next=LONGEST)
    assert len(pending_sign_ins(signed_in)) == 3
    assert signed_in.start("other", next="/" + "\x01" * 1999).status_code == 400
    assert signed_in.load_tokens() is not None
    assert signed_in.connect(other)["Location"] == "/"
    assert signed_in.load_tokens("other") is not None


def test_other_peoples_sign_ins_are_not_dropped(corp: FakeProvider, visitor: Visitor) -> None:
    corp.person = BOB
    bystander = Visitor()
    begun = start_sign_in(bystander)
    for _ in range(12):
        start_sign_in(visitor, next=LONGEST)
    assert bystander.client.get(corp.consent(begun)).status_code == 302
    assert bystander.load_tokens() is not None
