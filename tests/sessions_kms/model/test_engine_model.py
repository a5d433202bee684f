"""The engine compared with a model: browsers and processes in any order, with faults at any call.

An acknowledged session is readable until it ends, and never afterwards; overlapping requests do not
lose each other's changes; an outage signs nobody out. `make fuzz` runs it with FUZZ_EXAMPLES
examples.
"""

import asyncio
import logging
import os
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pytest_django import Settings

from sessions_kms import backend
from sessions_kms.operations.ending import end_linked, end_sessions_of
from sessions_kms.services import services
from tests.sessions_kms.model.ledger import CANARY, PROCESSES
from tests.sessions_kms.model.model import LINKS
from tests.sessions_kms.model.play import BROWSERS, Change, Play, Visit
from tests.sessions_kms.support.wire import FAULTS

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
DAY = 24 * 3600
NAMES = st.sampled_from("ab")
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.integers(0, 9), st.just(CANARY), st.just([]), st.none()
)
USERS = st.sampled_from(("1", "2"))
LINK_NAMES = st.sampled_from(["1" * 64, "2" * 64])
CHANGES = st.one_of(
    st.tuples(NAMES, VALUES),
    st.tuples(NAMES, VALUES),
    st.tuples(NAMES, VALUES),
    st.tuples(st.just("append"), st.integers(0, 9)),
    st.tuples(st.just(LINKS), st.lists(LINK_NAMES, unique=True).map(sorted)),
    st.tuples(st.just("_session_expiry"), st.sampled_from((None, 0, 30, 3600))),
    st.just(("clear", None)),
)
# Often with the same name: a merge in the wrong order would undo the other request's change.
TWO_CHANGES = st.one_of(
    st.just((("a", 7), ("a", 8))), st.just((("a", 7), ("a", None))), st.tuples(CHANGES, CHANGES)
)
SEVERAL = st.lists(CHANGES, min_size=1, max_size=2)
WHICH = st.integers(0, 99)
CALLS = st.sampled_from((0, 0, 0, 0, 1, 1, 2, 3))
PROCESS = st.integers(0, PROCESSES - 1)
BROWSER = st.integers(0, BROWSERS - 1)
ACTIONS = st.sampled_from(("save", "end", "end", "end", "end", "cycle", "flush"))
# A killed process loses all its threads: `ask_in_trouble` covers that.
TOGETHER = tuple(sorted(name for name in FAULTS if not name.startswith("killed")))
TROUBLES = (
    "restart", "published keys are lost", "DynamoDB deletes what has expired",
    "ENABLED", "UNREACHABLE", "REFUSING",
)  # fmt: skip


