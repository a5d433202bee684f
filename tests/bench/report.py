"""Writes the sections as one Markdown page, with the plots in the same folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.bench import plots
from tests.bench.result import Section, Table, Target

PAGE = "README.md"
HOW = """\
All figures were measured in one run, with the contestants in turns (A B C A B C …), and are given
as ratios to a peer of the same run: absolute figures are valid for this machine only. A ratio is
the median of the rounds, with its quartiles in brackets; p50 and p99 are over all calls. Each call
is timed separately, in wall time and in CPU time of its thread, after a warm-up; Python's garbage
collector runs before each turn and stays enabled. No AWS account was used, so no figure includes
the time of AWS and the network.
"""
WHY = """\
Why some targets are not met:

- **KMS**: each data key is renewed at about 80% of its maximum age, so that no request waits for
  KMS: this takes P·K·1.25 calls instead of the formula's P·K.
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
