"""Whether this process runs tests, and a warning if they use a table that others use, too."""

import os
import sys
import warnings
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from sessions_kms.exceptions import RemoteTableWarning

REMOTE_TABLE = (
    "Tests use the DynamoDB table {table} at {host}, which is not on this machine: the sessions"
    " that they store stay there. Set SESSION_ENGINE = 'sessions_kms.testing.backend' in the"
    " settings of your tests."
)


def is_running_tests() -> bool:
    """Return True in a run of pytest, and where Django's `setup_test_environment` was called."""
    if "PYTEST_VERSION" in os.environ or "PYTEST_CURRENT_TEST" in os.environ:
        return True
    state = getattr(sys.modules.get("django.test.utils"), "_TestState", None)
    return hasattr(state, "saved_data")


def is_mocked() -> bool:
    """Return True if moto answers the calls of boto3 now."""
    stubber = getattr(sys.modules.get("moto.core.models"), "botocore_stubber", None)
    return bool(getattr(stubber, "enabled", False))


def is_loopback(url: str) -> bool:
    """Return True if an endpoint is on this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def warn_of_remote_table(client: Any, table: str) -> None:
    """Warn if tests are running and a new client of DynamoDB will use a table elsewhere.

    ``client`` is boto's, or has boto's as ``boto``.
    """
    if not is_running_tests() or is_mocked():
        return
    endpoint: str = getattr(client, "boto", client).meta.endpoint_url
    if not is_loopback(endpoint):
        warnings.warn(describe(endpoint, table), RemoteTableWarning, stacklevel=2)


def describe(endpoint: str, table: str) -> str:
    """Return the sentences of the warning."""
    return REMOTE_TABLE.format(table=table, host=urlsplit(endpoint).hostname)
