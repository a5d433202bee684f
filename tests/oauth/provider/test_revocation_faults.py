"""Sign-outs with each fault at each call: no grant ends too early, or unnoticed.

The calls are those of AWS and of the providers, found by departing once. A session whose
end was acknowledged is gone; one whose end failed stands with its grants and can be ended by
a second try. A grant is revoked when no session holds it any more, or it is logged that it
was not. Unseen may only be what a process let go that was killed before it had revoked it.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.oauth.support.fixtures import BOB
from tests.oauth.support.logout_fixtures import post
from tests.oauth.support.logout_provider import LogoutProvider
from tests.oauth.support.stage import ADA, Outcome, Stage, key_of
from tests.sessions_kms.model.world import DISTURBED_FOR
from tests.sessions_kms.support.wire import FAULTS, Killed


@dataclass(frozen=True)
class Departure:
    """An action, and the action that is done ``again`` after a failure.

    ``leaves`` are the providers whose grants are dropped. ``ends`` is True if the session ends,
    ``begins`` if there is a new one afterwards, ``reads`` if the action reads the session's
    content. Its calls up to ``after`` belong to another departure.
    """

    act: Callable[[Stage], Any]
    again: Callable[[Stage], Any]
    leaves: tuple[str, ...] = ()
    ends: bool = True
    begins: bool = False
    reads: bool = True
    after: str | None = None
    person: dict[str, Any] = field(default_factory=lambda: ADA)


def sign_out(stage: Stage) -> Any:
    return stage.visitor.client.post("/accounts/logout/")


def disconnect(stage: Stage) -> Any:
    return stage.visitor.client.post("/accounts/3rdparty/", {"account": stage.account})


def come_back(stage: Stage) -> Any:
    """Return from the provider, with the account that signed in there."""
    return stage.visitor.client.get(stage.callback)


def sign_in(stage: Stage) -> Any:
    return stage.visitor.sign_in(stage.providers["corp"])


def log_out_by_back_channel(stage: Stage) -> Any:
    return post(stage.logout_token)


BOTH = ("corp", "other")
DEPARTURES = {
    "sign-out": Departure(sign_out, sign_out, leaves=BOTH),
    "disconnect": Departure(disconnect, disconnect, leaves=("other",), ends=False),
    "other account": Departure(come_back, sign_in, leaves=BOTH, begins=True, person=BOB),
    "same account": Departure(come_back, sign_in, begins=True, after="GET /userinfo"),
    "back channel": Departure(log_out_by_back_channel, log_out_by_back_channel, reads=False),
}


LONG = bool(os.environ.get("FUZZ_EXAMPLES"))
READS = ("GetItem", "Query", "Decrypt", "GET ")
# The others differ from these in what is written, and do so at the writes.
FAULTS_OF_READS = ("unreachable", "truncated", "killed")
MAX_CALLS = 60
SUCCESS = {200, 302}
REFUSED = 400  # as a logout token is that was used
NOT_FOUND = 404
UNREADABLE = "was not revoked: the user's other sessions cannot be read"
EACH_DEPARTURE = pytest.mark.parametrize("name", DEPARTURES)

Log = pytest.LogCaptureFixture


@pytest.fixture
def stage(idp: LogoutProvider, second: LogoutProvider, monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = Stage(idp, second)
    made.open(monkeypatch)
    return made


@pytest.fixture
def log(caplog: Log) -> Log:
    caplog.set_level(logging.DEBUG)
    return caplog


def calls_of(stage: Stage, departure: Departure) -> list[str]:
    """Depart once without a fault, and return the calls that it takes."""
    with stage.set_up(departure.person):
        assert stage.run(departure.act) in SUCCESS
        calls = list(stage.world.wire.calls)
    assert len(calls) < MAX_CALLS
    assert calls.count("POST /revoke") == len(departure.leaves)
    return calls


def strikes(calls: list[str], after: str | None, every: int) -> Iterator[tuple[int, str]]:
    """Yield the calls that are struck, each with the faults that it is struck by.

    ``every`` is 1 for all of them, and 3 for a third at each call, another one at the next.
    """
    first = 0 if after is None else calls.index(after)
    for number, call in list(enumerate(calls))[first:]:
        few = call.startswith(READS) and not LONG
        faults = enumerate(FAULTS_OF_READS if few else FAULTS, start=number)
        yield from ((number, fault) for place, fault in faults if place % every == 0)


@contextmanager
def struck(stage: Stage, departure: Departure, number: int, fault: str) -> Iterator[Outcome]:
    """Depart with a fault at one call, give the response, and heal what was struck."""
    with stage.set_up(departure.person):
        wire = stage.world.wire
        wire.strike(number, FAULTS[fault])
        if fault.startswith("killed"):  # A process that was killed calls nobody any more.
            for later in range(number + 1, MAX_CALLS):
                wire.strike(later, FAULTS["killed"])
        response = stage.run(departure.act)
        call = wire.calls[number]
        stage.begin_anew()
        try:
            yield response
        except AssertionError as failed:
            failed.add_note(f"Struck: call {number}, {call}, {fault}; answered: {response}")
            raise


def check_too_soon(stage: Stage) -> None:
    """No grant was revoked that a session held at that moment, or holds now."""
    for name, held in stage.held.items():
        revoked = stage.revoked_tokens(name)
        assert set(revoked) <= {held}
        assert held not in stage.live() or not revoked
        for live in stage.standing[name]:
            assert held not in live, "a session held it when it was revoked"
    assert stage.grants(stage.bobs_key) == stage.bobs


def check_unseen(stage: Stage, departure: Departure, log: Log) -> None:
    """A grant that no session holds is revoked, or it is logged that it was not."""
    live = stage.live()
    for name, held in stage.held.items():
        if held not in live and not is_succeeded(stage, departure, name):
            assert stage.revoked_tokens(name) or f"A grant of {name} was not revoked" in log.text


def is_succeeded(stage: Stage, departure: Departure, name: str) -> bool:
    """Return True if the account's next grant is there: some providers end it with the old one."""
    return name not in departure.leaves and name in stage.grants(key_of(stage.visitor))


