"""CloudWatch's alarms on log lines: a pattern finds the lines of its cause only.

Adversaries: the anonymous visitor, the hostile OAuth client and the careless upstream.
"""

import ast
import json
import re
from functools import cache
from operator import eq, ge, lt, ne
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from gateway_site.edge.access_log import LogEntry
from gateway_site.edge.json_log import JSONFormatter, event_of
from gateway_site.rules import problems
from sessions_kms.exceptions import KMSUnavailable, TableUnavailable
from sessions_kms.outages import LOG_INTERVAL, OUTAGES, Outage
from tests import ROOT
from tests.deploy import load_template
from tests.gateway_site.support.gateways import running_gateway
from tests.support.cases import each_case
from tests.support.waiting import wait_until

PACKAGES = ("sessions_kms", "oauth", "gateway_site")
ACCEPT = {"Accept": "application/json, text/event-stream"}
OWN_ERRORS = "OwnErrors"  # the one pattern without words
TOKEN = re.compile(r'\s*(&&|\|\||[(){}]|NOT EXISTS|[<>!]?=|<|>|\$\.\w+|\d+|"[^"]*")')
COMPARISONS = {"<": lt, ">=": ge, "!=": ne, "=": eq}
# Of `sessions_kms.outages`: its lines begin with what cannot be used.
SUBJECTS = ("The session table", "AWS KMS", "The database")


def filters() -> dict[str, str]:
    return {
        name.removesuffix("Lines"): str(each["Properties"]["FilterPattern"])
        for name, each in load_template("alarms.yaml")["Resources"].items()
        if each["Type"] == "AWS::Logs::MetricFilter"
    }


class Pattern:
    """A pattern as CloudWatch evaluates it.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
    """

    def __init__(self, text: str) -> None:
        self._tokens = TOKEN.findall(text)
        assert re.sub(r"\s", "", "".join(self._tokens)) == re.sub(r"\s", "", text)

    def matches(self, line: dict[str, Any]) -> bool:
        self._left = list(self._tokens)
        assert self._left.pop(0) == "{"
        found = self._any(line)
        assert self._left == ["}"]
        return found

    def _any(self, line: dict[str, Any]) -> bool:
        found = self._all(line)
        while self._left[0] == "||":
            del self._left[0]
            found = self._all(line) or found
        return found

    def _all(self, line: dict[str, Any]) -> bool:
        found = self._one(line)
        while self._left[0] == "&&":
            del self._left[0]
            found = self._one(line) and found
        return found

    def _one(self, line: dict[str, Any]) -> bool:
        if (first := self._left.pop(0)) == "(":
            found = self._any(line)
            assert self._left.pop(0) == ")"
            return found
        value = line.get(first.removeprefix("$."))
        if (operator := self._left.pop(0)) == "NOT EXISTS":
            return value is None
        operand = json.loads(self._left.pop(0))
        if isinstance(operand, int):
            return value is not None and bool(COMPARISONS[operator](value, operand))
        glob = ".*".join(map(re.escape, operand.split("*")))
        is_equal = re.fullmatch(glob, value or "", re.DOTALL) is not None
        return is_equal is (operator == "=")


def alarms_of(line: dict[str, Any]) -> list[str]:
    return [name for name, text in filters().items() if Pattern(text).matches(line)]


@cache
def texts() -> list[tuple[str, str]]:
    """Return every text of the packages' code, in parts if it has fields, with its event."""
    found = []
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            nodes = ast.walk(ast.parse(file.read_text("utf-8")))
            found += [
                (n.value, event_of(module.removesuffix(".__init__")))
                for n in nodes
                if isinstance(n, ast.Constant) and isinstance(n.value, str)
            ]
    return found


@each_case(
    ("outage", "error", "alarm"),
    [
        (OUTAGES[TableUnavailable], TableUnavailable(), "Table"),
        (OUTAGES[KMSUnavailable], KMSUnavailable(), "Kms"),
        (problems.database_outage, OperationalError(), "Database"),
    ],
)
def test_lines_of_an_outage_set_off_the_alarm_of_its_cause_only(
    outage: Outage, error: Exception, alarm: str, caplog: pytest.LogCaptureFixture
) -> None:
    outage._is_ongoing = False  # of another test
    outage.refused(error)
    outage._logged_at -= LOG_INTERVAL
    outage.refused(error)
    lines = [json.loads(JSONFormatter().format(record)) for record in caplog.records[-2:]]
    assert [alarms_of(line) for line in lines] == [[alarm], [alarm]]
    assert alarms_of({**lines[0], "event": "gateway"}) == []


def test_errors_of_upstreams_are_no_own_errors() -> None:
    """The pattern of JSON lines says the same as the metric."""
    request = {"event": "request", "level": "INFO", "message": "GET / 503"}
    for own, status, upstream in (
        (True, 500, None),
        (True, 503, 200),
        (False, 503, 500),
        (False, 503, 401),
        (False, 502, 302),
        (False, 504, None),
        (False, 499, None),
    ):
        line = request | {"status": status, "upstream_status": upstream}
        assert alarms_of(line) == [OWN_ERRORS] * own
        entry = LogEntry("a", status=status, upstream_status=upstream)
        assert own == (status >= 500 and not entry.is_upstream_error)


