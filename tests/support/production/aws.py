"""The AWS side of a section: the local KMS, and a minimal or a complete DynamoDB.

A section's process gets the variables that direct boto there, and passes them to its children.
"""

import os
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import boto3

from sessions_kms.operations import provisioning
from tests.support.processes import free_port
from tests.support.production import children

REGION = "eu-west-1"
TABLE = "sessions"
PLAIN_TABLE = "plain-sessions"  # of django-dysession
Kind = Literal["answering", "storing"]


@dataclass(frozen=True)
class AWS:
    """The engine's key and table."""

    key_arn: str

    @property
    def settings(self) -> dict[str, Any]:
        return {"KEY_ID": self.key_arn, "TABLE_NAME": TABLE, "REGION_NAME": REGION}


@contextmanager
def running(kind: Kind, folder: Path) -> Iterator[AWS]:
    """Start KMS and a DynamoDB, and direct this process to them."""
    with ExitStack() as stack:
        state = ("--port", "0", "--state", str(folder / "kms.sqlite3"))
        kms = stack.enter_context(
            children.python("gateway_site.local.kms", *state, log=folder / "kms.log")
        )
        dynamodb = stack.enter_context(_dynamodb(kind, folder))
        _set_endpoints(kms.said.rpartition(" ")[2], dynamodb)
        client = boto3.client("kms", region_name=REGION)
        arn = client.create_key()["KeyMetadata"]["Arn"]
        client.close()
        if kind == "storing":
            _create_tables()
        yield AWS(arn)


@contextmanager
def _dynamodb(kind: Kind, folder: Path) -> Iterator[str]:
    if kind == "answering":
        with children.python(
            "tests.support.production.minimal_dynamodb", log=folder / "dynamodb.log"
        ) as process:
            yield f"http://127.0.0.1:{process.said}"
        return
    port = free_port()
    roto = Path(sysconfig.get_path("scripts")) / "roto-server"
    command = [str(roto), "--ephemeral", "--host", "127.0.0.1", "--port", str(port)]
    with children.server(command, port, log=folder / "dynamodb.log"):
        yield f"http://127.0.0.1:{port}"


def _set_endpoints(kms: str, dynamodb: str) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL_KMS": kms,
        "AWS_ENDPOINT_URL_DYNAMODB": dynamodb,
        "NO_PROXY": "127.0.0.1",
    }


def _create_tables() -> None:
    client = boto3.client("dynamodb", region_name=REGION)
    for _ in provisioning.create_table(client, TABLE):
        pass
    client.create_table(
        TableName=PLAIN_TABLE,
        KeySchema=[{"AttributeName": "PK", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "PK", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    client.close()
