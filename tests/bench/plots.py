"""SVG plots by pygal, without scripts and external fonts."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from tests.bench.result import Plot

OURS = frozenset({"sessions_kms", "gateway", "simulated", "seal"})
OUR_COLOUR = "#d1495b"
OTHER_COLOURS = (
    "#1b4965",
    "#62b6cb",
    "#8d99ae",
    "#5c946e",
    "#6d597a",
    "#c9ada7",
    "#e9c46a",
    "#a8a8a8",
    "#f4845f",
)


def draw(plot: Plot, folder: Path) -> str:
    """Write the plot's file; return its name. Raises ImportError if pygal is not installed."""
    import pygal
    from pygal.style import Style

    style = Style(
        background="white",
        plot_background="white",
        colors=_colours(plot),
        font_family="sans-serif",
        title_font_size=18,
        label_font_size=13,
        major_label_font_size=13,
        legend_font_size=13,
        value_font_size=11,
    )
    kind: Any = pygal.Line if plot.lines else pygal.HorizontalBar
    chart = kind(
        style=style,
        js=(),  # no tooltips, whose script would be fetched
        title=plot.title,
        x_title=None if plot.lines else plot.unit,
        y_title=plot.unit if plot.lines else None,
        width=860,
        height=_height(plot),
        explicit_size=True,
        legend_at_bottom=True,
        legend_at_bottom_columns=3,
        legend_box_size=12,
        print_values=not plot.lines,
        print_values_position="top",
        formatter=_number,
        include_x_axis=True,
        margin_bottom=30,
        disable_xml_declaration=True,
    )
    # Horizontal bars are drawn from the bottom up.
    step = 1 if plot.lines else -1
    chart.x_labels = plot.labels[::step]
    for name, values in plot.series.items():
        chart.add(name, values[::step])
    chart.add_xml_filter(_without_scripts)
    file = f"{plot.name}.svg"
    (folder / file).write_text(chart.render(is_unicode=True), encoding="utf-8")
    return file


def _without_scripts(root: Element) -> Element:
    """Remove the scripts that pygal writes for tooltips even if they are disabled."""
    for parent in list(root.iter()):
        for script in parent.findall("script"):
            parent.remove(script)
    return root


def _colours(plot: Plot) -> tuple[str, ...]:
    """Return a colour for each series: our own has the same colour in all plots."""
    others = cycle(OTHER_COLOURS)
    return tuple(OUR_COLOUR if name in OURS else next(others) for name in plot.series)


def _height(plot: Plot) -> int:
    bars = len(plot.labels) * len(plot.series)
    return 420 if plot.lines else 250 + 24 * max(bars, 3)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
