"""The fields of the hot operations, and their types: the part of DynamoDB's model that is used.

Data alone. What DynamoDB calls legacy (`Expected`, `KeyConditions`, …) is left out.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Operations_Amazon_DynamoDB.html
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

# By boto's names.
OPERATIONS: Final = {
    "delete_item": "DeleteItem",
    "get_item": "GetItem",
    "put_item": "PutItem",
    "query": "Query",
    "transact_write_items": "TransactWriteItems",
    "update_item": "UpdateItem",
}


DEPTH_MAX: Final = 32  # maps and lists within each other, as many as DynamoDB accepts


class Leaf(Enum):
    """A field without fields of its own."""

    TEXT = "text"
    FLAG = "flag"
    WHOLE = "whole number"
    NUMBER = "number"
    ITEM = "item"  # typed values under their names

    __hash__ = object.__hash__  # Enum's own is written in Python, and asked for each field.


class ListOf(NamedTuple):
    """Any number of the same."""

    member: "Shape"


class MapOf(NamedTuple):
    """Any number of the same, under names of their own."""

    member: "Shape"


class Structure(NamedTuple):
    """Fields, none of which has to be there."""

    members: Mapping[str, "Shape"]


Shape: TypeAlias = Leaf | ListOf | MapOf | Structure

TEXT, FLAG, WHOLE, NUMBER, ITEM = Leaf.TEXT, Leaf.FLAG, Leaf.WHOLE, Leaf.NUMBER, Leaf.ITEM

_TABLE: Final[dict[str, Shape]] = {"TableName": TEXT}
_KEY: Final[dict[str, Shape]] = {"Key": ITEM}
_CAPACITY_PARAM: Final[dict[str, Shape]] = {"ReturnConsumedCapacity": TEXT}
_NAMES: Final[dict[str, Shape]] = {"ExpressionAttributeNames": MapOf(TEXT)}
_VALUES: Final[dict[str, Shape]] = {"ExpressionAttributeValues": ITEM}
_CONDITION: Final[dict[str, Shape]] = {
    "ConditionExpression": TEXT,
    **_NAMES,
    **_VALUES,
    "ReturnValuesOnConditionCheckFailure": TEXT,
}
_WRITE: Final[dict[str, Shape]] = {
    **_TABLE,
    **_CAPACITY_PARAM,
    **_CONDITION,
    "ReturnValues": TEXT,
    "ReturnItemCollectionMetrics": TEXT,
}
_MEMBER: Final[dict[str, Shape]] = {**_TABLE, **_CONDITION}

REQUESTS: Final[Mapping[str, Structure]] = {
    "GetItem": Structure(
        {
            **_TABLE,
            **_KEY,
            **_CAPACITY_PARAM,
            **_NAMES,
            "ConsistentRead": FLAG,
            "ProjectionExpression": TEXT,
        }
    ),
    "PutItem": Structure({**_WRITE, "Item": ITEM}),
    "UpdateItem": Structure({**_WRITE, **_KEY, "UpdateExpression": TEXT}),
    "DeleteItem": Structure({**_WRITE, **_KEY}),
    "TransactWriteItems": Structure(
        {
            **_CAPACITY_PARAM,
            "ReturnItemCollectionMetrics": TEXT,
            "ClientRequestToken": TEXT,
            "TransactItems": ListOf(
                Structure(
                    {
                        "ConditionCheck": Structure({**_MEMBER, **_KEY}),
                        "Put": Structure({**_MEMBER, "Item": ITEM}),
                        "Update": Structure({**_MEMBER, **_KEY, "UpdateExpression": TEXT}),
                        "Delete": Structure({**_MEMBER, **_KEY}),
                    }
                )
            ),
        }
    ),
    "Query": Structure(
        {
            **_TABLE,
            **_CAPACITY_PARAM,
            **_NAMES,
            **_VALUES,
            "IndexName": TEXT,
            "Select": TEXT,
            "Limit": WHOLE,
            "ConsistentRead": FLAG,
            "ScanIndexForward": FLAG,
            "ExclusiveStartKey": ITEM,
            "ProjectionExpression": TEXT,
            "FilterExpression": TEXT,
            "KeyConditionExpression": TEXT,
        }
    ),
}

_UNITS: Final = Structure(
    {"CapacityUnits": NUMBER, "ReadCapacityUnits": NUMBER, "WriteCapacityUnits": NUMBER}
)
_CAPACITY: Final = Structure(
    {
        **_TABLE,
        **_UNITS.members,
        "Table": _UNITS,
        "LocalSecondaryIndexes": MapOf(_UNITS),
        "GlobalSecondaryIndexes": MapOf(_UNITS),
    }
)
_COLLECTION: Final = Structure({"ItemCollectionKey": ITEM, "SizeEstimateRangeGB": ListOf(NUMBER)})
_WRITTEN: Final = Structure(
    {"Attributes": ITEM, "ConsumedCapacity": _CAPACITY, "ItemCollectionMetrics": _COLLECTION}
)

RESPONSES: Final[Mapping[str, Structure]] = {
    "GetItem": Structure({"Item": ITEM, "ConsumedCapacity": _CAPACITY}),
    "PutItem": _WRITTEN,
    "UpdateItem": _WRITTEN,
    "DeleteItem": _WRITTEN,
    "TransactWriteItems": Structure(
        {
            "ConsumedCapacity": ListOf(_CAPACITY),
            "ItemCollectionMetrics": MapOf(ListOf(_COLLECTION)),
        }
    ),
    "Query": Structure(
        {
            "Items": ListOf(ITEM),
            "Count": WHOLE,
            "ScannedCount": WHOLE,
            "LastEvaluatedKey": ITEM,
            "ConsumedCapacity": _CAPACITY,
        }
    ),
}

# The members of the responses to all operations that read or write items, those too that are not
# used here. A response with one of them to an operation that has none of the name is another
# request's; a name that is not among them may be new.
MEMBERS: Final = frozenset(
    {
        "Attributes",
        "ConsumedCapacity",
        "Count",
        "Item",
        "ItemCollectionMetrics",
        "Items",
        "LastEvaluatedKey",
        "NextToken",
        "Responses",
        "ScannedCount",
        "UnprocessedItems",
        "UnprocessedKeys",
    }
)
# Members of a capacity that is requested in detail; `TOTAL` requests a sum alone.
DETAILS: Final = frozenset({"Table", "LocalSecondaryIndexes", "GlobalSecondaryIndexes"})

_MESSAGE: Final = Structure({"message": TEXT})
_REASONS: Final = ListOf(Structure({"reason": TEXT, "resource": TEXT}))
_THROTTLED: Final = Structure({"message": TEXT, "ThrottlingReasons": _REASONS})

# The errors that these operations have, each with the fields that boto adds to what it raises.
ERRORS: Final[Mapping[str, Structure]] = {
    "ConditionalCheckFailedException": Structure({"message": TEXT, "Item": ITEM}),
    "IdempotentParameterMismatchException": Structure({"Message": TEXT}),
    "InternalServerError": _MESSAGE,
    "ItemCollectionSizeLimitExceededException": _MESSAGE,
    "ProvisionedThroughputExceededException": _THROTTLED,
    "ReplicatedWriteConflictException": _MESSAGE,
    "RequestLimitExceeded": _THROTTLED,
    "ResourceNotFoundException": _MESSAGE,
    "ThrottlingException": Structure({"message": TEXT, "throttlingReasons": _REASONS}),
    "TransactionCanceledException": Structure(
        {
            "Message": TEXT,
            "CancellationReasons": ListOf(Structure({"Item": ITEM, "Code": TEXT, "Message": TEXT})),
        }
    ),
    "TransactionConflictException": _MESSAGE,
    "TransactionInProgressException": Structure({"Message": TEXT}),
}
