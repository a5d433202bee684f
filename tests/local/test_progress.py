"""What a person sees of a start: a line a step, and that a long one goes on."""

import io

from rich.console import Console

from gateway_site.local import packages
from gateway_site.local.progress import PATIENCE, Steps
from tests.support.clock import FakeClock


def steps(said: list[str], clock: FakeClock, *, terminal: bool) -> tuple[Steps, io.StringIO]:
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=terminal, width=80)
    return Steps(said.append, console=console, clock=clock), drawn


def test_each_step_is_one_line_said_when_it_begins(clock: FakeClock) -> None:
    said: list[str] = []
    shown, drawn = steps(said, clock, terminal=True)
    for name in ("first", "second"):
        with shown.step(name):
            shown.tick()
            assert said[-1] == name
    assert said == ["first", "second"]
    assert drawn.getvalue() == ""


def test_long_step_shows_a_bar_which_goes_with_it(clock: FakeClock) -> None:
    shown, drawn = steps([], clock, terminal=True)
    with shown.step("long"):
        clock.advance(PATIENCE + 1)
        shown.tick()
        shown.tick()
        assert "Ctrl-C ends it" in drawn.getvalue()
    before = drawn.getvalue()
    with shown.step("short"):
        shown.tick()
    assert drawn.getvalue() == before


def test_nothing_is_drawn_where_there_is_no_terminal(clock: FakeClock) -> None:
    shown, drawn = steps([], clock, terminal=False)
    with shown.step("long"):
        clock.advance(PATIENCE + 1)
        shown.tick()
    assert drawn.getvalue() == ""


LINES = ["Collecting one==1\n", "  Downloading one\n", "Collecting two==2\n", "Installing\n"]


def test_packages_are_counted_as_pip_names_them() -> None:
    moments = iter(range(0, 100, 2))
    drawn: list[str] = []
    said = packages.followed(LINES, 2, drawn.append, clock=lambda: next(moments))
    assert said == LINES
    assert [text.rpartition("] ")[2] for text in drawn[:-1]] == ["1 of 2", "2 of 2", "2 of 2"]
    assert drawn[-1].strip() == ""


def test_quick_or_unwatched_installation_draws_nothing() -> None:
    drawn: list[str] = []
    packages.followed(LINES, 2, drawn.append, clock=lambda: 0.0)
    assert packages.followed(LINES, 2, None, clock=iter(range(0, 100, 2)).__next__) == LINES
    assert drawn == []


def test_bar_is_never_over_full() -> None:
    assert packages.bar(5, 2) == f"[{'#' * packages.WIDTH}] 2 of 2"
    assert packages.bar(0, 0) == f"[{' ' * packages.WIDTH}] 0 of 0"
