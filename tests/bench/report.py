"""Sections -> one Markdown page with its plots beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.bench import plots
from tests.bench.result import Section, Table, Target

PAGE = "README.md"
HOW = """\
Everything here was measured in one run, the contestants in turns (A B C A B C …), and is told as
a ratio to a peer of the same run: absolute figures are those of this machine alone. A ratio is
the median of the rounds, with its quartiles in brackets; p50 and p99 are of all calls. Each call
is timed alone, in wall time and in CPU time of its thread, after a warm-up; Python's garbage
collector runs before each turn and stays on. No AWS account was used, so what AWS and the network
add is in no figure.
"""
WHY = """\
What stands in the way of those that are not met:

- **KMS**: each data key is renewed ahead of its age, at some 80% of it, so that no request waits
  for KMS: P·K·1.25 where the formula has P·K.
"""

Facts = Iterable[tuple[str, str]]


def write(sections: Iterable[Section], facts: Facts, folder: Path, *, how_much: str) -> Path:
    """Write page and plots into the folder; return the page."""
    folder.mkdir(parents=True, exist_ok=True)
    found = list(sections)
    page = folder / PAGE
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make bench` ({how_much}). `make bench ARGS=--quick` is a trial of seconds.",
        "",
        HOW,
        *_table(Table("Where and with what", ("", ""), list(facts)), "##"),
        *_targets([target for section in found for target in section.targets]),
        WHY,
    ]
    for section in found:
        lines += _section(section, folder)
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    return page


def _section(section: Section, folder: Path) -> Iterator[str]:
    yield f"## {section.title}"
    yield ""
    for note in section.notes:
        yield f"- {note}"
    yield ""
    for plot in section.plots:
        try:
            yield f"![{plot.title}]({plots.draw(plot, folder)})"
        except ImportError:
            yield "(No plot: pygal is not installed.)"
        yield ""
    for table in section.tables:
        yield from _table(table)


def _table(table: Table, heading: str = "###") -> Iterator[str]:
    yield f"{heading} {table.title}"
    yield ""
    yield _line(table.columns)
    yield _line(["---", *("---:" for _ in table.columns[1:])])
    for row in table.rows:
        yield _line(row)
    yield ""


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _targets(targets: list[Target]) -> Iterator[str]:
    rows = [
        (
            target.what,
            _figure(target.limit, target.unit),
            _figure(target.found, target.unit),
            "met" if target.is_met else "**not met**",
        )
        for target in targets
    ]
    yield from _table(Table("Targets: met or not", ("", "at most", "found", ""), rows), "##")


def _figure(value: float, unit: str) -> str:
    number = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{number} {unit}".strip()
