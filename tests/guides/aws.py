"""`aws SERVICE OPERATION --option value …` as the AWS CLI takes it, through botocore.

What guides use of it: options of the operation, `Key=value,…` or JSON for structures, `--query`,
`--output json|text`, and `aws SERVICE wait WAITER`. It calls what the environment names; stacks and
roles are in `cloudformation.py`.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import jmespath  # type: ignore[import-untyped]
from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.model import Shape

from tests.guides.cloudformation import OPERATIONS


def main(service: str, operation: str, *arguments: str) -> int:
    if (service, operation) in OPERATIONS:
        options = dict(_read_options(arguments))
        query, output = _pop_form(options)
        _print(OPERATIONS[service, operation](options), query, output)
        return 0
    client = boto3.client(service)  # type: ignore[call-overload]
    if operation == "wait":
        waiter = client.get_waiter(arguments[0].replace("-", "_"))
        model, call = _find_operation(client, xform_name(waiter.config.operation)), waiter.wait
    else:
        method = operation.replace("-", "_")
        model, call = _find_operation(client, method), getattr(client, method)
    options = dict(_read_options(arguments))
    query, output = _pop_form(options)
    members = {xform_name(name, "-"): (name, shape) for name, shape in model.members.items()}
    named = {}
    for option, values in options.items():
        name, shape = (
            members[option.removeprefix("no-")] if option not in members else members[option]
        )
        named[name] = not option.startswith("no-") if not values else _read(shape, values)
    try:
        response = call(**named) or {}
    except ClientError as exc:
        sys.stderr.write(f"\n{exc}\n")
        return 254
    if operation.startswith("restore-table"):
        # As AWS does; roto restores the protection, too.
        client.update_table(TableName=named["TargetTableName"], DeletionProtectionEnabled=False)
    response.pop("ResponseMetadata", None)
    _print(response, query, output)
    return 0


def _pop_form(options: dict[str, list[str]]) -> tuple[str, str]:
    return options.pop("query", [""])[0], options.pop("output", ["json"])[0]


def _print(response: Any, query: str, output: str) -> None:
    found = jmespath.search(query, response) if query else response
    if found:
        sys.stdout.write(_write(found, output))


def _find_operation(client: Any, method: str) -> Any:
    name = client.meta.method_to_api_mapping[method]
    return client.meta.service_model.operation_model(name).input_shape


def _read_options(arguments: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    starts = [place for place, each in enumerate(arguments) if each.startswith("--")]
    for start, end in zip(starts, [*starts[1:], len(arguments)], strict=True):
        yield arguments[start][2:], list(arguments[start + 1 : end])


def _read(shape: Shape, values: list[str]) -> Any:
    if shape.type_name == "list":
        member: Any = shape.member  # type: ignore[attr-defined]
        return [_read(member, [each]) for each in values]
    (value,) = values
    if value.startswith("file://"):
        value = Path(value.removeprefix("file://")).read_text(encoding="utf-8")
    if shape.type_name in {"structure", "map"}:
        if value.startswith("{"):
            return json.loads(value)
        pairs = dict(pair.split("=", 1) for pair in value.split(","))
        return {
            name: {"true": True, "false": False}.get(text, text) for name, text in pairs.items()
        }
    return int(value) if shape.type_name in {"integer", "long"} else value


def _write(found: Any, output: str) -> str:
    if output == "json":
        return json.dumps(found, indent=4, default=str) + "\n"
    rows = found if isinstance(found, list) and isinstance(found[0], list) else [found]
    lines = (row if isinstance(row, list) else [row] for row in rows)
    return "".join("\t".join(map(str, cells)) + "\n" for cells in lines)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