class Engine(RuleBasedStateMachine):
    """The possible events, in any order."""

    steps = 0

    @initialize(
        period=st.sampled_from((0, 3600, DAY)),
        timeout=st.sampled_from((7 * DAY, DAY)),
        every=st.booleans(),
        returns_old=st.booleans(),
        has_connections=st.booleans(),
    )
    def begin(self, period: int, timeout: int, every: bool, **of_table: bool) -> None:
        self.play = Play(period, timeout, every=every, **of_table)
        for browser in range(BROWSERS):
            self.ask(browser, 0, ("a", []), "end")
            self.ask(browser, 0, ("b", 0), "end")

    # Browsers

    @rule(browser=BROWSER, process=PROCESS)
    def begin_to_ask(self, browser: int, process: int) -> None:
        self.play.open(browser, process)

    @rule(browser=BROWSER, process=PROCESS, change=CHANGES, action=ACTIONS)
    def ask(self, browser: int, process: int, change: Change, action: str) -> None:
        """Send a request from a browser, and handle it in a process."""
        self.play.open(browser, process)
        visit = self.play.visits[-1]
        if self.play.changed(visit, change):
            self.play.act(visit, action)

    @precondition(lambda self: self.play.visits)
    @rule(which=WHICH, change=CHANGES)
    def change(self, which: int, change: Change) -> None:
        self.play.changed(self.play.visit(which), change)

    @precondition(lambda self: self.play.visits)
    @rule(which=WHICH, user=USERS)
    def sign_in(self, which: int, user: str) -> None:
        self.play.signed_in(self.play.visit(which), user)

    @precondition(lambda self: self.play.visits)
    @rule(which=WHICH, action=ACTIONS)
    def do(self, which: int, action: str) -> None:
        self.play.act(self.play.visit(which), action)

    @precondition(lambda self: len(self.play.visits) > 1)
    @rule(which=WHICH, other=WHICH, call=CALLS, actions=st.tuples(ACTIONS, ACTIONS))
    def race(self, which: int, other: int, call: int, actions: tuple[str, str]) -> None:
        """Run a visit's whole action just before a call of another's."""
        one = self.play.visit(which)
        # In another process: in the same one, the thread would wait for itself.
        others = [visit for visit in self.play.visits if visit.process != one.process]
        of_one_session = [visit for visit in others if visit.seen.key == one.seen.key]
        if of_one_session and self.play.loaded(one):
            two = of_one_session[other % len(of_one_session)]
            if self.play.loaded(two) and not one.over:
                self.play.act(one, actions[0], (call, two, actions[1]))

    @rule(browser=BROWSER, changes=st.tuples(SEVERAL, SEVERAL), actions=st.tuples(ACTIONS, ACTIONS))
    def overlap(  # noqa: PLR0917 - hypothesis calls it, by name
        self,
        browser: int,
        changes: tuple[list[Change], list[Change]],
        actions: tuple[str, str],
        call: int = 0,
        trouble: str | None = None,
        after: int = 1,
    ) -> None:
        """Send two concurrent requests from a browser, with an optional fault after the second.

        Or before it: the second comes between the first one's lost call and its next read.
        """
        for process in range(2):
            self.play.open(self.play.with_cookie(browser), process)
        one, two = self.play.visits[-2:]
        if all(self.play.changed(one, change) for change in changes[0]) and all(
            self.play.changed(two, change) for change in changes[1]
        ):
            if trouble:
                self.play.strike(max(0, call + after), FAULTS[trouble])
                call += call + after < 0
            self.play.act(one, actions[0], (call, two, actions[1]))

    @rule(
        browser=BROWSER, changes=st.tuples(SEVERAL, SEVERAL), actions=st.tuples(ACTIONS, ACTIONS),
        call=CALLS, trouble=st.sampled_from(sorted(FAULTS)), after=st.sampled_from((-1, 1)),
    )  # fmt: skip
    def overlap_in_trouble(  # noqa: PLR0917 - hypothesis calls it, by name
        self,
        browser: int,
        changes: tuple[list[Change], list[Change]],
        actions: tuple[str, str],
        call: int,
        trouble: str,
        after: int,
    ) -> None:
        self.overlap(browser, changes, actions, call, trouble, after)

    @rule(
        browser=BROWSER, changes=TWO_CHANGES, actions=st.tuples(ACTIONS, ACTIONS), call=CALLS,
        trouble=st.sampled_from(("lost", "late", "delayed_by_a_call", *sorted(FAULTS))),
    )  # fmt: skip
    def be_followed_in_trouble(
        self,
        browser: int,
        changes: tuple[Change, Change],
        actions: tuple[str, str],
        call: int,
        trouble: str,
    ) -> None:
        """Send a request after a failed call, before the engine reads again."""
        browser = self.play.with_cookie(browser)
        self.play.open(browser, 0)
        visit = self.play.visits[-1]
        if self.play.changed(visit, changes[0]):
            self.play.strike(call, FAULTS[trouble])
            followed = (call + 1, browser, changes[1], actions[1])
            self.play.act(visit, actions[0], followed=followed)

    @rule(
        browser=BROWSER, process=PROCESS, changes=st.lists(SEVERAL, min_size=2, max_size=3),
        troubles=st.dictionaries(CALLS, st.sampled_from(TOGETHER), max_size=2),
        rival=st.none() | st.tuples(CHANGES, ACTIONS),
    )  # fmt: skip
    def save_together(
        self,
        browser: int,
        process: int,
        changes: list[list[Change]],
        troubles: dict[int, str],
        rival: tuple[Change, str] | None,
    ) -> None:
        """Send concurrent requests from a browser, which one process saves with few writes.

        Another process may act meanwhile, and calls may fail.
        """
        browser = self.play.with_cookie(browser)
        found = [self.changed(browser, process, each) for each in changes]
        visits = [visit for visit in found if visit]
        other = self.changed(browser, 1 - process, [rival[0]]) if rival else None
        if visits != found or (rival and not other):
            return
        # The first one is already running when the others come, so it must not need to read.
        if visits[0].seen.key and not visits[0].seen.replaced:
            faults = {call: FAULTS[name] for call, name in troubles.items()}
            acts = (other, rival[1]) if rival and other else None
            self.play.save_together(visits, faults, acts)

    def changed(self, browser: int, process: int, changes: list[Change]) -> Visit | None:
        """Send a request from a browser that changes its session."""
        self.play.open(browser, process)
        visit = self.play.visits[-1]
        return visit if all(self.play.changed(visit, change) for change in changes) else None

    # Operators and failures

    @rule(user=USERS, process=PROCESS)
    def end_all_of_a_user(self, user: str, process: int) -> None:
        self.play.end_many(
            process, lambda: end_sessions_of(services(), user), lambda held: held.user == user
        )

    @rule(name=LINK_NAMES, process=PROCESS)
    def end_by_link(self, name: str, process: int) -> None:
        self.play.end_many(
            process,
            lambda: end_linked(services(), name),
            lambda held: name in held.content.get(LINKS, []),
            lambda key: self.play.has_link(key, name),
        )

    @rule()
    def end_everything_before_now(self) -> None:
        self.play.end_before_now()

    @rule(seconds=st.sampled_from((1, 29, 31, 60, 299, 1000, 3600, 8 * 3600, DAY)))
    def time_passes(self, seconds: int) -> None:
        self.play.wait(seconds)

    @rule(
        trouble=st.sampled_from((*sorted(FAULTS), *TROUBLES)), call=CALLS, lasts=st.booleans(),
        browser=BROWSER, process=PROCESS, change=CHANGES, action=ACTIONS,
    )  # fmt: skip
    def ask_in_trouble(  # noqa: PLR0917 - hypothesis calls it, by name
        self,
        trouble: str,
        call: int,
        lasts: bool,
        browser: int,
        process: int,
        change: Change,
        action: str,
    ) -> None:
        """Send a request from a browser in which something fails."""
        self.play.open(self.play.with_cookie(browser), process)
        visit = self.play.visits[-1]
        if call % 2:  # Otherwise the load is affected as well.
            self.play.changed(visit, change)
        self.play.go_wrong(trouble, call, process)
        if visit in self.play.visits and self.play.changed(visit, change):
            self.play.act(visit, action)
        if not lasts:
            self.play.heal()

    @rule()
    def all_is_well_again(self) -> None:
        self.play.heal()

    # The invariants

    @invariant()
    def promises_hold(self) -> None:
        type(self).steps += 1
        self.play.check()

    def teardown(self) -> None:
        self.play.check_secrecy()


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["thread", "loop"])
def test_engine_keeps_its_promises_in_any_order(
    driver: str,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if driver == "loop":  # async methods; blocking calls run in other threads
        monkeypatch.setattr(backend, "run_sync", asyncio.run)
    settings.SESSION_ENGINE = "sessions_kms.backend"
    settings.SESSION_SAVE_EVERY_REQUEST = False
    caplog.set_level(logging.CRITICAL)
    Engine.steps = 0
    if EXAMPLES:
        profile = hypothesis_settings(
            max_examples=EXAMPLES,
            stateful_step_count=60,
            derandomize=False,
            database=None,
            report_multiple_bugs=False,
        )
    else:
        profile = hypothesis_settings(
            max_examples=40 if driver == "thread" else 5,
            stateful_step_count=30,
            report_multiple_bugs=False,
        )
    run_state_machine_as_test(Engine, settings=profile)
    assert Engine.steps
    if EXAMPLES:
        print(f"\n{Engine.steps:,} steps")  # noqa: T201 - what `make fuzz` is run for
