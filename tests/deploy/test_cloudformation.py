"""The gateway on ECS by CloudFormation: what fits together, and what the tasks may do."""

from __future__ import annotations

from typing import Any

import pytest

from gateway_site import health, variables
from tests import deploy_check
from tests.deploy import (
    FINISHING,
    VALUES,
    container,
    environment_of,
    load_template,
    properties,
    resolve,
    variables_of,
)

TASKS = pytest.mark.parametrize("task", ["ServiceTask", "MigrationTask"])
SECRETS = {"DatabaseUrlSecret", "SecretKeySecret", "ProviderSecret"}


def statements() -> dict[str, dict[str, Any]]:
    """Return what the execution role may do if there is an environment file, by `Sid`."""
    [policy] = properties("ExecutionRole")["Policies"]
    given = [
        each["Fn::If"][1] if "Fn::If" in each else each
        for each in policy["PolicyDocument"]["Statement"]
    ]
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
def test_secrets_are_not_among_the_variables(task: str) -> None:
    secret = {resolve(each["Name"]) for each in container(task)["Secrets"]}
    assert {"DATABASE_URL", "DJANGO_SECRET_KEY"} <= secret
    assert not secret & set(variables_of(task))
    assert {each["ValueFrom"]["Ref"] for each in container(task)["Secrets"]} <= SECRETS


def test_migration_has_no_role_and_the_service_only_that_of_the_store() -> None:
    assert "TaskRoleArn" not in properties("MigrationTask")
    assert properties("ServiceTask")["TaskRoleArn"] == {
        "Fn::GetAtt": ["Store", "Outputs.WebRoleArn"]
    }


def test_execution_role_reads_these_secrets_and_writes_this_log() -> None:
    found = statements()
    assert {each["Ref"] for each in found["Secrets"]["Resource"]} == SECRETS
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
