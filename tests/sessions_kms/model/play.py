"""Runs browsers, processes and the engine, and compares each action with the model.

`test_engine_model.py` decides what happens; this module knows the expected results.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse

from sessions_kms.exceptions import SessionMoved, StoreUnavailable
from sessions_kms.format.attributes import Item
from sessions_kms.format.item_types import session_id
from sessions_kms.session import sign_ins
from sessions_kms.testing.dynamodb import Handle
from tests.sessions_kms.model.crowd import Crowd
from tests.sessions_kms.model.ledger import Ledger
from tests.sessions_kms.model.model import (
    DEAD,
    INTERRUPTED,
    OK,
    UNAVAILABLE,
    UNKNOWN,
    USER,
    Result,
    Seen,
)
from tests.sessions_kms.model.world import DISTURBED_FOR, Stored
from tests.sessions_kms.support.fakes import State
from tests.sessions_kms.support.wire import FAULTS, Fault, Killed

Change = tuple[str, Any]
BROWSERS = 3


@dataclass(eq=False)
class Visit:
    """One request of a browser, handled by one process."""

    request: HttpRequest
    browser: int
    process: int
    seen: Seen
    over: bool = False

    @property
    def session(self) -> Any:
        return self.request.session


class Play(Ledger):
    """Browsers with their cookies, and the current visits."""

    def __init__(self, period: int, timeout: int, *, every: bool, **of_table: bool) -> None:
        super().__init__(period, timeout, **of_table)
        settings.SESSION_SAVE_EVERY_REQUEST = every
        self.jars: list[str | None] = [None] * BROWSERS
        self.visits: list[Visit] = []
        self.undecided: list[Result] = []

    def arrive(self) -> None:
        """Deliver delayed requests, whose senders got a 503."""
        before = dict(self.live)
        if self.world.wire.arrive():
            self.settle(before, [(told, None) for told in self.undecided])
            self.salts |= {held.salt for held in self.live.values()}  # A request may load these.
        self.undecided.clear()

    def open(self, browser: int, process: int) -> None:
        request = HttpRequest()
        if key := self.jars[browser]:
            request.COOKIES[settings.SESSION_COOKIE_NAME] = key
        self.middleware(HttpResponse()).process_request(request)
        self.visits.append(Visit(request, browser, process, Seen(key)))

    def signed_in(self, visit: Visit, user: str) -> None:
        """Do the same as Django's `login`."""
        if self.loaded(visit) is None or visit.seen.key in self.dead:
            return
        if visit.seen.ours.get(USER) is None:
            self.act(visit, "cycle")
        elif visit.seen.ours[USER] != user:
            self.act(visit, "flush")
        if not visit.over:
            visit.session[USER] = user
            sign_ins._note_sign_in(request=visit.request)
            visit.seen.ours[USER] = user
            visit.seen.modified = visit.seen.signed_in = True

    def end_before_now(self) -> None:
        self.arrive()
        self.moment = int(self.world.clock())
        number = {"N": str(self.moment)}
        self.world.table.items["not-before#django"] = {
            "id": {"S": "not-before#django"}, "version": {"N": "1"}, "notBefore": number,
        }  # fmt: skip
        self.visits = [visit for visit in self.visits if not visit.seen.loaded]
        self.wait(DISTURBED_FOR)

    def wait(self, seconds: int) -> None:
        self.arrive()
        self.world.clock.advance(seconds)
        for key in [key for key in self.live if self.alive(key) is None]:
            del self.live[key]
            self.dead.add(key)

    def go_wrong(self, trouble: str, call: int, process: int) -> None:
        if trouble in FAULTS:
            self.strike(call, FAULTS[trouble])
        elif trouble == "restart":
            self.end_process(process)
        elif trouble == "published keys are lost":
            self.delete_items(lambda name, _: name.startswith("data-key#"))
        elif trouble == "DynamoDB deletes what has expired":
            now = self.world.clock()
            self.delete_items(lambda _, item: int(item.get("ttl", {"N": 1e12})["N"]) < now)
        else:
            self.world.turn(State[trouble])

    def heal(self) -> None:
        """Remove faults that did not occur, and their consequences."""
        self.world.wire.heal()
        self.world.turn(State.ENABLED)
        self.wait(DISTURBED_FOR + 1)

    def strike(self, call: int, fault: Fault) -> None:
        def strike(handle: Handle) -> Any:
            self.world.disturb()
            return fault(handle)

        self.world.wire.strike(call, strike)

    def delete_items(self, unwanted: Callable[[str, Item], bool]) -> None:
        items = self.world.table.items
        for name in [name for name, item in items.items() if unwanted(name, item)]:
            del items[name]

    def changed(self, visit: Visit, change: Change) -> Visit | None:
        """Change a visit's session and the model's view of it; None if the store is unavailable."""
        name, value = change
        seen, session = visit.seen, visit.session
        if name == "clear":
            session.clear()
            seen.ours = {}
            seen.loaded = seen.modified = True
        elif self.loaded(visit) is None:
            return None
        elif name == "append":  # In place, which does not set the modified flag.
            for held in (session.get("a"), seen.ours.get("a")):
                if isinstance(held, list):
                    held.append(value)
        elif name == "_session_expiry":
            session.set_expiry(value)
            self.noted(seen, name, value)
        elif value is None:
            session.pop(name, None)
            self.noted(seen, name, None)
        else:
            session[name] = copy.deepcopy(value)
            self.noted(seen, name, value)
        return visit

    def noted(self, seen: Seen, name: str, value: Any) -> None:
        seen.modified |= value is not None or name in seen.ours
        if value is None:
            seen.ours.pop(name, None)
        else:
            seen.ours[name] = copy.deepcopy(value)

    def middleware(self, response: HttpResponse) -> SessionMiddleware:
        return SessionMiddleware(lambda _: response)

    def visit(self, which: int) -> Visit:
        return self.visits[-1 - which % len(self.visits)]

    def with_cookie(self, browser: int) -> int:
        """Return a browser with a session, if there is one."""
        having = [number for number in range(BROWSERS) if self.jars[number]]
        return having[browser % len(having)] if having else browser

    def loaded(self, visit: Visit) -> Visit | None:
        """Load a visit's session; return None if the store is unavailable."""
        seen = visit.seen
        self.world.wire.holds = True  # The session does not change during the load.
        response = self.told(visit, lambda: visit.session.get("a"))
        self.world.wire.holds = False
        if response != OK:
            self.finish(visit, response)
            return None
        if not seen.loaded:
            found = self.alive(seen.key) if seen.key else None
            seen.loaded = True
            if found is None:
                seen.key = None
            else:
                seen.base, seen.ours = found.content, copy.deepcopy(found.content)
                seen.base_salt = found.salt
        assert dict(visit.session.items()) == seen.ours
        assert visit.session.session_key == seen.key, "a cookie was given up, or kept"
        return visit

    def act(
        self,
        visit: Visit,
        action: str,
        race: tuple[int, Visit, str] | None = None,
        followed: tuple[int, int, Change, str] | None = None,
    ) -> None:
        """Run a visit's action, with another one's action before one of its calls if given.

        Or with a whole request before a call: ``followed`` is the call, and the request's browser,
        change and action.
        """
        if action != "flush" and self.loaded(visit) is None:
            return
        self.arrive()
        before = dict(self.live)
        done: list[tuple[Result, str | None]] = []
        number = -1
        if race is not None:
            call, other, theirs = race

            def other_first(handle: Handle) -> Any:
                self.perform(other, theirs, done)
                return handle()

            number = self.world.wire.strike(call, other_first)
        elif followed is not None:

            def follower_first(handle: Handle) -> Any:
                self.follower(*followed[1:], done)
                return handle()

            number = self.world.wire.strike(followed[0], follower_first)
        self.perform(visit, action, done)
        self.world.wire.spare(number)
        self.settle(before, [each for each in done if each[0].action != "nothing"])
        if race is not None and len(done) == 1 and not race[1].over:
            self.act(*race[1:])  # There were fewer calls, so it runs afterwards.

    def save_together(
        self, visits: list[Visit], troubles: dict[int, Fault], rival: tuple[Visit, str] | None
    ) -> None:
        """Save one session in several requests of one process: the others come while one writes.

        The next writer writes for all waiters. Faults are given by call number; a rival in another
        process acts before the first response.
        """
        if any(self.loaded(visit) is None for visit in visits):
            return
        self.arrive()
        before = dict(self.live)
        seen = [copy.deepcopy(visit.seen) for visit in visits]
        done: list[tuple[Result, str | None]] = []

        def rival_acts() -> None:
            if rival is not None:
                self.perform(*rival, done)

        for call, fault in troubles.items():
            self.strike(call, fault)
        responses = self.save_at_once(visits, rival_acts, troubles.get(0))
        saves = [Result(each, "save", responses[number]) for number, each in enumerate(seen)]
        self.undecided += [told for told in saves if told.outcome in UNKNOWN]
        done += [(told, None) for told in saves]
        self.settle(before, [each for each in done if each[0].action != "nothing"])
        for visit, told in zip(visits, saves, strict=True):
            self.follow(visit, "save", told.outcome)
            if told.outcome != OK:
                self.finish(visit, told.outcome)

    def save_at_once(
        self, visits: list[Visit], meanwhile: Callable[[], None], fault: Fault | None
    ) -> dict[int, str]:
        """Save in one request, and in the others at its first call; return each result."""
        responses: dict[int, str] = {}
        crowd = Crowd(self.world.processes[visits[0].process])

        def save(number: int) -> None:
            responses[number] = self.outcome_of(visits[number].session.save)

        def others_come(handle: Handle) -> Any:
            for number in range(1, len(visits)):
                crowd.send(partial(save, number))
            meanwhile()
            if fault:
                self.world.disturb()
            return fault(handle) if fault else handle()

        call = self.world.wire.strike(0, others_come)
        with self.world.running(visits[0].process):
            save(0)
            self.world.wire.spare(call)
            crowd.wait()
            for late in sorted(set(range(1, len(visits))) - set(responses)):
                save(late)  # The first one had nothing to write.
        return responses

    def follower(
        self, browser: int, change: Change, action: str, done: list[tuple[Result, str | None]]
    ) -> None:
        """Handle a new request in another process."""
        self.open(browser, 1)
        visit = self.visits[-1]
        if self.changed(visit, change):
            self.perform(visit, action, done)

    def perform(self, visit: Visit, action: str, done: list[tuple[Result, str | None]]) -> None:
        """Run an action of the engine, and record its result."""
        seen = copy.deepcopy(visit.seen)
        session, response = visit.session, HttpResponse()
        calls = {
            "save": session.save,
            "cycle": session.cycle_key,
            "flush": session.flush,
            "end": lambda: self.middleware(response).process_response(visit.request, response),
        }
        outcome = self.told(visit, calls[action])
        if outcome == OK and action == "end":
            self.set_cookie(visit, response)
        kind = action
        if action == "end":
            saves = seen.modified or settings.SESSION_SAVE_EVERY_REQUEST
            kind = "save" if saves and (seen.key or seen.ours) else "nothing"
        told = Result(seen, kind, outcome)
        if outcome in UNKNOWN and kind != "nothing":
            self.undecided.append(told)
        done.append((told, self.moved_to(visit, told)))
        self.follow(visit, kind, outcome)
        if action == "end" or outcome != OK:
            self.finish(visit, outcome)

    def told(self, visit: Visit, call: Any) -> str:
        with self.world.running(visit.process):
            return self.outcome_of(call)

    def outcome_of(self, call: Callable[[], object]) -> str:
        try:
            call()
        except (UpdateError, SessionInterrupted):
            return INTERRUPTED
        except SessionMoved:
            return UNAVAILABLE
        except StoreUnavailable:
            assert self.world.disturbed, "unavailable for no reason"
            return UNAVAILABLE
        except Killed:
            return DEAD
        return OK

    def set_cookie(self, visit: Visit, response: HttpResponse) -> None:
        if cookie := response.cookies.get(settings.SESSION_COOKIE_NAME):
            self.jars[visit.browser] = cookie.value or None
            assert cookie.value in ("", visit.session.session_key)

    def follow(self, visit: Visit, kind: str, response: str) -> None:
        """Update the model's view of a visit with what the engine did."""
        seen, session = visit.seen, visit.session
        if response != OK or kind == "nothing":
            return
        if kind == "flush":
            visit.seen = Seen(None, loaded=True, modified=True)
            return
        content = copy.deepcopy(dict(session.items()))
        visit.seen = replace(
            seen,
            key=session.session_key,
            base=content,
            base_salt=session._baseline.salt,
            ours=copy.deepcopy(content),
            modified=seen.modified or kind == "cycle" or session.session_key != seen.key,
            signed_in=session._signed_in,
        )

    def moved_to(self, visit: Visit, told: Result) -> str | None:
        """Return the new key of a session that was created or cycled."""
        key: str | None = visit.session.session_key
        done = told.outcome == OK and told.action != "flush"
        return key if done and key != told.seen.key else None

    def finish(self, visit: Visit, response: str) -> None:
        visit.over = True
        if visit in self.visits:
            self.visits.remove(visit)
        if response == DEAD:
            self.end_process(visit.process)

    def end_process(self, process: int) -> None:
        self.visits = [visit for visit in self.visits if visit.process != process]
        self.world.restart(process)

    def end_many(
        self,
        process: int,
        end: Callable[[], object],
        concerns: Callable[[Stored], bool],
        may_concern: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """End sessions: those that are certainly affected, and others only if they may be."""
        self.arrive()
        possible = {key for key in self.live if may_concern(key)}
        response = self.told(Visit(HttpRequest(), 0, process, Seen(None)), end)
        if response == DEAD:
            self.end_process(process)
        for key, held in list(self.live.items()):
            if not concerns(held) and key not in possible:
                continue
            found = self.alive(key)
            assert response != OK or found is None or not concerns(held), "ended, and still there"
            if found is None:
                del self.live[key]
                self.dead.add(key)

    def has_link(self, key: str, name: str) -> bool:
        """Return True if a name's item exists; a failed save may have left it."""
        item_id = session_id(self.world.config.namespace, key)
        return f"logout#{self.world.config.namespace}#{name}#{item_id}" in self.world.table.items
