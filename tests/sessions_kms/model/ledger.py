"""The model's state of all sessions, compared with the stored sessions.

Takes actions with their results; `model` computes their possible effects.
"""

from dataclasses import replace
from typing import Any

from django.conf import settings

from tests.sessions_kms.model import model
from tests.sessions_kms.model.world import Stored, World

PROCESSES = 2
CANARY = "canary-4f0c"


class Ledger:
    """The ``live`` sessions by key, the ``dead`` ones, and the number of ones with unknown keys."""

    def __init__(self, period: int, timeout: int, **of_table: bool) -> None:
        self.world = World(PROCESSES, data_key_period=period, absolute_timeout=timeout, **of_table)
        self.timeout = timeout
        self.moment = 0  # not-before
        self.live: dict[str, Stored] = {}
        self.dead: set[str] = set()
        self.unknown = 0
        self.salts: set[bytes] = set()  # of all records that were stored between actions

    def alive(self, key: str) -> Stored | None:
        found = self.world.truth(key)
        now = self.world.clock()
        if found is None or found.ends <= now or found.created <= self.moment:
            return None
        return found if found.created + self.timeout > now else None

    def settle(
        self, before: dict[str, Stored], done: list[tuple[model.Result, str | None]]
    ) -> None:
        """Compare the stored sessions with the effects that the model allows, and take them over.

        Each action comes with the new key of the session that it created or cycled.
        """
        for key in {told.seen.key for told, _ in done}:
            held = before.get(key or "")
            self.settle_one(key, held, [each for each in done if each[0].seen.key == key])
        for told, new in done:
            if new is not None:
                found = self.alive(new)
                assert found is not None, "acknowledged, and not there"
                self.live[new] = found
                if len(done) == 1:
                    self.check_times(told, before.get(told.seen.key or ""), found)

    def settle_one(
        self, key: str | None, held: Stored | None, done: list[tuple[model.Result, str | None]]
    ) -> None:
        stands = self.alive(key) if key else None
        told = [each if stands else may_have_been_applied(each) for each, _ in done]
        saw = frozenset(
            number
            for number, each in enumerate(told)
            if each.seen.base is not None and each.seen.base_salt not in self.salts
        )
        there = [self.content_of(new) for _, new in done]
        sure = [each.outcome not in model.UNKNOWN for each, _ in done]
        assert any(
            after == (stands.content if stands else None) and model.agree(sure, moved, there)
            for after, moved in model.in_any_order(told, held, saw)
        ), (told, held, stands, there)
        self.unknown += len(sure) - sum(sure)
        if key is not None and stands is None:
            self.live.pop(key, None)
            self.dead.add(key)
        elif key is not None and stands is not None:
            self.live[key] = stands
            if len(told) == 1 and told[0].outcome == model.OK:
                self.check_times(told[0], held, stands)

    def content_of(self, key: str | None) -> Any:
        found = self.alive(key) if key else None
        return found.content if found else None

    def check_times(self, told: model.Result, held: Stored | None, found: Stored) -> None:
        """Compare the session's start and end with the settings."""
        now = int(self.world.clock())
        created = now if held is None or told.seen.starts_anew else held.created
        idle = int(found.content.get("_session_expiry") or settings.SESSION_COOKIE_AGE or 0)
        ends = min(now + idle, created + self.timeout)
        assert found.created == created
        if held is None or found.salt != held.salt:
            assert found.ends == ends
        else:
            assert abs(found.ends - ends) * 10 <= idle
        assert found.user == found.content.get(model.USER)

    def check(self) -> None:
        """Check the invariants that must hold at any time."""
        self.salts |= {held.salt for held in self.live.values()}
        for key, expected in self.live.items():
            assert self.alive(key) == expected, "lost, or changed by nobody"
        for key in self.dead:
            assert self.alive(key) is None, "resurrected"
        # A late create stores a session whose key nobody got.
        orphans = self.unknown + self.world.wire.delayed
        assert self.world.sessions() <= len(self.live) + len(self.dead) + orphans
        assert CANARY.encode() not in self.world.dump()

    def check_secrecy(self) -> None:
        for key in (*self.live, *self.dead):
            assert key.encode() not in self.world.dump()
            assert not any(key in str(call.context) for call in self.world.kms.calls)


def may_have_been_applied(told: model.Result) -> model.Result:
    """Return a save of an ended session as possibly applied: it was too late, or came before.

    After a lost response, a missing session does not show which.
    """
    return replace(told, outcome=model.UNAVAILABLE) if told.outcome == model.INTERRUPTED else told