@pytest.mark.slow
def test_errors_of_upstreams_set_off_no_alarm_and_those_of_the_gateway_do(tmp_path: Path) -> None:
    """Adversary: the careless upstream."""
    with running_gateway(tmp_path, variables={"LOG_FORMAT": "json"}) as gateway:

        def read_log(path: str) -> dict[str, Any]:
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

        gateway.canned.responses["/odd"] = b"HTTP/1.1 nonsense\r\n\r\n"
        gateway.canned.responses["/away"] = b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n"
        theirs = {
            "echo/answer?status=503": (503, 503),
            "echo/answer?status=500": (500, 500),
            "dead/x": (502, 502),
            "canned/odd": (502, 502),
            "canned/away": (502, 302),
            "readtools/": (502, 502),
            "echo/": (200, 200),
        }
        for path, expected in theirs.items():
            line = read_log(path)
            assert (line["status"], line["upstream_status"]) == expected, path
            assert alarms_of(line) == []
        with gateway.switch("store/down", "store/up"):
            line = read_log("echo/")
        assert (line["status"], line.get("upstream_status")) == (503, None)
        assert alarms_of(line) == [OWN_ERRORS]


def alternatives(pattern: str) -> list[tuple[str, list[str]]]:
    """Return the event that each alternative requires, "" for any, and the parts of its text."""
    found = re.findall(r'(?:\(\$\.event = "(\w+)"\) && )?\(\$\.message = "(.+?)"\)', pattern)
    return [(event, [part for part in text.split("*") if part]) for event, text in found]


@pytest.mark.slow
def test_each_alternative_finds_a_text_of_the_code() -> None:
    for name, pattern in filters().items():
        assert alternatives(pattern) or name == OWN_ERRORS
        for event, parts in alternatives(pattern):
            if "cannot be used:" in parts[0]:
                continue  # The lines of an outage have their own test.
            assert any(
                all(part in text for part in parts) and event in {"", its_event}
                for text, its_event in texts()
            ), (name, parts)


def test_alarms_watch_the_filters_metrics() -> None:
    resources: dict[str, Any] = load_template("alarms.yaml")["Resources"]
    for name in filters():
        [metric] = resources[f"{name}Lines"]["Properties"]["MetricTransformations"]
        alarm = resources[f"{name}Alarm"]["Properties"]
        assert alarm["MetricName"] == metric["MetricName"]
        assert alarm["Namespace"] == metric["MetricNamespace"]


def test_page_of_operations_lists_the_alarms() -> None:
    page = " ".join((ROOT / "docs/operations.md").read_text("utf-8").split())
    for name, pattern in filters().items():
        parts = [part for _, parts in alternatives(pattern) for part in parts]
        assert any(part.strip(" :") in page for part in parts) or name == OWN_ERRORS, name


def test_each_alarm_has_its_entry_and_its_section() -> None:
    pages = {path.name: path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md")}
    for name, each in load_template("alarms.yaml")["Resources"].items():
        if each["Type"] != "AWS::CloudWatch::Alarm":
            continue
        alarm = each["Properties"]
        for page, section in re.findall(r"docs/([\w-]+\.md), (.+)$", alarm["AlarmDescription"]):
            assert re.search(rf"(?m)^#+ {re.escape(section)}$", pages[page]), name
        if "Dimensions" in alarm:
            assert f"`{alarm['MetricName']}`" in pages["operations.md"], name


def test_no_alarm_counts_what_upstreams_answer() -> None:
    """The load balancer's count of targets' errors has upstreams' own ones."""
    text = (ROOT / "deploy/terraform/alarms.tf").read_text("utf-8")
    alarms = text.partition("aws_cloudwatch_dashboard")[0]
    watched = {
        each["Properties"].get("MetricName")
        for each in load_template("alarms.yaml")["Resources"].values()
    }
    assert "HTTPCode_Target_5XX_Count" not in {*watched, *re.findall(r'metric += "(\w+)"', alarms)}


def test_upstream_that_is_down_notifies_nobody() -> None:
    for name, each in load_template("alarms.yaml")["Resources"].items():
        if each["Type"] == "AWS::CloudWatch::Alarm":
            actions = {"AlarmActions", "OKActions"} & set(each["Properties"])
            assert len(actions) == (0 if name == "UpstreamAlarm" else 2), name
    terraform = (ROOT / "deploy/terraform/alarms.tf").read_text("utf-8")
    assert len(re.findall(r'_actions += each.key == "upstream" \? \[\] : ', terraform)) == 2


@pytest.mark.slow
def test_words_of_callers_set_off_no_alarm(tmp_path: Path) -> None:
    words = [
        part for text in filters().values() for _, parts in alternatives(text) for part in parts
    ]
    with running_gateway(tmp_path, variables={"LOG_FORMAT": "json", "AUDIT_LOG": "1"}) as gateway:
        writer = gateway.writer()
        for text in words:
            host = f"GET /x HTTP/1.1\r\nHost: {text}\r\nConnection: close\r\n\r\n"
            gateway.raw(host.encode())
            for method, name in ((text, None), ("tools/call", text)):
                message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"name": name}}
                for upstream in ("ruled", "pinned"):
                    url = f"{gateway.url}/gateway/{upstream}/"
                    writer.post(url, json=message, headers=ACCEPT, timeout=20)
        wait_until(lambda: words[-1] in gateway.log.read_text("utf-8"), "the last line")
    lines = [json.loads(x) for x in gateway.log.read_text("utf-8").splitlines() if x[:1] == "{"]
    quoting = [each for each in lines if any(text in each["message"] for text in words)]
    assert {each["event"] for each in quoting} == {"audit", "gateway", "rejected"}
    assert [each for each in lines if alarms_of(each)] == []
