"""boto's clients: one session a process, every wait of which ends.

Takes a Region and gives a client. Knows nothing of what is asked by it.
"""

import os
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from sessions_kms.aws.clock import ServerClock, signing_time
from sessions_kms.concurrency import deadline
from sessions_kms.concurrency.error_checking_lock import GuardedLock
from sessions_kms.exceptions import TableUnavailable

if TYPE_CHECKING:
    import botocore.config
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kms import KMSClient

    from sessions_kms.aws.boto_session import BoundedBotoSession
    from sessions_kms.aws.role_credentials import FetchedCredentials

POOL_CONNECTIONS = 64  # enough for the threads of one process

# boto is imported at the first call, not with the engine: it costs more than Django's own start.


@cache
def _session() -> "BoundedBotoSession":
    """Return the session of all clients, those too by which boto gets credentials.

    botocore's: boto3 adds resources and transfers to it, which take a while to be imported.
    """
    from sessions_kms.aws.boto_session import BoundedBotoSession

    made = BoundedBotoSession(signing_time=lambda: signing_time(_clock))
    made.register("response-received.dynamodb", _hear)
    return made


def _client_config() -> "botocore.config.Config":
    import botocore.config

    # What bounds each wait is in `boto_http`: boto's own time-outs are told in messages only.
    # Nor does boto ask again: a pause of its own may end too late, and only who asks knows what
    # may be asked twice.
    return botocore.config.Config(
        connect_timeout=deadline.HASTY.connect,
        read_timeout=deadline.HASTY.first_byte,
        max_pool_connections=POOL_CONNECTIONS,
        parameter_validation=False,  # Ours are of our own making, and AWS looks at them anyway.
        retries={"mode": "standard", "total_max_attempts": 1},
    )


_clients_lock = GuardedLock()
_clock = ServerClock()
_kms_clients: "dict[str, KMSClient]" = {}


def kms_client(region: str) -> "KMSClient":
    """Return this process's KMS client of a Region."""
    with _clients_lock:
        if region not in _kms_clients:
            made = _session().create_client("kms", region_name=region, config=_client_config())
            _kms_clients[region] = made
        return _kms_clients[region]


def dynamodb_client(region: str | None) -> "DynamoDBClient":
    """Return a new DynamoDB client; without a Region, boto's own chain decides.

    AWS_REGION, which AWS sets in its own runtimes, comes first: boto3 does not read it.
    Raises TableUnavailable where the environment makes no client: no Region, an unknown profile.
    """
    with _clients_lock:
        try:
            made: DynamoDBClient = _session().create_client(
                "dynamodb", region_name=_region(region), config=_client_config()
            )
        except Exception as exc:
            raise TableUnavailable from exc
        return made


def control_client(service: str, region: str | None = None) -> Any:
    """Return a new client for setting up and inspecting: it waits as long as AWS may take.

    Creating a key is not idempotent, so its call is not given up early and sent again.
    """
    import botocore.config

    config = botocore.config.Config(
        parameter_validation=True, retries={"mode": "standard", "total_max_attempts": 3}
    )
    with _clients_lock:
        made: Any = _session().create_client(service, region_name=_region(region), config=config)
    made._endpoint.http_session.limits = deadline.PATIENT
    return made


def credentials() -> "FetchedCredentials":
    """Return the credentials that all clients share."""
    found: Any = _session().get_credentials()
    return cast("FetchedCredentials", found)


def clock() -> ServerClock:
    """Return the clock that requests are signed by, and that hears DynamoDB's answers."""
    return _clock


def go_by(clock: ServerClock) -> None:
    """Have this clock be that one."""
    global _clock  # noqa: PLW0603 - one per process, as the clients are
    _clock = clock


def _hear(**event: Any) -> None:
    _clock.hear((event.get("response_dict") or {}).get("headers", {}).get("date"))


def has_region(region: str | None) -> bool:
    """Tell whether there is a Region: the given one, AWS_REGION or one of boto's own chain."""
    return bool(_region(region) or _session().get_config_variable("region"))


def _region(region: str | None) -> str | None:
    return region or os.environ.get("AWS_REGION") or None


def reset() -> None:
    """Forget all clients: the settings changed, or this is a forked child."""
    global _clients_lock  # noqa: PLW0603 - the parent may have forked while it held the lock
    _clients_lock = GuardedLock()
    go_by(ServerClock())
    _kms_clients.clear()
    _session.cache_clear()
