"""SVG plots by pygal, without scripts and external fonts."""

from pathlib import Path
from xml.etree.ElementTree import Element

from tests.bench.result import Plot

OURS = "sessions_kms"
OUR_COLOUR, OTHER_COLOUR = "#d1495b", "#62b6cb"


def draw(plot: Plot, folder: Path) -> str:
    """Write the plot's file; return its name. Raises ImportError if pygal is not installed."""
    import pygal
    from pygal.style import Style

    style = Style(
        background="white",
        plot_background="white",
        colors=(OTHER_COLOUR,),
        font_family="sans-serif",
        title_font_size=18,
        label_font_size=13,
        major_label_font_size=13,
        value_font_size=12,
    )
    chart = pygal.HorizontalBar(
        style=style,
        js=(),  # no tooltips, whose script would be fetched
        title=f"{plot.title} ({plot.unit})",
        width=860,
        height=120 + 32 * len(plot.bars),
        explicit_size=True,
        show_legend=False,
        print_values=True,
        print_values_position="top",
        formatter=_number,
        disable_xml_declaration=True,
    )
    bars = list(reversed(plot.bars.items()))  # They are drawn from the bottom up.
    chart.x_labels = [name for name, _ in bars]
    chart.add("", [{"value": value, "color": _colour(name)} for name, value in bars])
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


def _colour(name: str) -> str:
    return OUR_COLOUR if name.startswith(OURS) else OTHER_COLOUR


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
