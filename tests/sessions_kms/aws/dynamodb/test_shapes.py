"""The fields of the operations are those of botocore's model, with known omissions."""

from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest

from sessions_kms.aws.dynamodb import shapes

LEGACY = {
    "AttributesToGet",
    "AttributeUpdates",
    "ConditionalOperator",
    "Expected",
    "KeyConditions",
    "QueryFilter",
}
UNUSED = {"VectorIndexes"}  # the capacity that an index of vectors used; older models have none
NEWER = {"SearchResults"}  # of the search for vectors, which older models have not
TYPES = {
    "string": shapes.Leaf.TEXT,
    "boolean": shapes.Leaf.FLAG,
    "integer": shapes.Leaf.WHOLE,
    "double": shapes.Leaf.NUMBER,
}


@pytest.fixture(scope="module")
def model() -> Any:
    return botocore.session.get_session().get_service_model("dynamodb")


def differences(ours: shapes.Shape, theirs: Any, path: str) -> Iterator[str]:
    """Yield where a shape of ours is not that of the model."""
    if theirs.type_name == "structure":
        assert isinstance(ours, shapes.Structure), path
        for name in theirs.members.keys() ^ ours.members.keys():
            if name not in LEGACY | UNUSED:
                yield f"{path}.{name}"
        for name, member in ours.members.items():
            assert not theirs.members[name].serialization
            yield from differences(member, theirs.members[name], f"{path}.{name}")
    elif theirs.type_name == "list":
        assert isinstance(ours, shapes.ListOf), path
        yield from differences(ours.member, theirs.member, f"{path}[]")
    elif theirs.type_name == "map" and theirs.value.name == "AttributeValue":
        if ours is not shapes.Leaf.ITEM:
            yield path
    elif theirs.type_name == "map":
        assert isinstance(ours, shapes.MapOf), path
        yield from differences(ours.member, theirs.value, f"{path}{{}}")
    elif ours is not TYPES[theirs.type_name]:
        yield path


@pytest.mark.parametrize("operation", shapes.REQUESTS)
def test_operation_has_the_fields_of_the_model(operation: str, model: Any) -> None:
    theirs = model.operation_model(operation)
    assert list(differences(shapes.REQUESTS[operation], theirs.input_shape, operation)) == []
    assert list(differences(shapes.RESPONSES[operation], theirs.output_shape, operation)) == []
    assert theirs.http == {"method": "POST", "requestUri": "/"}


def test_errors_are_those_of_the_operations(model: Any) -> None:
    theirs = {
        shape.error_code: shape
        for operation in shapes.REQUESTS
        for shape in model.operation_model(operation).error_shapes
    }
    assert shapes.ERRORS.keys() == theirs.keys()
    for name, shape in shapes.ERRORS.items():
        assert list(differences(shape, theirs[name], name)) == []


def test_transactions_alone_have_a_token_that_boto_adds(model: Any) -> None:
    tokens = {name: model.operation_model(name).idempotent_members for name in shapes.REQUESTS}
    assert tokens.pop("TransactWriteItems") == ["ClientRequestToken"]
    assert not any(tokens.values())


def test_members_cover_all_operations_that_return_capacity(model: Any) -> None:
    theirs = [model.operation_model(name).output_shape for name in model.operation_names]
    named = {each for shape in theirs if shape for each in shape.members}
    told = [shape.members for shape in theirs if shape and "ConsumedCapacity" in shape.members]
    assert {each for members in told for each in members} - NEWER <= shapes.MEMBERS <= named
