"""The result of a section of the benchmarks: tables, plots and targets, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """Rows of text with column names."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Plot:
    """A figure: bars, or lines over a logarithmic axis. `name` becomes the file name."""

    name: str
    title: str
    unit: str
    labels: list[str]
    series: dict[str, list[float]]
    lines: bool = False


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
    """One part of the report."""

    title: str
    notes: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
