"""AWS clients for setting up that look and change nothing: each step is told as if it were done.

What would have been made is remembered, so that the steps after it find it.
"""

from collections.abc import Callable, Mapping
from typing import Any

NEW_KEY = {"Arn": "(the ARN of the new key)", "KeyId": "(new)"}
LOOKS = ("describe_", "get_", "list_")


class DryClient:
    """A client whose calls pass where they only look."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._made: dict[str, Mapping[str, Any]] = {}

    @property
    def exceptions(self) -> Any:
        """The real client's."""
        return self._client.exceptions

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return getattr(self._client, name) if name.startswith(LOOKS) else _nothing

    def get_waiter(self, name: str) -> Any:
        """Wait for nothing."""
        return self

    def wait(self, **_: Any) -> None:
        """Return at once."""

    # DynamoDB

    def create_table(self, **table: Any) -> None:
        self._made[table["TableName"]] = table

    def describe_table(self, TableName: str) -> Any:  # noqa: N803 -- boto's names
        made = self._made.get(TableName)
        return {"Table": made} if made else self._client.describe_table(TableName=TableName)

    def describe_time_to_live(self, TableName: str) -> Any:  # noqa: N803
        if TableName in self._made:
            return {"TimeToLiveDescription": {}}
        return self._client.describe_time_to_live(TableName=TableName)

    def describe_continuous_backups(self, TableName: str) -> Any:  # noqa: N803
        if TableName in self._made:
            return {"ContinuousBackupsDescription": {}}
        return self._client.describe_continuous_backups(TableName=TableName)

    # KMS

    def create_key(self, **_: Any) -> Any:
        return {"KeyMetadata": NEW_KEY}

    def get_key_rotation_status(self, KeyId: str) -> Any:  # noqa: N803
        if KeyId == NEW_KEY["Arn"]:
            return {"KeyRotationEnabled": False}
        return self._client.get_key_rotation_status(KeyId=KeyId)


def _nothing(**_: Any) -> dict[str, Any]:
    return {}
