"""The arithmetic of the benchmarks, and the report."""

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests import ROOT
from tests.bench import bursts, plots, report
from tests.bench.bursts import Turn, turn_of
from tests.bench.content import KB, content
from tests.bench.load import Load
from tests.bench.measuring import Call, Times, alternate, percentile, ratio, ratio_of
from tests.bench.proxies import Proxy
from tests.bench.result import Plot, Section, Table, Target
from tests.bench.sections import proxying
from tests.support.warm_python import run

BENCHMARKS = ROOT / "docs" / "benchmarks"
SECTION = Section(
    "A section",
    ["A note."],
    [Table("A table", ("", "µs"), [("ours", "1")])],
    [Plot("a-plot", "A plot", "µs", {"ours": 1.0})],
    [Target("what is met", 2, 1.5), Target("what is not", 30, 31, "ms")],
    "A headline.",
)
INTERNAL = replace(SECTION, title="Internal", plots=[], targets=[], headline="", on_page=False)


def test_percentiles_are_interpolated() -> None:
    assert percentile([4, 1, 3, 2], 50) == 2.5
    assert percentile([1], 99) == 1
    assert percentile(range(101), 99) == 99


def test_ratio_is_the_median_of_the_rounds_with_its_quartiles() -> None:
    found = ratio(Times([[2.0], [3.0], [8.0]]), Times([[1.0], [1.0], [2.0]]))
    assert (found.median, found.low, found.high) == (3.0, 2.5, 3.5)
    assert str(ratio_of([1, 2])) == "1.50 (1.25 to 1.75)"


def test_contestants_alternate_call_by_call_and_only_the_call_is_timed() -> None:
    turns: list[str] = []

    def prepare(name: str) -> Call:
        turns.append(f"prepare {name}")
        return lambda: turns.append(name)

    found = alternate({name: partial(prepare, name) for name in "ab"}, calls=3)
    assert turns == ["prepare a", "a", "prepare b", "b"] * 3
    assert {name: len(calls) for name, calls in found.items()} == {"a": 3, "b": 3}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no such call on this system")
def test_process_on_one_core_starts_others_there() -> None:
    code = """
import os, subprocess, sys
from tests.bench.measuring import use_one_core
use_one_core()
show = "import os; print(*os.sched_getaffinity(0))"
print(*os.sched_getaffinity(0), subprocess.check_output([sys.executable, "-c", show], text=True))
"""
    result = run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    ours, theirs = result.stdout.split()
    assert ours == theirs


def test_calls_that_waited_too_long_are_told_and_stop_no_run() -> None:
    load = Load(requests=1000, rate=100, p50=1, p99=2, longest=3)
    turns = [Turn(load, 0.1), Turn(replace(load, requests=572, refused=1), 0.1)]
    [note] = proxying._refusals({"busy": turns, "idle": turns[:1]}, 200)
    assert note.startswith("busy, 200 connections: 1 of 1,572 calls waited too long")


def test_unexpected_rejections_stop_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Load(requests=572, rate=100, p50=1, p99=2, longest=3, refused=1)
    monkeypatch.setattr(bursts, "generate", lambda *_, **__: load)
    server = Proxy(pid=os.getpid(), port=1, path="")
    with pytest.raises(RuntimeError, match="1 of 572 were refused"):
        turn_of(server, 16, 1)
    assert turn_of(server, 200, 1, may_refuse=True).load == load


@pytest.mark.parametrize("size", [1, 4, 64, 256])
def test_content_has_its_exact_size(size: int) -> None:
    from django.contrib.sessions.serializers import JSONSerializer

    assert len(JSONSerializer().dumps(content(size * KB))) == size * KB


def test_page_starts_with_plots_and_headlines_and_shows_tables(tmp_path: Path) -> None:
    page = report.write([SECTION, INTERNAL], [("Python", "3")], tmp_path)
    text = page.read_text(encoding="utf-8")
    assert -1 < text.find("- A headline.") < text.find("Python 3.") < text.find("## A section")
    assert "| ours | 1 |" in text
    assert "Internal" not in text


def test_summary_shows_which_targets_are_met_and_what_is_not_on_the_page() -> None:
    text = report.summary([SECTION, INTERNAL])
    assert "| what is met | 2 | 1.5 | met |" in text
    assert "| what is not | 30 ms | 31 ms | **not met** |" in text
    assert "## Internal" in text
    assert "## A section" not in text


def test_plot_has_no_script(tmp_path: Path) -> None:
    pytest.importorskip("pygal")
    file = plots.draw(SECTION.plots[0], tmp_path)
    text = (tmp_path / file).read_text(encoding="utf-8")
    assert text.startswith("<svg")
    assert "<script" not in text


def test_committed_plots_have_no_script() -> None:
    files = list(BENCHMARKS.glob("*.svg"))
    assert files
    assert not [file.name for file in files if "<script" in file.read_text(encoding="utf-8")]
