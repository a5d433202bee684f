"""Requests and parsed responses of botocore's client, with which ours are compared."""

import io
from collections.abc import Iterator, Mapping
from typing import Any, cast

import botocore.session
from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HeadersDict
from botocore.config import Config
from botocore.exceptions import ClientError

from sessions_kms.aws.http_client.response import Response

METHODS = {
    "GetItem": "get_item",
    "PutItem": "put_item",
    "UpdateItem": "update_item",
    "DeleteItem": "delete_item",
    "TransactWriteItems": "transact_write_items",
    "Query": "query",
}


class _Raw(io.BytesIO):
    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


class Boto:
    """A client of botocore that gets its responses from the test."""

    def __init__(self) -> None:
        session = botocore.session.Session()
        self._client = session.create_client(
            "dynamodb",
            region_name="eu-west-1",
            endpoint_url="https://table.example",
            aws_access_key_id="id",
            aws_secret_access_key="secret",
            config=Config(
                parameter_validation=False, retries={"mode": "standard", "total_max_attempts": 1}
            ),
        )
        events: Any = self._client.meta.events
        events.register("before-send.dynamodb", self._response)
        self._told = Response(200, {}, b"{}", keep_alive=True)
        self.sent_body = b""

    def _response(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        self.sent_body = bytes(request.body or b"")  # type: ignore[arg-type]
        raw, headers = _Raw(self._told.body), cast("Any", HeadersDict(self._told.headers))
        return AWSResponse(request.url, self._told.status, headers, raw)

    def call(self, operation: str, params: Mapping[str, Any]) -> Any:
        """Send a request, and return what the client does."""
        return getattr(self._client, METHODS[operation])(**params)

    def read(self, operation: str, response: Response) -> Any:
        """Return what the client returns, or what its ClientError holds; None of other errors."""
        self._told = response
        try:
            read: Any = self.call(operation, {})
        except ClientError as exc:
            read = exc.response
        except Exception:  # noqa: BLE001 - the parser raises whatever it stumbles over
            return None
        del read["ResponseMetadata"]["MaxAttemptsReached"]  # which is 1 here
        return read
