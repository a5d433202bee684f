"""People at a fleet of processes, on a virtual clock, through the real engine."""

import random
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from sessions_kms import services
from sessions_kms.backend import SessionStore
from sessions_kms.conf import Config
from sessions_kms.services import Services
from tests.scale.metering import Counts, MeteredDynamoDB, MeteredKMS
from tests.sessions_kms.support.sessions import save_session
from tests.support.clock import FakeClock

HOUR, DAY = 3_600, 86_400
KEY = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
TOKENS = secrets.token_hex(700)  # what a provider's tokens take: 1.4 KB
SIGN_IN_EVERY = 7  # days


@dataclass(frozen=True)
class Load:
    """What each person does; ``saving`` is the part of requests that save the session.

    The requests are spread over ``seconds``, at random. A seventh of the people begins with a
    sign-in, since a session ends after seven days.
    """

    people: int
    processes: int
    requests: int = 60
    saving: float = 0.05
    seconds: int = DAY


@dataclass
class Called:
    """What a fleet called: DynamoDB, and KMS by operation."""

    table: Counts
    kms: dict[str, int]


class Fleet:
    """Processes that share one table and one key."""

    def __init__(self, load: Load, seed: int = 1) -> None:
        self._load = load
        self._random = random.Random(seed)  # noqa: S311 - a simulation
        self._clock = FakeClock()
        self._table = MeteredDynamoDB()
        self._kms = MeteredKMS()
        self._processes = [self._start() for _ in range(load.processes)]
        self._keys: dict[int, str] = {}

    def run(self) -> Called:
        """Play the load; what happened before it (the first sign-ins) is not counted."""
        start = self._clock.now
        self._sign_in_before(start)
        self._table.counts = Counts()
        self._kms.counts.clear()
        for moment, person, signs_in in self._requests():
            self._clock.now = start + moment
            self._request(person, sign_in=signs_in)
        services.reset()
        return Called(self._table.counts, dict(self._kms.counts))

    def _start(self) -> Services:
        return services.build(
            Config(key_id=KEY, table_name="sessions"),
            clock=self._clock,
            client=self._table,
            kms=self._kms,
            sleep=lambda _: None,
        )

    def _sign_in_before(self, start: float) -> None:
        """Sign everybody in, a seventh of the people on each of the last seven days."""
        for age in reversed(range(SIGN_IN_EVERY)):
            self._clock.now = start - age * DAY - 60
            for person in range(age, self._load.people, SIGN_IN_EVERY):
                self._request(person, sign_in=True)

    def _requests(self) -> list[tuple[float, int, bool]]:
        """Return the requests in their order: the moment, the person, whether it is a sign-in."""
        return sorted(
            (moment, person, number == 0 and person % SIGN_IN_EVERY == SIGN_IN_EVERY - 1)
            for person in range(self._load.people)
            for number, moment in enumerate(sorted(self._moments()))
        )

    def _moments(self) -> Iterator[float]:
        for _ in range(self._load.requests):
            yield self._random.uniform(0, self._load.seconds)

    def _request(self, person: int, *, sign_in: bool) -> None:
        services._services = self._random.choice(self._processes)
        if sign_in:
            self._keys[person] = _sign_in(person, self._keys.get(person))
            return
        session = SessionStore(self._keys[person])
        assert session["_auth_user_id"] == str(person)
        if self._random.random() < self._load.saving:
            session["visits"] = session.get("visits", 0) + 1
            session.save()


def _sign_in(person: int, former: str | None) -> str:
    """Sign a person in as the gateway does: a session of the flow, whose key changes at its end."""
    if former is not None:
        SessionStore(former).flush()
    flow = save_session(flow=secrets.token_hex(100))
    session = SessionStore(flow.session_key)
    del session["flow"]
    session.update({"_auth_user_id": str(person), "tokens": TOKENS, "_about": {"browser": "x"}})
    session.cycle_key()
    session.save()
    assert session.session_key is not None
    return session.session_key
