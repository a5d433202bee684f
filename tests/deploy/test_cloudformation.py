"""The gateway on ECS by CloudFormation: what fits together, and what the tasks may do."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway_site import variables
from gateway_site.health import middleware as health
from tests import ROOT, deploy_check
from tests.deploy import (
    ACCOUNT,
    DEPLOY,
    FINISHING,
    VALUES,
    container,
    environment_of,
    load_template,
    properties,
    read_terraform,
    resolve,
    variables_of,
)
from tests.sessions_kms.support.deployed import template
from tests.sessions_kms.support.iam import Request, does_allow, some

TASKS = pytest.mark.parametrize("task", ["ServiceTask", "MigrationTask"])
FALLBACKS = "SecretKeyFallbacksSecret"
SECRETS = {"DatabaseUrlSecret", "SecretKeySecret", "ProviderSecret", FALLBACKS}


def if_chosen(value: dict[str, Any]) -> dict[str, Any]:
    """Return what a value is if its parameter is given."""
    found: dict[str, Any] = value["Fn::If"][1] if "Fn::If" in value else value
    return found


def statements() -> dict[str, dict[str, Any]]:
    """Return what the execution role may do if there is an environment file, by `Sid`."""
    [policy] = properties("ExecutionRole")["Policies"]
    given = [if_chosen(each) for each in policy["PolicyDocument"]["Statement"]]
    assert {each["Effect"] for each in given} == {"Allow"}
    return {each["Sid"]: each for each in given}


@TASKS
def test_every_variable_is_one_of_the_gateway(task: str) -> None:
    assert list(variables.find_unknown(variables_of(task))) == []


@pytest.mark.long
def test_settings_accept_the_variables_of_the_service() -> None:
    done = deploy_check.run(
        environment_of(variables_of("ServiceTask")) | {"SIGN_IN_ALLOWED_DOMAINS": "example.com"}
    )
    assert done.returncode == 0, done.stderr


def test_task_is_killed_after_it_has_drained_and_finished() -> None:
    draining = int(variables_of("ServiceTask")["DRAIN_SECONDS"])
    assert container("ServiceTask")["StopTimeout"] > draining + FINISHING
    target = properties("Targets")
    assert target["HealthCheckPath"] == health.READINESS
    noticed = target["HealthCheckIntervalSeconds"] * target["UnhealthyThresholdCount"]
    assert draining > noticed


@TASKS
def test_task_cannot_write_and_has_no_capability(task: str) -> None:
    found = container(task)
    assert found["ReadonlyRootFilesystem"] is True
    assert found["LinuxParameters"] == {"Capabilities": {"Drop": ["ALL"]}}
    assert {each["ContainerPath"] for each in found["MountPoints"]} == {"/tmp"}  # noqa: S108


@TASKS
def test_log_that_cannot_be_delivered_does_not_block_the_task(task: str) -> None:
    options = container(task)["LogConfiguration"]["Options"]
    assert (options["mode"], options["max-buffer-size"]) == ("non-blocking", "25m")


@TASKS
def test_secrets_are_not_among_the_variables(task: str) -> None:
    given = [if_chosen(each) for each in container(task)["Secrets"]]
    secret = {resolve(each["Name"]) for each in given}
    assert {"DATABASE_URL", "DJANGO_SECRET_KEY"} <= secret
    assert ("DJANGO_SECRET_KEY_FALLBACKS" in secret) is (task == "ServiceTask")
    assert not secret & set(variables_of(task))
    assert {each["ValueFrom"]["Ref"] for each in given} <= SECRETS


def test_migration_can_run_before_any_task_must_be_ready() -> None:
    assert load_template("gateway.yaml")["Parameters"]["Tasks"]["MinValue"] == 0
    image = {"Fn::If": ["HasMigrationImage", {"Ref": "MigrationImage"}, {"Ref": "Image"}]}
    assert container("MigrationTask")["Image"] == image
    assert container("ServiceTask")["Image"] == {"Ref": "Image"}


def test_only_the_account_and_what_tells_of_alarms_may_publish_to_the_topic() -> None:
    resources = load_template("alarms.yaml")["Resources"]
    statements = resources["AlarmTopicPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    [policy] = re.findall(r'(?ms)^resource "aws_sns_topic_policy" (.*?)^\}', read_terraform())
    terraform = dict(re.findall(r'(?s)Sid += "(\w+)".*?Principal += \{ \w+ += "(.*?)" \}', policy))
    services = {"Alarms": "cloudwatch.amazonaws.com", "KeyChanges": "events.amazonaws.com"}
    for each in statements:
        name, [principal] = each["Sid"], each["Principal"].values()
        if name == "Account":
            root = "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"
            assert principal == {"Fn::Sub": root}
            assert re.sub(r"\$\{[\w.]*\.(\w+)\}", r"<\1>", terraform.pop(name)) == (
                "arn:<partition>:iam::<account_id>:root"
            )
        else:
            assert (principal, terraform.pop(name)) == (services[name], services.pop(name))
    assert (services, terraform) == ({}, {})
    assert policy.count('StringEquals = { "aws:SourceAccount"') == 1
    assert [each.get("Condition") for each in statements] == [
        None,
        {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}},
        None,
    ]


def test_migration_has_no_role_and_the_service_only_that_of_the_store() -> None:
    assert "TaskRoleArn" not in properties("MigrationTask")
    assert properties("ServiceTask")["TaskRoleArn"] == {
        "Fn::GetAtt": ["Store", "Outputs.WebRoleArn"]
    }


def test_execution_role_reads_these_secrets_and_writes_this_log() -> None:
    found = statements()
    assert {if_chosen(each)["Ref"] for each in found["Secrets"]["Resource"]} == SECRETS
    assert resolve(found["Logs"]["Resource"]) == VALUES["LogGroup.Arn"]
    assert [sid for sid, each in found.items() if each["Resource"] == "*"] == ["Registry"]


def test_execution_role_may_read_the_environment_file_and_find_its_bucket() -> None:
    # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html
    found = statements()
    assert found["EnvironmentFile"]["Action"] == "s3:GetObject"
    assert found["EnvironmentFile"]["Resource"] == {"Ref": "EnvironmentFile"}
    assert found["EnvironmentBucket"]["Action"] == "s3:GetBucketLocation"
    bucket = {"Fn::Select": [0, {"Fn::Split": ["/", {"Ref": "EnvironmentFile"}]}]}
    assert found["EnvironmentBucket"]["Resource"] == bucket


def test_gateway_takes_requests_from_the_load_balancer_only() -> None:
    [rule] = properties("GatewayGroup")["SecurityGroupIngress"]
    assert rule["SourceSecurityGroupId"] == {"Ref": "BalancerGroup"}
    network = properties("Service")["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["AssignPublicIp"] == "DISABLED"
    assert network["SecurityGroups"] == [{"Ref": "GatewayGroup"}]


def test_store_and_log_outlive_the_stack() -> None:
    resources = load_template("gateway.yaml")["Resources"]
    assert {resources[name]["DeletionPolicy"] for name in ("Store", "LogGroup")} == {"Retain"}


@pytest.mark.long
def test_linter_finds_nothing() -> None:
    linter = Path(sys.executable).with_name("cfn-lint")
    files = sorted((DEPLOY / "cloudformation").glob("*.yaml"))
    # W3002: the nested templates are local files until `package` uploads them.
    options = ("--regions", "eu-west-1", "--ignore-checks", "W3002", "--format", "parseable")
    command: list[str | Path] = [linter, *options, "--template", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(("stack", "nested"), [("Store", None), ("Alarms", "alarms.yaml")])
def test_nested_stack_has_the_parameters_that_it_gets(stack: str, nested: str | None) -> None:
    parameters = (load_template(nested) if nested else template())["Parameters"]
    given = set(properties(stack)["Parameters"])
    required = {name for name, each in parameters.items() if "Default" not in each}
    assert required <= given <= set(parameters)


def test_store_has_the_outputs_that_are_used() -> None:
    text = (DEPLOY / "cloudformation/gateway.yaml").read_text("utf-8")
    used = set(re.findall(r"Store\.Outputs\.(\w+)", text))
    assert used == {"KeyArn", "WebRoleArn"}
    assert used <= set(template()["Outputs"])


def test_there_is_no_second_table_or_key() -> None:
    for name in ("gateway.yaml", "alarms.yaml"):
        kinds = {each["Type"] for each in load_template(name)["Resources"].values()}
        assert not {kind for kind in kinds if kind.startswith(("AWS::DynamoDB", "AWS::KMS"))}


def test_execution_role_can_do_nothing_else() -> None:
    [policy] = properties("ExecutionRole")["Policies"]
    document = resolve(policy["PolicyDocument"])
    secret, log = VALUES["SecretKeySecret"], VALUES["LogGroup.Arn"].removesuffix(":*")
    for action, resource, is_allowed in (
        ("secretsmanager:GetSecretValue", secret, True),
        ("logs:PutLogEvents", f"{log}:log-stream:serve/gateway/1", True),
        ("secretsmanager:GetSecretValue", f"{secret}Other", False),
        ("secretsmanager:PutSecretValue", secret, False),
        ("logs:PutLogEvents", f"{log}-other:log-stream:1", False),
        ("dynamodb:GetItem", f"arn:aws:dynamodb:eu-west-1:{ACCOUNT}:table/gateway-sessions", False),
        ("kms:Decrypt", VALUES["Store.Outputs.KeyArn"], False),
    ):
        assert does_allow(document, Request(action, resource, {}), {}) is is_allowed, action


@pytest.mark.parametrize("endpoint", ["DynamoDBEndpoint", "KmsEndpoint"])
def test_endpoint_lets_the_web_role_through_and_no_other_account(endpoint: str) -> None:
    document = resolve(properties(endpoint)["PolicyDocument"])
    service = properties(endpoint)["ServiceName"]["Fn::Sub"].rpartition(".")[2]
    role = template()["Resources"]["WebRole"]["Properties"]["Policies"][0]["PolicyDocument"]
    actions = [
        action
        for statement in role["Statement"]
        for action in some(statement["Action"])
        if action.startswith(f"{service}:")
    ]
    assert actions
    for action in actions:
        request = Request(action, "arn:aws:any", {})
        assert does_allow(document, request, {"aws:PrincipalAccount": ACCOUNT})
        assert not does_allow(document, request, {"aws:PrincipalAccount": "999999999999"})


def test_image_declares_the_volume_so_that_its_user_may_write_there() -> None:
    volumes = re.findall(r"(?m)^VOLUME (\S+)$", (ROOT / "Dockerfile").read_text("utf-8"))
    mounted = {each["ContainerPath"] for each in container("ServiceTask")["MountPoints"]}
    assert mounted <= set(volumes)


def test_dashboard_is_json_and_names_what_exists() -> None:
    text, extra = properties("Dashboard")["DashboardBody"]["Fn::Sub"]
    parts = load_template("gateway.yaml")
    names = set(parts["Resources"]) | set(parts["Parameters"]) | set(extra)
    used = {found.partition(".")[0] for found in re.findall(r"\$\{(\w[\w.]*)\}", text)}
    assert used <= names
    widgets = json.loads(re.sub(r"\$\{[\w.:]+\}", "x", text))["widgets"]
    assert {each["type"] for each in widgets} == {"metric", "log"}
