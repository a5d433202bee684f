"""No byte of one person's answers reaches another, whatever an upstream does to its connections."""

import http.client
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from tests.gateway_site.support.gateways import ANOTHERS_TOKEN, TOKEN, Gateway

IN_TURN, AT_ONCE, MANY = 3, 10, 200  # rounds
PAUSE = 0.02  # seconds in which an upstream has surely answered what it does not read to its end


@dataclass
class Person:
    """A signed-in user, whose calls are identified by their marks."""

    name: str
    token: str
    port: int
    headers: dict[str, str]
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def call(self, method: str, way: str, *, body: bytes = b"", slowly: bool = False) -> bytes:
        """Return all that came as the response, and as the response's body."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.putrequest(method, f"/gateway/careless/{way}/{self.mark()}")
            for name, value in self.headers.items():
                connection.putheader(name, value)
            if body or method in {"POST", "PUT"}:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
            if slowly:
                connection.send(body[:2])
                time.sleep(PAUSE)
                body = body[2:]
            try:
                if body:
                    connection.send(body)
                response = connection.getresponse()
                return b"%d %s" % (response.status, response.read())
            except (http.client.HTTPException, OSError) as error:
                return getattr(error, "partial", b"")

    def mark(self) -> str:
        return f"{self.name}-{next(self.numbers)}-"

    def plain_call(self) -> tuple[bytes, bytes]:
        """Return what comes, and what should."""
        came = self.call("GET", "plain")
        number = next(self.numbers) - 1  # of that call
        return came, f"200 {self.name}-{number}- by Bearer {self.token}".encode()

    def is_in(self, response: bytes) -> bool:
        return self.token.encode() in response or f"{self.name}-".encode() in response


def plant(by: Person) -> bytes:
    """Return a request that a body smuggles; its response says whose it is."""
    return (
        f"GET /planted/{by.mark()} HTTP/1.1\r\nHost: upstream\r\n"
        f"Authorization: Bearer {by.name}-planted\r\n\r\n"
    ).encode()


@dataclass(frozen=True)
class Attack:
    """A call that leaves something behind on the upstream's connection."""

    method: str
    way: str
    with_request: bool = False
    slowly: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.way}{' slowly' if self.slowly else ''}"

    def by(self, person: Person) -> bytes:
        body = b""
        if self.with_request:
            body = (b"xx" if self.slowly else b"") + plant(person)
        return person.call(self.method, self.way, body=body, slowly=self.slowly)


ATTACKS = [
    *(Attack(method, "unread", with_request=True) for method in ("POST", "PUT", "GET", "DELETE")),
    Attack("POST", "unread", with_request=True, slowly=True),
    Attack("GET", "unread", with_request=True, slowly=True),
    Attack("HEAD", "unread", with_request=True),
    Attack("HEAD", "with-body"),
    Attack("GET", "no-content"),
    Attack("GET", "no-content-of-a-length"),
    Attack("GET", "not-modified"),
    Attack("GET", "interim-before"),
    Attack("GET", "interim-after"),
    Attack("GET", "switching"),
    Attack("GET", "overlong"),
    Attack("GET", "large-and-overlong"),
    Attack("GET", "second"),
    Attack("GET", "late"),
    Attack("GET", "chunks-and-more"),
    Attack("GET", "both-lengths"),
    Attack("GET", "length-twice"),
    Attack("GET", "behind"),
    Attack("GET", "first-who-called"),
]
each_attack = pytest.mark.parametrize("attack", ATTACKS, ids=str)


@pytest.fixture
def attacker(gateway: Gateway) -> Person:
    return person(gateway, "attacker", TOKEN, 0)


@pytest.fixture
def victim(gateway: Gateway) -> Person:
    return person(gateway, "victim", ANOTHERS_TOKEN, -1)


def person(gateway: Gateway, name: str, token: str, number: int) -> Person:
    with gateway.writer(number) as client:
        cookies = "; ".join(f"{key}={value}" for key, value in client.cookies.items())
        wanted = {key: str(value) for key, value in client.headers.items() if key[:2] in "OrX-"}
        return Person(name, token, gateway.port, {"Cookie": cookies, **wanted})


Calling = Callable[["Attack", Person, Person, int], None]


def in_turn(attack: Attack, attacker: Person, victim: Person, rounds: int) -> None:
    wrong = []
    for _ in range(rounds):
        left = attack.by(attacker)
        came, should = victim.plain_call()
        then, _ = attacker.plain_call()
        wrong += [came] if came != should else []
        wrong += [response for response in (left, then) if victim.is_in(response)]
    assert not wrong, f"{len(wrong)} answers in {rounds} rounds, such as {wrong[0][:200]!r}"


def at_once(attack: Attack, attacker: Person, victim: Person, rounds: int) -> None:
    wrong: list[bytes] = []
    ready = threading.Barrier(2, timeout=20)

    def attacking() -> None:
        for _ in range(rounds):
            ready.wait()
            responses = (attack.by(attacker), attacker.plain_call()[0])
            wrong.extend(response for response in responses if victim.is_in(response))

    thread = threading.Thread(target=attacking)
    thread.start()
    for _ in range(rounds):
        ready.wait()
        for _ in range(2):
            came, should = victim.plain_call()
            if came != should:
                wrong.append(came)
    thread.join(60)
    assert not thread.is_alive()
    assert not wrong, f"{len(wrong)} answers in {rounds} rounds, such as {wrong[0][:200]!r}"


@each_attack
def test_responses_reach_their_callers_in_sequence(
    attack: Attack, attacker: Person, victim: Person
) -> None:
    in_turn(attack, attacker, victim, IN_TURN)


@each_attack
def test_responses_reach_their_callers_concurrently(
    attack: Attack, attacker: Person, victim: Person
) -> None:
    at_once(attack, attacker, victim, AT_ONCE)


@pytest.mark.long
@pytest.mark.parametrize("calling", [in_turn, at_once])
@each_attack
def test_responses_reach_their_callers_many_times(
    calling: Calling, attack: Attack, attacker: Person, victim: Person
) -> None:
    calling(attack, attacker, victim, MANY)
