"""The table, read with AWS rights and a browser's cookie."""

import json
import time
from typing import Any

import boto3
from playwright.sync_api import Page

from tests.e2e.stack import LocalStack
from tests.sessions_kms.support import reference_format


class BackDoor:
    """The table as read with AWS rights and the cookie, without our code."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.dynamodb = self._client("dynamodb")
        self.kms = self._client("kms")

    def items(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.dynamodb.scan(
            TableName=self.environment["SESSIONS_TABLE"], ConsistentRead=True
        )["Items"]
        return items

    def content(self, session_key: str) -> dict[str, Any]:
        namespace = "django"
        item = reference_format.fetch(
            self.dynamodb, self.environment["SESSIONS_TABLE"], namespace, session_key
        )
        unwrap = reference_format.unwrap_with(self.kms, self.environment["KMS_KEY_ARN"], namespace)
        serialized = reference_format.open_item(
            item, namespace=namespace, session_key=session_key, now=time.time(), unwrap=unwrap
        )
        content: dict[str, Any] = json.loads(serialized)
        return content

    def _client(self, service: str) -> Any:
        return boto3.client(
            service,  # type: ignore[call-overload]  # a name, not one of boto's literals
            endpoint_url=self.environment[f"AWS_ENDPOINT_URL_{service.upper()}"],
            region_name=self.environment["AWS_REGION"],
        )


def session_key_of(page: Page, stack: LocalStack) -> str:
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies(stack.url)}
    return str(cookies["gateway_sessionid"]["value"])
