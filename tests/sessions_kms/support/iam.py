"""IAM for the tests: evaluates policies as AWS documents, and enforces them on the engine.

It evaluates what the printed policies use: Allow with Action, Resource and Condition (StringEquals,
ArnEquals); KMS requires both the role's policy and the key's.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from botocore.exceptions import ClientError

from sessions_kms.aws import clients

ACCOUNT = "123456789012"
TRANSACTED = {"Put": "PutItem", "Delete": "DeleteItem", "Update": "UpdateItem"}


@dataclass(frozen=True)
class Request:
    """One authorization request of a call."""

    action: str
    resource: str
    context: Mapping[str, str]


@dataclass
class Enforcement:
    """Enforces a role's policies; ``used`` has the allowed actions, ``denied`` the others."""

    role_arn: str
    policy: dict[str, Any]
    key_policy: dict[str, Any]
    used: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)

    def install(self) -> None:
        """Check the calls of every client that the engine creates from now on."""
        clients.reset()
        clients._session().get_component("event_emitter").register(
            "before-parameter-build.*.*", self._check
        )

    def granted_actions(self) -> set[str]:
        return {
            action for statement in self.policy["Statement"] for action in some(statement["Action"])
        }

    def allows(self, request: Request) -> bool:
        asked = {**request.context, "aws:PrincipalArn": self.role_arn}
        policies = [self.policy]
        if request.action.startswith("kms:"):
            policies.append(self.key_policy)
        return all(does_allow(policy, request, asked) for policy in policies)

    def _check(self, params: dict[str, Any], model: Any, context: Any, **_: Any) -> None:
        for request in requests_of(model, params, context["client_region"]):
            if not self.allows(request):
                self.denied.add(request.action)
                raise ClientError(
                    {"Error": {"Code": "AccessDeniedException", "Message": str(request)}},
                    model.name,
                )
            self.used.add(request.action)


def requests_of(model: Any, params: dict[str, Any], region: str) -> Iterator[Request]:
    """Yield the authorization requests of one call."""
    if model.service_model.service_name == "kms":
        yield from _of_kms(model.name, params)
        return
    if model.name == "TransactWriteItems":
        for item in params["TransactItems"]:
            ((kind, parts),) = item.items()
            yield Request(f"dynamodb:{TRANSACTED[kind]}", _table(parts, region), {})
        return
    yield Request(f"dynamodb:{model.name}", _table(params, region), {})


def _of_kms(name: str, params: dict[str, Any]) -> Iterator[Request]:
    if name == "ReEncrypt":
        source = _context(params.get("SourceEncryptionContext", {}))
        destination = _context(params.get("DestinationEncryptionContext", {}))
        yield Request("kms:ReEncryptFrom", params["SourceKeyId"], source)
        yield Request("kms:ReEncryptTo", params["DestinationKeyId"], destination)
        return
    key = params.get("KeyId", "*")  # CreateKey and CreateAlias have none.
    yield Request(f"kms:{name}", key, _context(params.get("EncryptionContext", {})))


def _context(encryption_context: Mapping[str, str]) -> dict[str, str]:
    return {f"kms:EncryptionContext:{name}": value for name, value in encryption_context.items()}


def _table(params: dict[str, Any], region: str) -> str:
    table = f"arn:aws:dynamodb:{region}:{ACCOUNT}:table/{params['TableName']}"
    return f"{table}/index/{params['IndexName']}" if "IndexName" in params else table


def does_allow(policy: dict[str, Any], request: Request, asked: Mapping[str, str]) -> bool:
    return any(
        statement["Effect"] == "Allow"
        and any(fnmatchcase(request.action, each) for each in some(statement["Action"]))
        and any(fnmatchcase(request.resource, each) for each in some(statement["Resource"]))
        and all(
            asked.get(variable) in [_plain(value) for value in some(values)]
            for test in statement.get("Condition", {}).values()
            for variable, values in test.items()
        )
        for statement in policy["Statement"]
    )


def _plain(value: str) -> str:
    return value.replace("${$}", "$")


def some(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
