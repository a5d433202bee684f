"""boto's clients: one session per process, with bounded waits.

Takes a Region; returns a client. This module does not depend on the calls.
"""

import os
from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast

from sessions_kms.aws.clock import ServerClock, current_clock, set_clock, signing_time
from sessions_kms.aws.errors import is_table_rejection
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.waits import ErrorCheckingLock
from sessions_kms.exceptions import TableUnavailable

if TYPE_CHECKING:
    import botocore.config
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kms import KMSClient

    from sessions_kms.aws.boto_session import BoundedBotoSession
    from sessions_kms.aws.credentials import SharedCredentials

POOL_CONNECTIONS: Final = 64  # enough for the threads of one process

# boto is imported at the first call, not with the engine: it costs more than Django's own start.


@cache
def _session() -> "BoundedBotoSession":
    """Return the session of all clients, and of boto's own requests for credentials.

    botocore's: boto3 adds resources and transfers, which take a while to import.
    """
    from sessions_kms.aws.boto_session import BoundedBotoSession

    session = BoundedBotoSession(signing_time=lambda: signing_time(current_clock()))
    session.register("response-received.dynamodb", _observe_date)
    return session


def _client_config() -> "botocore.config.Config":
    import botocore.config

    # `boto_session` bounds the waits; boto's own timeouts appear in messages only. Nor does boto
    # retry: its pauses may end too late, and only the caller knows what may be sent twice.
    return botocore.config.Config(
        connect_timeout=deadline.HASTY.connect,
        read_timeout=deadline.HASTY.first_byte,
        max_pool_connections=POOL_CONNECTIONS,
        parameter_validation=False,  # The parameters are our own, and AWS checks them anyway.
        retries={"mode": "standard", "total_max_attempts": 1},
    )


_clients_lock = ErrorCheckingLock()
_kms_clients: "dict[str, KMSClient]" = {}


def kms_client(region: str) -> "KMSClient":
    """Return this process's KMS client for a Region."""
    with _clients_lock:
        if region not in _kms_clients:
            client = _session().create_client("kms", region_name=region, config=_client_config())
            _kms_clients[region] = client
        return _kms_clients[region]


def dynamodb_client(region: str | None) -> "DynamoDBClient":
    """Return a new DynamoDB client; without a Region, boto's own chain decides.

    AWS_REGION, which AWS sets in its own runtimes, comes first: boto3 does not read it.
    Raises TableUnavailable where the environment does not suffice: no Region, an unknown profile.
    """
    with _clients_lock:
        try:
            client: DynamoDBClient = _session().create_client(
                "dynamodb", region_name=_region(region), config=_client_config()
            )
        except Exception as exc:
            raise TableUnavailable(is_rejection=is_table_rejection(exc)) from exc
        return client


def dynamodb_endpoint(region: str | None) -> str:
    """Return the URL that a DynamoDB client would use, without looking for credentials.

    Raises TableUnavailable as `dynamodb_client` does.
    """
    placeholder = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}
    with _clients_lock:
        try:
            client: Any = _session().create_client(
                "dynamodb", region_name=_region(region), **placeholder
            )
        except Exception as exc:
            raise TableUnavailable from exc
    url: str = client.meta.endpoint_url
    return url


def control_client(service: str, region: str | None = None) -> Any:
    """Return a new client for setting up and inspecting: it waits as long as AWS may take.

    Creating a key is not idempotent, so its call is not given up early and sent again.
    """
    import botocore.config

    config = botocore.config.Config(
        parameter_validation=True, retries={"mode": "standard", "total_max_attempts": 3}
    )
    with _clients_lock:
        client: Any = _session().create_client(service, region_name=_region(region), config=config)
    client._endpoint.http_session.limits = deadline.PATIENT
    return client


def credentials() -> "SharedCredentials":
    """Return the credentials that all clients share."""
    found: Any = _session().get_credentials()
    return cast("SharedCredentials", found)


def find_region(region: str | None) -> str | None:
    """Return the given Region, AWS_REGION, or one of boto's own chain; None without any."""
    return _region(region) or _session().get_config_variable("region") or None


def _region(region: str | None) -> str | None:
    return region or os.environ.get("AWS_REGION") or None


def _observe_date(**event: Any) -> None:
    headers = (event.get("response_dict") or {}).get("headers", {})
    current_clock().observe(headers.get("date"))


def reset() -> None:
    """Forget all clients: the settings changed, or this is a forked child."""
    global _clients_lock  # noqa: PLW0603 - the parent may have forked while it held the lock
    _clients_lock = ErrorCheckingLock()
    set_clock(ServerClock())
    _kms_clients.clear()
    _session.cache_clear()
