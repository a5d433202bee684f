"""What `deploy/` has: templates for ECS, and manifests for Kubernetes."""

import re
from functools import cache
from typing import Any

from tests import ROOT, deploy_check

DEPLOY = ROOT / "deploy"
FINISHING = 25  # what `--timeout-graceful-shutdown` allows after DRAIN_SECONDS
ACCOUNT = "123456789012"
VALUES = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": "eu-west-1",
    "LogGroup.Arn": f"arn:aws:logs:eu-west-1:{ACCOUNT}:log-group:/gateway/gateway:*",
    "Namespace": "gateway",
    "Provider": "GOOGLE",
    "ProviderClientId": "google-client",
    "PublicName": "gateway.example.com",
    "Store.Outputs.KeyArn": f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/11111111-2222-3333-4444",
    "TableName": "gateway-sessions",
    "VpcCidr": "10.0.0.0/16",
    **{
        name: f"arn:aws:secretsmanager:eu-west-1:{ACCOUNT}:secret:{name}"
        for name in ("DatabaseUrlSecret", "SecretKeySecret", "ProviderSecret")
    },
}


@cache
def load_template(name: str) -> dict[str, Any]:
    """Return a CloudFormation template with its short forms expanded."""
    from cfnlint.decode import cfn_yaml  # half a second, which every worker would take

    read: dict[str, Any] = cfn_yaml.load(str(DEPLOY / "cloudformation" / name))
    return read


def read_terraform() -> str:
    """Return all files of the Terraform configuration, without comments."""
    files = sorted((DEPLOY / "terraform").glob("*.tf"))
    return re.sub(r"(?m)(^|\s)#.*$", "", "\n".join(file.read_text("utf-8") for file in files))


def environment_of(given: dict[str, str]) -> dict[str, str]:
    """Return a deployment's variables with secrets of a production that does not exist."""
    secrets = ("DJANGO_SECRET_KEY", "DATABASE_URL", "OAUTH_GOOGLE_CLIENT_SECRET")
    return {name: deploy_check.PRODUCTION[name] for name in secrets} | given


def resolve(value: Any) -> Any:
    """Return a value with its references replaced."""
    match value:
        case {"Ref": name}:
            return VALUES[name]
        case {"Fn::GetAtt": [resource, attribute]}:
            return VALUES[f"{resource}.{attribute}"]
        case {"Fn::Sub": text}:
            return re.sub(r"\$\{([\w.:]+)\}", lambda found: VALUES[found[1]], text)
        case dict():
            return {name: resolve(each) for name, each in value.items()}
        case list():
            return [
                resolve(each)
                for each in value
                if not isinstance(each, dict) or "Fn::If" not in each
            ]
    return value


def properties(name: str) -> dict[str, Any]:
    found: dict[str, Any] = load_template("gateway.yaml")["Resources"][name]["Properties"]
    return found


def container(task: str) -> dict[str, Any]:
    [found] = properties(task)["ContainerDefinitions"]
    return dict(found)


def variables_of(task: str) -> dict[str, str]:
    """Return the variables of a task that are no secrets."""
    return {
        resolve(each["Name"]): resolve(each["Value"]) for each in container(task)["Environment"]
    }
