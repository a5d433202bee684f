"""Whose cookies and tokens a process had: what counts, at each edge of the period."""

import pytest

from gateway_site.audit.exposure import find_exposed
from tests.gateway_site.audit.written import START, Machine

HOUR = 3600
FROM, TO = START + 10 * HOUR, START + 12 * HOUR
Event = tuple[float, str, dict[str, object]]


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(tmp_path_factory.mktemp("log") / "audit.jsonl")


def exposed_sessions(machine: Machine, events: list[Event]) -> set[str]:
    process = machine.process("a")
    for at, name, fields in events:
        machine.clock.now = at
        process.write(name, **fields)
    return {each.person for each in find_exposed([machine.path], FROM, TO)}


def opening_events(at: float) -> list[Event]:
    return [(at, "opened", {"person": "7", "session": "abcdefgh", "client": None})]


def call(at: float, seconds: float, name: str = "call", **more: object) -> Event:
    return (at, name, {"person": "7", "request": "r", "duration_ms": seconds * 1000, **more})


STREAM = call(FROM - 5 * HOUR, 0.1, stream=True)


@pytest.mark.parametrize(
    ("events", "counts"),
    [
        pytest.param(opening_events(FROM - HOUR), True, id="an hour before"),
        pytest.param(opening_events(FROM - HOUR - 1), False, id="earlier"),
        pytest.param(opening_events(TO), True, id="at the end"),
        pytest.param(opening_events(TO + 1), False, id="later"),
        pytest.param([call(FROM + 1, 1)], True, id="a call"),
        pytest.param([call(TO + HOUR, 2 * HOUR)], True, id="a call that was open"),
        pytest.param([call(TO + HOUR, 1)], False, id="a call that began later"),
        pytest.param(
            [STREAM, call(FROM - 2 * HOUR, 3 * HOUR, "stream_ended", stream=True)],
            False,
            id="a stream that ended before",
        ),
        pytest.param(
            [STREAM, call(TO + HOUR, 8 * HOUR, "stream_ended", stream=True)],
            True,
            id="a stream around the period",
        ),
        pytest.param(
            [STREAM, (FROM + 1, "session_ended", {"session": "x"})],
            True,
            id="a stream without an end",
        ),
        pytest.param([STREAM], False, id="a stream of a process that was killed long before"),
        pytest.param([(FROM, "signed_in", {"person": "7"})], True, id="a sign-in"),
        pytest.param([(FROM, "opened", {"person": None})], False, id="nobody"),
        pytest.param(
            [(FROM + 1, "call", {"person": "8"}), *opening_events(FROM - 9 * HOUR)],
            "78",
            id="a clock that was set back",
        ),
    ],
)
def test_events_of_the_period_and_an_hour_before_count(
    machine: Machine, events: list[Event], counts: bool | str
) -> None:
    expected = set(counts) if isinstance(counts, str) else {"7"} if counts else set()
    assert exposed_sessions(machine, events) == expected


def test_person_is_listed_with_all_sessions_clients_and_processes(machine: Machine) -> None:
    machine.clock.now = FROM
    first, second = machine.process("a"), machine.process("b")
    first.write("opened", person="7", session="aaaaaaaa", client=None)
    second.write("opened", person="7", session="bbbbbbbb", client="Claude")
    [found] = find_exposed([machine.path], FROM, TO)
    assert (found.sessions, found.clients, found.writers) == (
        {"aaaaaaaa", "bbbbbbbb"},
        {"Claude"},
        {"a", "b"},
    )


def test_stream_of_another_with_the_same_request_id_hides_nobody(machine: Machine) -> None:
    """The id may be the caller's, if a proxy passes it on."""
    one = call(FROM - HOUR / 2, 0.1, stream=True)
    before = call(FROM - 3 * HOUR, 0.1, stream=True)
    other: list[Event] = [
        (at, name, fields | {"person": "8"})
        for at, name, fields in (one, call(FROM, HOUR / 2, "stream_ended", stream=True))
    ]
    running: list[Event] = [(FROM, "session_ended", {"session": "x"})]
    assert exposed_sessions(machine, [before, *other, *running]) == {"7", "8"}


def test_persons_second_stream_with_the_same_request_id_is_open(machine: Machine) -> None:
    streams = [call(FROM - hours * HOUR, 0.1, stream=True) for hours in (5, 4)]
    end = call(FROM - 3 * HOUR, HOUR, "stream_ended", stream=True)
    assert exposed_sessions(
        machine, [*streams, end, (FROM, "session_ended", {"session": "x"})]
    ) == {"7"}
