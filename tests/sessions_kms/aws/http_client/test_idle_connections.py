"""Connections wait so long and no longer, the freshest is taken first, and the odd are closed."""

import select
import socket
from collections import deque

import pytest

from sessions_kms.aws.http_client import connections
from sessions_kms.aws.http_client.connections import AGE, IDLE, IdleConnections, expiry_of_new
from tests.support.clock import FakeClock

NOW = 1_800_000_000.0


class Connection(connections.Connection):
    """Notes whether it was closed."""

    def __init__(self, expires: float = NOW + AGE) -> None:
        self.expires = expires
        self.quiet = True
        self.closed = False

    def is_reusable(self) -> bool:
        return self.quiet and not self.closed

    def close(self) -> None:
        self.closed = True


def keep_connections(
    clock: FakeClock, count: int
) -> tuple[IdleConnections[Connection], list[Connection]]:
    kept, made = IdleConnections[Connection](clock), [Connection() for _ in range(count)]
    for each in made:
        kept.put(each)
    return kept, made


def test_freshest_is_taken_first(clock: FakeClock) -> None:
    kept, made = keep_connections(clock, 3)
    assert [kept.take() for _ in range(4)] == [made[2], made[1], made[0], None]
    assert not any(each.closed for each in made)


def test_one_that_waited_too_long_is_closed_and_not_taken(clock: FakeClock) -> None:
    kept, made = keep_connections(clock, 2)
    clock.advance(IDLE)
    assert kept.take() is None
    assert all(each.closed for each in made)


def test_connection_that_another_thread_takes_at_once_is_no_error(clock: FakeClock) -> None:
    kept, taken = IdleConnections[Connection](clock), Connection()

    class Taken(deque[tuple[float, Connection]]):
        def append(self, entry: tuple[float, Connection], /) -> None:
            assert entry[1] is taken

    kept._idle = Taken()
    kept.put(taken)
    assert not taken.closed


def test_too_old_connection_is_closed_and_not_used(clock: FakeClock) -> None:
    kept, [young] = keep_connections(clock, 1)
    old = Connection(expires=NOW + 1)
    kept.put(old)
    clock.advance(1)
    assert kept.take() is young
    assert (old.closed, young.closed) == (True, False)


def test_connection_with_pending_data_is_closed_and_not_used(clock: FakeClock) -> None:
    kept, made = keep_connections(clock, 3)
    made[2].quiet = made[1].quiet = False
    assert kept.take() is made[0]
    assert [each.closed for each in made] == [False, True, True]


def test_unneeded_connections_are_closed_while_one_is_used(clock: FakeClock) -> None:
    kept, made = keep_connections(clock, 4)
    for _ in range(3):
        taken = kept.take()
        assert taken is made[3]
        clock.advance(IDLE / 2)
        kept.put(taken)
    assert sum(each.closed for each in made) == 2  # one at each time from the moment it was due
    taken = kept.take()
    assert taken is not None
    kept.put(taken)
    assert [each.closed for each in made] == [True, True, True, False]


def test_ages_of_those_made_at_once_differ() -> None:
    ends = {expiry_of_new(NOW) for _ in range(100)}
    assert len(ends) > 50
    assert all(AGE / 2 < end - NOW <= AGE for end in ends)


def test_another_one_is_taken_than_those_and_they_stay_in_their_order(clock: FakeClock) -> None:
    kept, made = keep_connections(clock, 4)
    assert kept.take((made[3], made[2])) is made[1]
    assert kept.take(made) is None
    assert [kept.take() for _ in range(4)] == [made[3], made[2], made[0], None]
    assert not any(each.closed for each in made)


def test_one_that_is_removed_is_closed_only_if_it_is_idle(clock: FakeClock) -> None:
    kept, made = keep_connections(clock, 2)
    used = kept.take()
    assert used is made[1]
    for each in made:
        kept.remove(each)
    assert [each.closed for each in made] == [True, False]
    assert kept.all() == []


def test_all_are_closed(clock: FakeClock) -> None:
    kept, made = keep_connections(clock, 3)
    kept.close()
    assert all(each.closed for each in made)
    assert kept.all() == []


@pytest.mark.parametrize("has_poll", [True, False])
def test_socket_that_can_be_read_or_has_ended_speaks(
    monkeypatch: pytest.MonkeyPatch, has_poll: bool
) -> None:
    if not has_poll:
        monkeypatch.delattr(select, "poll")
    ours, other = socket.socketpair()
    with ours, other:
        speaks = connections.poll_readable(ours.fileno())
        assert not speaks(0)
        other.send(b"a")
        assert speaks(0)
        ours.recv(1)
        assert not speaks(0)
        other.close()
        assert speaks(0)
