"""Writes the sections as one Markdown page, with the plots in the same folder."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.bench import plots
from tests.bench.result import Section, Table, Target

PAGE = "README.md"
HOW = """\
All figures are medians of one run of `make bench`, which measured the alternatives in turns.
Compare them only with each other. No figure includes the time of AWS or of the network.
"""

Facts = Iterable[tuple[str, str]]


def write(sections: Iterable[Section], facts: Facts, folder: Path) -> Path:
    """Write page and plots into the folder; return the page."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = [section for section in sections if section.on_page]
    page = folder / PAGE
    lines = ["# Benchmarks", ""]
    for section in shown:
        lines += _pictures(section, folder)
    lines += [f"- {section.headline}" for section in shown if section.headline]
    lines += ["", HOW, f"{'; '.join(f'{name} {value}' for name, value in facts)}.", ""]
    for section in shown:
        lines += _section(section)
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    return page


def summary(sections: Iterable[Section]) -> str:
    """Return the targets, and the sections that are not on the page."""
    found = list(sections)
    lines = list(_targets([target for section in found for target in section.targets]))
    for section in found:
        if not section.on_page:
            lines += _section(section)
    return "\n".join(lines)


def _pictures(section: Section, folder: Path) -> Iterator[str]:
    for plot in section.plots:
        try:
            yield f"![{plot.title}]({plots.draw(plot, folder)})"
        except ImportError:
            yield "(No plot: pygal is not installed.)"
        yield ""


def _section(section: Section) -> Iterator[str]:
    yield f"## {section.title}"
    yield ""
    yield from (f"- {note}" for note in section.notes)
    yield ""
    for table in section.tables:
        yield from _table(table)


def _table(table: Table) -> Iterator[str]:
    yield _line((table.title, *table.columns[1:]))
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
    yield from _table(Table("Targets", ("", "at most", "found", ""), rows))


def _figure(value: float, unit: str) -> str:
    number = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{number} {unit}".strip()
