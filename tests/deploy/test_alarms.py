"""CloudWatch's alarms on log lines: each pattern finds a line that the gateway can write."""

import ast
import re
from functools import cache
from typing import Any

import pytest

from tests import ROOT
from tests.deploy import load_template

PACKAGES = ("sessions_kms", "oauth", "gateway_site")


def filters() -> dict[str, str]:
    return {
        name.removesuffix("Lines"): str(each["Properties"]["FilterPattern"])
        for name, each in load_template("alarms.yaml")["Resources"].items()
        if each["Type"] == "AWS::Logs::MetricFilter"
    }


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
    return found


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
    for name in filters():
        [metric] = resources[f"{name}Lines"]["Properties"]["MetricTransformations"]
        alarm = resources[f"{name}Alarm"]["Properties"]
        assert alarm["MetricName"] == metric["MetricName"]
        assert alarm["Namespace"] == metric["MetricNamespace"]


def test_page_of_operations_lists_the_alarms() -> None:
    page = " ".join((ROOT / "docs/operations.md").read_text("utf-8").split())
    for name, pattern in filters().items():
        terms = re.findall(r'"(.*?)"(?: |$)', pattern)
        assert any(term.strip(" :") in page for term in terms), name
