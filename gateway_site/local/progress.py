"""What a person sees while the local stack starts: a line a step, and a bar for a long one.

Steps enter, text leaves. No thread draws the bar, since processes are started meanwhile:
whoever waits calls `tick`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

PATIENCE = 3.0  # seconds of a step without a bar


class Steps:
    """The steps of one start."""

    def __init__(
        self,
        say: Callable[[str], object],
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say = say
        self._clock = clock
        self._console = console or Console(stderr=True)
        self._began = clock()
        self._bar: Progress | None = None

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Say what is being done; show on a terminal that it goes on, if it takes long."""
        self._say(what)
        self._began = self._clock()
        try:
            yield
        finally:
            if self._bar is not None:
                self._bar.stop()
                self._bar = None

    def tick(self) -> None:
        """Show that the step still goes on."""
        if self._bar is not None:
            self._bar.refresh()
        elif self._console.is_terminal and self._clock() - self._began > PATIENCE:
            columns = (BarColumn(), TimeElapsedColumn(), TextColumn("Ctrl-C ends it"))
            self._bar = Progress(
                *columns, console=self._console, transient=True, auto_refresh=False
            )
            self._bar.add_task("", total=None)  # nobody knows how long a busy machine takes
            self._bar.start()