def check_acknowledged(stage: Stage, departure: Departure) -> None:
    """Assert that exactly the expected grants remain after a departure."""
    staying = {name: held for name, held in stage.held.items() if name not in departure.leaves}
    now = stage.grants(key_of(stage.visitor))
    assert stage.stands != departure.ends
    if departure.begins:
        assert now.pop("corp") not in stage.held.values()
        staying.pop("corp", None)
    assert now == ({} if departure.ends and not departure.begins else staying)


def check_failed(stage: Stage, departure: Departure) -> None:
    """Assert that the session has all its grants, unless the request succeeded."""
    before = stage.grants(stage.key)
    if before != stage.held:
        assert stage.stands != departure.ends
        assert not before.keys() & set(departure.leaves)


def check_second_try(stage: Stage, departure: Departure) -> None:
    """A second try ends what is left."""
    left = [name for name in stage.grants(stage.key) if name in departure.leaves]
    stood = stage.stands
    stage.world.clock.advance(DISTURBED_FOR + 1)
    response = stage.run(departure.again)
    already = (response == REFUSED and not stood and not departure.reads) or (
        response == NOT_FOUND and not left  # as an account is that was disconnected
    )
    assert response in SUCCESS or already
    assert not (stage.stands and departure.ends)
    assert not stage.live() & {stage.held[name] for name in departure.leaves}
    assert [name for name in left if stage.revoked_tokens(name)] == left


@pytest.mark.slow
@EACH_DEPARTURE
@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.long), 3])
def test_any_fault_at_any_call_ends_no_grant_early_or_silently(
    stage: Stage, log: Log, name: str, every: int
) -> None:
    departure = DEPARTURES[name]
    tried_again: list[object] = []
    for number, fault in strikes(calls_of(stage, departure), departure.after, every):
        log.clear()
        with struck(stage, departure, number, fault) as response:
            assert (response is Killed) == fault.startswith("killed")
            check_too_soon(stage)
            if departure.reads and response is not Killed:
                check_unseen(stage, departure, log)
            if response in SUCCESS:
                check_acknowledged(stage, departure)
                asked = [name for name in departure.leaves if stage.revoked_tokens(name)]
                assert asked == [*departure.leaves] or UNREADABLE in log.text
            else:
                check_failed(stage, departure)
                if (state := stage.state()) not in tried_again:
                    tried_again.append(state)
                    check_second_try(stage, departure)
                    check_too_soon(stage)
            assert [secret for secret in stage.secrets() if secret in log.text] == []
