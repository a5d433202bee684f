"""The gateway on ECS by Terraform: it refers to what exists, and is what CloudFormation makes."""

import re
from typing import Any

import hcl2
import pytest

from tests.deploy import DEPLOY, container, load_template, properties, read_terraform, variables_of
from tests.sessions_kms.support.deployed import run_and_print


@pytest.fixture(scope="module")
def text() -> str:
    return read_terraform()


def declared_names(text: str, kind: str) -> set[str]:
    return set(re.findall(rf'(?m)^{kind} "(\w+)"', text))


def test_every_reference_names_something(text: str) -> None:
    resources = set(re.findall(r'(?m)^resource "(\w+)" "(\w+)"', text))
    assert set(re.findall(r"(?<![\w.\"])(aws_\w+)\.(\w+)", text)) <= resources
    data = set(re.findall(r'(?m)^data "(\w+)" "(\w+)"', text))
    assert set(re.findall(r"\bdata\.(\w+)\.(\w+)", text)) == data
    assert set(re.findall(r"\bvar\.(\w+)", text)) == declared_names(text, "variable")


def test_locals_are_defined_and_used(text: str) -> None:
    defined: set[str] = set()
    for file in sorted((DEPLOY / "terraform").glob("*.tf")):
        for block in hcl2.loads(file.read_text("utf-8")).get("locals", []):
            defined |= {name for name in block if not name.startswith("__")}
    assert set(re.findall(r"\blocal\.(\w+)", text)) == defined


def test_module_of_the_store_has_what_is_given_and_used(text: str) -> None:
    store = run_and_print("--format", "terraform")
    [module] = re.findall(r'(?ms)^module "sessions" \{(.*?)^\}', text)
    given = set(re.findall(r"(?m)^  (\w+) +=", module)) - {"source"}
    assert given <= declared_names(store, "variable")
    used = set(re.findall(r"module\.sessions\.(\w+)", text))
    assert used == {"key_arn", "table_name", "web_role_arn"}
    assert used <= declared_names(store, "output")
    assert not re.findall(r'resource "aws_(dynamodb|kms)_', text)


def test_tasks_have_the_variables_that_those_of_cloudformation_have(text: str) -> None:
    [block] = re.findall(r"(?s)environment = merge\(var\.environment, \{(.*?)\n  \}\)", text)
    found = dict(re.findall(r"(?m)^    (\w+) += (.+?)\s*$", block))
    other = variables_of("ServiceTask")
    assert set(found) == set(other) - {"OAUTH_GOOGLE_CLIENT_ID"}
    literal = {name: value.strip('"') for name, value in found.items() if value[0] == '"'}
    del literal["PUBLIC_URL"]
    assert literal == {name: other[name] for name in literal}
    assert set(literal) == {"PROXY_SCHEME_HEADER", "DRAIN_SECONDS", "LOG_FORMAT"}


def test_roles_may_do_what_those_of_cloudformation_may(text: str) -> None:
    [role] = re.findall(r'(?ms)^resource "aws_iam_role_policy" "execution" \{(.*?)^\}', text)
    found = {
        sid: re.findall(r'"([\w:]+)"', actions)
        for sid, actions in re.findall(
            r'Sid += "(\w+)".*?Action += (\[.*?\]|".*?")', role, re.DOTALL
        )
    }
    [policy] = properties("ExecutionRole")["Policies"]
    statements: list[dict[str, Any]] = policy["PolicyDocument"]["Statement"]
    other = {
        each["Sid"]: [each["Action"]] if isinstance(each["Action"], str) else list(each["Action"])
        for each in statements
        if "Sid" in each
    }
    assert found == other
    assert "task_role_arn            = module.sessions.web_role_arn" in text
    assert text.count("task_role_arn") == 1


@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        (r"stopTimeout += (\d+)", "StopTimeout"),
        (r"readonlyRootFilesystem += (true)", "ReadonlyRootFilesystem"),
        (r'command += \["CMD", "(.*?)"\]', "HealthCheck"),
    ],
)
def test_container_is_as_in_cloudformation(text: str, pattern: str, key: str) -> None:
    [found] = re.findall(pattern, text)
    other = container("ServiceTask")[key]
    if key == "HealthCheck":
        assert found.split('", "') == other["Command"][1:]
    else:
        assert found == str(other).lower()


def test_log_options_are_those_of_cloudformation(text: str) -> None:
    options = container("ServiceTask")["LogConfiguration"]["Options"]
    for name in ("mode", "max-buffer-size"):
        assert re.search(rf'"{name}" += "{options[name]}"', text)


def test_alarms_are_those_of_cloudformation() -> None:
    [alarms] = hcl2.loads((DEPLOY / "terraform/alarms.tf").read_text("utf-8"))["locals"]
    patterns = {
        plain(each["pattern"]).replace('\\"', '"') for each in entries(alarms["log_alarms"])
    }
    metrics = {plain(each["metric"]) for each in entries(alarms["aws_alarms"])}
    resources = load_template("alarms.yaml")["Resources"].values()
    assert patterns == {
        str(each["Properties"]["FilterPattern"])
        for each in resources
        if each["Type"] == "AWS::Logs::MetricFilter"
    }
    assert metrics == {
        str(each["Properties"]["MetricName"])
        for each in resources
        if each["Type"] == "AWS::CloudWatch::Alarm" and "Dimensions" in each["Properties"]
    }


def entries(block: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for name, each in block.items() if not name.startswith("__")]


def plain(text: str) -> str:
    return text.removeprefix('"').removesuffix('"')
