"""A new process as a load balancer sees it, while AWS rejects it or has an outage.

Adversaries: a new process with a wrong table, key or role; one that is started in an outage.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from django.db import connection

from sessions_kms.operations import provisioning
from tests.conftest import AWS_ENVIRONMENT
from tests.gateway_site.server.starting import environment
from tests.sessions_kms.support.faults import FaultProxy, drop_connection, error, running_proxy
from tests.support.local_kms import LocalKMS
from tests.support.processes import free_port, module, running
from tests.support.waiting import wait_until

pytestmark = pytest.mark.long
REGION = "eu-west-1"
DENIED = error("AccessDeniedException")
TRIED_AGAIN = 20  # seconds: two attempts are five seconds apart


@dataclass
class NewProcess:
    """A served process, and the proxies between it and AWS."""

    url: str
    log: Path
    table: FaultProxy
    kms: FaultProxy

    def readiness(self, query: str = "") -> tuple[int, dict[str, Any]]:
        response = requests.get(f"{self.url}/readyz{query}", timeout=30)
        return response.status_code, response.json()

    def obstacle(self) -> str | None:
        reason: str | None = self.readiness()[1].get("reason")
        return reason

    def deny(self, is_denied: bool) -> None:
        for proxy in (self.table, self.kms):
            proxy.heal()
            for operation in ("GetItem", "GenerateDataKey", "Decrypt") if is_denied else ():
                proxy.on(operation, DENIED)


class Starter:
    """Starts processes, with a migrated database of their own."""

    def __init__(self, folder: Path, dynamodb: str, kms: str) -> None:
        self._folder, self._dynamodb, self._kms = folder, dynamodb, kms
        self._table_client = boto3.client("dynamodb", endpoint_url=dynamodb, region_name=REGION)
        self._key_client = boto3.client("kms", endpoint_url=kms, region_name=REGION)

    @contextmanager
    def start(self, *, faults: bool = False, is_denied: bool = False) -> Iterator[NewProcess]:
        port, table = free_port(), f"table-{free_port()}"
        list(provisioning.create_table(self._table_client, table))
        key = self._key_client.create_key()["KeyMetadata"]["Arn"]
        connection.ensure_connection()
        (self._folder / "gateway.sqlite3").write_bytes(connection.connection.serialize())
        with ExitStack() as stack:
            proxies = [
                stack.enter_context(running_proxy(each)) for each in (self._dynamodb, self._kms)
            ]
            new = NewProcess(f"http://127.0.0.1:{port}", self._folder / "log", *proxies)
            new.deny(is_denied)
            for proxy in proxies if faults else ():
                for operation in ("GetItem", "GenerateDataKey"):
                    proxy.on(operation, drop_connection)
            variables = environment(
                self._folder,
                **AWS_ENVIRONMENT,
                AWS_ENDPOINT_URL_DYNAMODB=new.table.url,
                AWS_ENDPOINT_URL_KMS=new.kms.url,
                SESSIONS_TABLE=table,
                KMS_KEY_ARN=key,
            )
            serve = module("gateway_site.server", "--port", str(port))
            stack.enter_context(running(serve, variables, new.log, port))
            yield new


@pytest.fixture
def starter(transactional_db: None, tmp_path: Path, roto_url: str, local_kms: LocalKMS) -> Starter:
    return Starter(tmp_path, roto_url, local_kms.url)


def test_process_whose_role_is_not_known_yet_is_ready_at_the_first_success_and_stays_so(
    starter: Starter,
) -> None:
    with starter.start(is_denied=True) as new:
        assert new.obstacle() == "table"
        before = new.table.operations.count("GetItem")
        wait_until(
            lambda: new.obstacle() == "table" and new.table.operations.count("GetItem") > before,
            "it is not ready, and tries again",
            TRIED_AGAIN,
        )
        new.deny(False)
        wait_until(lambda: new.obstacle() is None, "it is ready", TRIED_AGAIN)
        assert new.kms.operations == ["GenerateDataKey", "Decrypt"]
        new.deny(True)
        told = {"sql": "ok", "table": "unavailable", "kms": "ok", "circuit": "closed"}
        wait_until(lambda: new.readiness("?verbose")[1]["shared"] == told, "verbose", TRIED_AGAIN)
        assert new.obstacle() is None
    log = new.log.read_text("utf-8")
    assert "Health check of table: it rejects this process. ClientError: " in log
    assert "(AccessDeniedException)" in log


def test_process_that_is_started_in_an_outage_is_ready(starter: Starter) -> None:
    with starter.start(faults=True) as new:
        wait_until(lambda: new.obstacle() is None, "it is ready", TRIED_AGAIN)
        assert new.readiness("?verbose")[1]["shared"]["table"] == "unavailable"
