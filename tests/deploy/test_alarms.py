"""CloudWatch's alarms on log lines: each pattern finds a line that the gateway can write."""

import ast
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from gateway_site.rules import problems
from sessions_kms.exceptions import KMSUnavailable, TableUnavailable
from sessions_kms.outages import OUTAGES, Outage
from tests import ROOT
from tests.deploy import load_template
from tests.gateway_site.support.gateways import running_gateway
from tests.support.cases import each_case
from tests.support.waiting import wait_until

PACKAGES = ("sessions_kms", "oauth", "gateway_site")
OWN_ERRORS = "OwnErrors"  # the one pattern that reads members of a line instead of its words


def all_filters() -> dict[str, str]:
    return {
        name.removesuffix("Lines"): str(each["Properties"]["FilterPattern"])
        for name, each in load_template("alarms.yaml")["Resources"].items()
        if each["Type"] == "AWS::Logs::MetricFilter"
    }


def filters() -> dict[str, str]:
    """Return the patterns of words."""
    return {name: each for name, each in all_filters().items() if name != OWN_ERRORS}


@cache
def texts() -> list[str]:
    """Return every text of the packages' code, and those that f-strings and `+` make, in parts."""
    found = []
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            nodes = ast.walk(ast.parse(file.read_text("utf-8")))
            found += [
                n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)
            ]
    return found + [f"{each} cannot be used: requests" for each in SUBJECTS]


# Of `sessions_kms.outages`: its lines begin with what cannot be used.
SUBJECTS = ("The session table", "AWS KMS", "The database")


@each_case(
    ("outage", "error", "alarm"),
    [
        (OUTAGES[TableUnavailable], TableUnavailable(), "Table"),
        (OUTAGES[KMSUnavailable], KMSUnavailable(), "Kms"),
        (problems.database_outage, OperationalError(), "Database"),
    ],
)
def test_line_of_an_outage_sets_off_the_alarm_of_its_cause_only(
    outage: Outage, error: Exception, alarm: str, caplog: pytest.LogCaptureFixture
) -> None:
    outage._is_ongoing = False  # of another test
    outage.refused(error)
    line = caplog.messages[-1]
    assert sum(f"{each} cannot be used: requests" in line for each in SUBJECTS) == 1
    assert [name for name, pattern in filters().items() if matches(pattern, line)] == [alarm]


def is_own_error(line: dict[str, Any]) -> bool:
    """Evaluate the pattern of `OwnErrors`, whose text a test compares."""
    upstream = line.get("upstream_status")
    is_request = line.get("event") == "request" and line["status"] >= 500
    return is_request and (upstream is None or upstream < 500)


def test_pattern_of_own_errors_is_the_one_that_is_evaluated() -> None:
    assert all_filters()[OWN_ERRORS] == (
        '{ ($.event = "request") && ($.status >= 500) && '
        "(($.upstream_status NOT EXISTS) || ($.upstream_status < 500)) }"
    )


@pytest.mark.slow
def test_errors_of_upstreams_set_off_no_alarm_and_those_of_the_gateway_do(tmp_path: Path) -> None:
    """Adversary: the careless upstream."""
    with running_gateway(tmp_path, variables={"LOG_FORMAT": "json"}) as gateway:

        def logged(path: str) -> dict[str, Any]:
            count = gateway.log.read_text("utf-8").count('"request"')
            gateway.get(path)
            lines: list[str] = []

            def is_there() -> bool:
                nonlocal lines
                lines = [x for x in gateway.log.read_text("utf-8").splitlines() if '"request"' in x]
                return len(lines) > count

            wait_until(is_there, "the request has its line")
            found: dict[str, Any] = json.loads(lines[-1])
            return found

        gateway.canned.answers["/odd"] = b"HTTP/1.1 nonsense\r\n\r\n"
        theirs = {
            "echo/answer?status=503": (503, 503),
            "echo/answer?status=500": (500, 500),
            "dead/x": (502, 502),
            "canned/odd": (502, 502),
            "echo/": (200, 200),
        }
        for path, expected in theirs.items():
            line = logged(path)
            assert (line["status"], line["upstream_status"]) == expected, path
            assert not is_own_error(line)
        gateway.control("store/down")
        try:
            line = logged("echo/")
        finally:
            gateway.control("store/up")
        assert (line["status"], line.get("upstream_status")) == (503, None)
        assert is_own_error(line)


def matches(pattern: str, line: str) -> bool:
    """Evaluate a pattern of quoted terms: all of them, or with question marks any of them.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
    """
    terms: list[tuple[str, str]] = re.findall(r'(\??)"(.*?)"(?: |$)', pattern)
    assert "".join(f' {mark}"{term}"' for mark, term in terms)[1:] == pattern
    needed = [term in line for mark, term in terms if not mark]
    any_of = [term in line for mark, term in terms if mark]
    return all(needed) and (any(any_of) or not any_of)


@pytest.mark.slow
def test_pattern_finds_a_text_of_the_code() -> None:
    assert filters()
    for name, pattern in filters().items():
        assert any(matches(pattern, text) for text in texts()), name


@pytest.mark.slow
def test_each_alternative_finds_a_text_of_the_code() -> None:
    for name, pattern in filters().items():
        for term in re.findall(r'"(.*?)"(?: |$)', pattern):
            assert any(term in text for text in texts()), (name, term)


def test_alarms_watch_the_filters_metrics() -> None:
    resources: dict[str, Any] = load_template("alarms.yaml")["Resources"]
    for name in all_filters():
        [metric] = resources[f"{name}Lines"]["Properties"]["MetricTransformations"]
        alarm = resources[f"{name}Alarm"]["Properties"]
        assert alarm["MetricName"] == metric["MetricName"]
        assert alarm["Namespace"] == metric["MetricNamespace"]


def test_page_of_operations_lists_the_alarms() -> None:
    page = " ".join((ROOT / "docs/operations.md").read_text("utf-8").split())
    for name, pattern in filters().items():
        terms = re.findall(r'"(.*?)"(?: |$)', pattern)
        assert any(term.strip(" :") in page for term in terms), name


def test_no_alarm_counts_what_upstreams_answer() -> None:
    """The load balancer's count of targets' errors has upstreams' own ones."""
    text = (ROOT / "deploy/terraform/alarms.tf").read_text("utf-8")
    alarms = text.partition("aws_cloudwatch_dashboard")[0]
    watched = {
        each["Properties"].get("MetricName")
        for each in load_template("alarms.yaml")["Resources"].values()
    }
    assert "HTTPCode_Target_5XX_Count" not in {*watched, *re.findall(r'metric += "(\w+)"', alarms)}
