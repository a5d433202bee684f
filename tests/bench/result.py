"""The result of a section of the benchmarks: tables, plots and targets, as plain data."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """Rows of text with column names. The title is above the first column, which has no name."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Plot:
    """A figure with a bar for each contestant. `name` becomes the file name."""

    name: str
    title: str
    unit: str
    bars: dict[str, float]


@dataclass(frozen=True)
class Target:
    """A limit and the measured value; the target is met at or below the limit."""

    what: str
    limit: float
    found: float
    unit: str = ""

    @property
    def is_met(self) -> bool:
        return self.found <= self.limit


@dataclass
class Section:
    """One part of a run.

    ``headline`` is a sentence for the top of the page. What helps nobody to choose is not on the
    page: ``on_page`` is False.
    """

    title: str
    notes: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    headline: str = ""
    on_page: bool = True
