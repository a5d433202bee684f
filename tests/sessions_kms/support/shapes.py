"""Examples of the parameters of DynamoDB's operations."""

from typing import Any

from sessions_kms.aws.dynamodb.shapes import Leaf, ListOf, MapOf, Shape

ITEM: dict[str, Any] = {
    "id": {"S": 'ü\u2028"\\k\ud800'},
    "none": {"S": ""},
    "data": {"B": bytes(range(256))},
    "empty": {"B": b""},
    "mutable": {"B": bytearray(b"x")},
    "ttl": {"N": "1700000000"},
    "flags": {"L": [{"BOOL": True}, {"NULL": True}, {"M": {"a": {"SS": ["x"]}}}]},
    "sets": {"M": {"n": {"NS": ["1", "2"]}, "b": {"BS": [b"1", b""]}}},
}


def example(shape: Shape) -> Any:
    """Return a value of a shape that has every field."""
    if isinstance(shape, Leaf):
        return {
            Leaf.TEXT: "text",
            Leaf.FLAG: False,
            Leaf.WHOLE: 3,
            Leaf.NUMBER: 1.5,
            Leaf.ITEM: ITEM,
        }[shape]
    if isinstance(shape, ListOf):
        return [example(shape.member)]
    if isinstance(shape, MapOf):
        return {"#a": example(shape.member)}
    return {name: example(member) for name, member in shape.members.items()}
