"""Each section runs at the size of a trial, with the results that the report needs.

Two of them run every time, the others in the long tier: the measured code has its own tests, and
these tests only check that the benchmarks still run.
"""

import pytest

from tests.bench.isolation import run_isolated
from tests.bench.peers import BARE, OURS
from tests.bench.proxies import BOUND, CLIENT, FORWARDER, GATEWAY, MCP, RULES
from tests.bench.result import Section
from tests.bench.scale import QUICK
from tests.bench.sections import NAMES
from tests.support.processes import output_of

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]  # minutes on a busy machine


def row(section: Section, name: str, table: int = 0) -> tuple[str, ...]:
    (found,) = [row for row in section.tables[table].rows if row[0] == name]
    return found


def number(text: str) -> float:
    return float(text.split(" ", maxsplit=1)[0].replace(",", ""))


def check_shape(section: Section) -> None:
    assert section.tables
    for table in section.tables:
        assert table.rows, table.title
        assert {len(row) for row in table.rows} == {len(table.columns)}
    for plot in section.plots:
        assert all(value > 0 for value in plot.bars.values()), plot.name


@pytest.mark.long
def test_load_and_save_are_compared_with_the_bare_calls() -> None:
    section = run_isolated("storing", QUICK)
    check_shape(section)
    for table in range(3):
        assert row(section, BARE, table)[1].endswith(" µs")
        assert number(row(section, OURS, table)[1]) > 0
    assert "an encrypted session of 1 KB" in section.headline
    assert OURS in section.plots[0].bars
    assert [target.what for target in section.targets] == [
        f"{verb} of 1 KB, CPU, times boto3's" for verb in ("load", "load and save")
    ]


@pytest.mark.slow
def test_sections_need_no_packages_of_the_tests() -> None:
    """`make bench` has a separate environment."""
    code = f"""
import sys
from importlib import import_module
for name in ("pytest", "hypothesis", "pytest_django", "moto"):
    sys.modules[name] = None
for name in {NAMES!r}:
    import_module(f"tests.bench.sections.{{name}}")
print("all")
"""
    assert output_of(code) == "all"


@pytest.mark.long  # test_contention.py tests the same in the short tier
def test_writers_of_one_session_are_neither_refused_nor_lost() -> None:
    section = run_isolated("contending", QUICK)
    check_shape(section)
    for each in ("5 ms, 1 each", "5 ms, 10 each"):
        assert row(section, each)[5:] == ("0", "0")
    counted = [target for target in section.targets if "latencies" not in target.what]
    assert all(target.is_met for target in counted), counted


@pytest.mark.long
def test_every_site_serves_requests_over_http() -> None:
    section = run_isolated("serving", QUICK)
    check_shape(section)
    assert {"no session", OURS} <= {row[0] for row in section.tables[0].rows}
    assert "An async view" in section.headline


@pytest.mark.long
def test_gateway_is_compared_with_the_bare_forwarder() -> None:
    section = run_isolated("proxying", QUICK)
    check_shape(section)
    for name in (FORWARDER, GATEWAY, CLIENT, BOUND, MCP, RULES):
        assert all(number(cell) > 0 for cell in row(section, name)[1:])
    assert "With 16 concurrent calls" in section.headline


@pytest.mark.long
def test_streams_are_held_open_through_both_proxies() -> None:
    section = run_isolated("streaming", QUICK)
    check_shape(section)
    through = [row[0].partition(" through the ")[2] for row in section.tables[0].rows]
    assert through.count(FORWARDER) == through.count(GATEWAY) == len(QUICK.streams)


@pytest.mark.long
def test_cold_start_is_compared_with_the_other_engines() -> None:
    section = run_isolated("starting", QUICK)
    check_shape(section)
    assert number(row(section, OURS)[1]) > 0


@pytest.mark.long
def test_untrusted_requests_are_tried_and_none_fails() -> None:
    section = run_isolated("stalling", QUICK)
    check_shape(section)
    filled = {row[0] for row in section.tables[0].rows}
    assert {"Accept", "Content-Type", "X-Forwarded-For", "path", "query"} <= filled
    assert not [note for note in section.notes if note.startswith("Some were answered")]
    assert len(section.tables[1].rows) == 7
    stall, wait = section.targets
    assert 0 < stall.found < 1000  # what is quadratic takes seconds
    assert 0 < wait.found < 5000  # if one person can use all threads, it takes longer
