"""Prometheus's alarms and the dashboard: their metrics exist, and real faults make them fire."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests import ROOT
from tests.deploy import DEPLOY
from tests.deploy.prometheus import PROMETHEUS, firing_alerts, watching
from tests.gateway_site.support.gateways import prometheus_variables, running_gateway
from tests.support.cases import each_case
from tests.support.processes import free_ports
from tests.support.waiting import wait_until

FOLDER = DEPLOY / "prometheus"
PROMTOOL = shutil.which("promtool")
SUFFIXES = r"(?:_total|_seconds(?:_count|_sum|_bucket)?)"
NAME = re.compile(r"\b(?:sessions_kms|oauth|http|gateway)_[a-z_]+(?=[{\[)])")


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load((FOLDER / "rules.yaml").read_text("utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def documented_metrics() -> set[str]:
    """Return the metrics of the page, as Prometheus spells them without a suffix."""
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    section = page.partition("## Metrics and spans")[2].partition("\n## ")[0]
    rows = re.findall(r"(?m)^\| (`.+?`) \|", section)
    return {name.replace(".", "_") for row in rows for name in re.findall(r"`([\w.]+)`", row)}


def used_metrics(expression: str) -> set[str]:
    without_labels = re.sub(r"by \([^)]*\)", "", expression)
    names = set(NAME.findall(without_labels + ")"))
    assert names, expression
    return {re.sub(f"{SUFFIXES}$", "", name) for name in names}


@each_case("rule", rules(), ids=lambda rule: rule["alert"])
def test_metric_of_an_alarm_is_on_the_page_and_so_is_what_to_do(rule: dict[str, Any]) -> None:
    assert used_metrics(rule["expr"]) <= documented_metrics()
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"(?m)^#+ (.+)$", page)
    }
    assert rule["annotations"]["page"] in anchors


def test_metrics_of_the_dashboard_are_on_the_page() -> None:
    dashboard = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(expressions) == 10
    for expression in expressions:
        assert used_metrics(expression) <= documented_metrics()


@pytest.mark.long
@pytest.mark.skipif(PROMTOOL is None, reason="NO PROMTOOL: install prometheus")
def test_every_alarm_fires_on_its_series_and_none_while_all_is_well() -> None:
    assert PROMTOOL is not None
    tests = FOLDER / "rules_test.yaml"
    command = [PROMTOOL, "test", "rules", str(tests)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tested = yaml.safe_load(tests.read_text("utf-8"))["tests"]
    names = {each["name"].removesuffix(" fires") for each in tested}
    assert names >= {rule["alert"] for rule in rules()}


def test_every_alarm_has_a_fault_that_makes_it_fire() -> None:
    """In `test_alarm_faults`, or below: with the real engine, sign-in and gateway."""
    text = Path(__file__).with_name("test_alarm_faults.py").read_text("utf-8")
    tested = set(re.findall(r'fires\(\s*prometheus,\s*"(\w+)"', text))
    tested |= {"TableErrors", "ServerErrors"}
    assert tested == {rule["alert"] for rule in rules()}


@pytest.mark.long
@pytest.mark.skipif(PROMETHEUS is None, reason="NO PROMETHEUS: install it")
def test_prometheus_scrapes_the_gateway_and_its_alarms_fire_while_the_table_is_down(
    tmp_path: Path,
) -> None:
    [port] = free_ports(1)
    with (
        running_gateway(tmp_path, variables=prometheus_variables(port)) as gateway,
        watching(tmp_path, port) as address,
    ):

        def fires(name: str) -> bool:
            gateway.get("echo/")
            return name in firing_alerts(address)

        gateway.get("echo/")
        up = f"{address}/api/v1/query?query=http_server_request_duration_seconds_count"
        wait_until(lambda: bool(requests.get(up, timeout=30).json()["data"]["result"]), "a scrape")
        assert firing_alerts(address) == set()
        with gateway.switch("store/down", "store/up"):
            for name in ("TableErrors", "ServerErrors"):
                wait_until(lambda name=name: fires(name), f"{name} fires", seconds=60)  # type: ignore[misc]
        wait_until(lambda: not fires("ServerErrors"), "it stops", seconds=90)
