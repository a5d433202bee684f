"""The model of large sites: what it counts, and that the page has its figures."""

import re

import pytest

from sessions_kms.format.attributes import Item
from tests import ROOT
from tests.scale.fleet import Fleet, Load
from tests.scale.metering import MeteredDynamoDB
from tests.scale.report import Rates, report, site

PEOPLE = 300  # as `python -m tests.scale` has by default
PAGE = (ROOT / "docs/scale.md").read_text(encoding="utf-8")


def rows(text: str) -> dict[str, list[float]]:
    """Return the numbers of each row of the tables in a text, by the row's name."""
    found = re.findall(r"(?m)^\| (.+?) \| ([\d,.]+)(?: \| ([\d,.]+))? \|$", text)
    return {
        name: [float(each.replace(",", "")) for each in values if each] for name, *values in found
    }


def test_each_request_reads_its_session_once() -> None:
    called = Fleet(Load(people=6, processes=1, requests=10, saving=0)).run()  # Nobody signs in.
    assert called.table.by_kind["GetItem of session"] == 60
    assert called.table.calls["PutItem"] == 0
    assert called.table.write_units == 0


def test_sign_in_writes_to_the_index_and_a_save_does_not() -> None:
    saving = Fleet(Load(people=6, processes=1, requests=10, saving=1)).run()
    signing_in = Fleet(Load(people=7, processes=1, requests=10, saving=1)).run()
    assert saving.table.index_units == 0 < signing_in.table.index_units


@pytest.mark.slow
def test_busy_process_calls_kms_by_the_clock_and_not_by_the_request() -> None:
    few, many = (
        Fleet(Load(people=14, processes=1, requests=each, seconds=3600, saving=0)).run()
        for each in (60, 240)
    )
    assert 0 < sum(many.kms.values()) <= 1.5 * sum(few.kms.values())


@pytest.mark.parametrize(("letters", "units"), [(1, 1), (900, 1), (1_000, 2), (3_000, 4)])
def test_units_are_those_that_aws_bills(letters: int, units: int) -> None:
    table = MeteredDynamoDB()
    item: Item = {"id": {"S": "x"}, "text": {"S": "y" * letters}}
    table.put_item(TableName="sessions", Item=item)
    table.get_item(TableName="sessions", Key={"id": {"S": "x"}}, ConsistentRead=True)
    assert (table.counts.write_units, table.counts.read_units) == (units, 1)


@pytest.mark.long
def test_page_has_what_the_model_says() -> None:
    found = rows(report(PEOPLE))
    shown = rows(PAGE)
    assert set(shown) <= set(found)
    assert len(shown) >= 12
    for name, values in shown.items():
        assert values == pytest.approx(found[name], rel=0.02, abs=0.05), name


def test_page_of_costs_has_the_models_figures() -> None:
    page = " ".join((ROOT / "docs/cost.md").read_text(encoding="utf-8").split())
    of_page = rows(PAGE)
    calls, reads, writes = (
        of_page[each][0] for each in ("calls of KMS", "read units", "write units")
    )
    assert f"The model](scale.md) counts {calls:.0f} calls" in page
    assert f"It counts {reads} read and {writes} write units" in page


def test_page_lists_what_a_site_needs() -> None:
    rates = Rates(*[1.0] * 7)
    assert set(site(rates, 100_000)) <= set(rows(PAGE))
