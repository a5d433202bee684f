"""The connections that a person has begun, in their session: each is completed once.

A state is everything that the callback relies on, so that no later response of a server changes
where the code is sent (RFC 9700 section 4.4). It is valid at the callback of its server only, for
the person who began it, for STATE_AGE seconds.
"""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from django.contrib.sessions.backends.base import SessionBase

PREFIX = "oauth_connecting:"  # one session key for each state, so that two tabs do not conflict
STATES_MAX = 10  # of one session
SIZE_MAX = 8 * 1024  # bytes of all of them, serialized
STATE_AGE = 3600  # seconds; signing in at the other server and registering there may take long
CLOCK_SKEW = 60  # seconds between two machines


class StateTooLarge(Exception):
    """One state alone would exceed SIZE_MAX: an address of the server is very long."""


@dataclass(frozen=True, kw_only=True, repr=False)
class PendingConnection:
    """What a connection began with. ``begun_at`` is in epoch seconds.

    ``issuer``, ``token_endpoint`` and ``callback`` are addresses, ``scopes`` what was requested.
    ``states_issuer`` is True if the server announced that it names its issuer in every response
    (RFC 9207). ``pending`` is for the receiver of `flow.authorized` that began the connection: the
    token set is then not stored in this session.
    """

    server: str
    user: str
    issuer: str
    token_endpoint: str
    states_issuer: bool
    client_id: str
    resource: str
    callback: str
    verifier: str
    scopes: tuple[str, ...]
    begun_at: int
    next_url: str | None = None
    pending: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        """Show no secret."""
        return f"PendingConnection(server={self.server!r}, issuer={self.issuer!r})"

    def to_session(self) -> dict[str, Any]:
        """Return the form that the session stores."""
        return {**asdict(self), "scopes": list(self.scopes)}

    @classmethod
    def from_session(cls, data: Mapping[str, Any]) -> "PendingConnection":
        """Parse the result of `to_session`. Raises TypeError for anything else."""
        names = {each.name for each in fields(cls)}
        known = {name: value for name, value in data.items() if name in names}
        return cls(**{**known, "scopes": tuple(known.get("scopes", ()))})


def store_state(session: SessionBase, pending: PendingConnection) -> str:
    """Store a state and return its name; drops the oldest ones. Raises StateTooLarge."""
    __traceback_hide__ = True
    name = secrets.token_urlsafe(32)
    earlier = load_states(session)
    states = {**earlier, name: pending.to_session()}
    by_age = [*sorted(earlier, key=lambda each: int(earlier[each]["begun_at"])), name]
    while len(by_age) > STATES_MAX or _size(session, states) > SIZE_MAX:
        if len(by_age) == 1:
            raise StateTooLarge
        oldest = by_age.pop(0)
        del states[oldest], session[PREFIX + oldest]
    session[PREFIX + name] = states[name]
    return name


def load_states(session: SessionBase) -> dict[str, dict[str, Any]]:
    """Return the stored form of each state, by its name."""
    __traceback_hide__ = True
    keys = [key for key in session.keys() if key.startswith(PREFIX)]  # noqa: SIM118 - a session is no dict
    return {key.removeprefix(PREFIX): session[key] for key in keys}


def drop_state(session: SessionBase, name: str) -> None:
    """Remove a state that was never sent to the server."""
    session.pop(PREFIX + name, None)


def take_state(
    session: SessionBase, name: str, *, server: str, user: str, now: float
) -> PendingConnection | None:
    """Remove a state, and return it if it is valid here and now."""
    __traceback_hide__ = True
    data = session.pop(PREFIX + name, None)
    if data is None:
        return None
    pending = PendingConnection.from_session(data)
    if (pending.server, pending.user) != (server, user):
        return None
    return pending if -CLOCK_SKEW <= now - pending.begun_at < STATE_AGE else None


def _size(session: SessionBase, states: Mapping[str, Any]) -> int:
    __traceback_hide__ = True
    return len(session.serializer().dumps(states))
