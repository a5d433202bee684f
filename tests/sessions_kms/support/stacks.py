"""The AWS side that a test of the engine runs on: fakes, moto in process, or real local servers.

Every stack takes the same tests, so that neither the fakes nor the servers lie.
"""

import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import pytest

from sessions_kms import services
from sessions_kms.concurrency.waits import Pause
from sessions_kms.concurrency.write_queue import WriteQueues
from sessions_kms.conf import Config
from sessions_kms.data_keys.cached_keyring import CachingKeyring
from sessions_kms.data_keys.keyring import KMSKeyring, SharedKeyring
from sessions_kms.format.attributes import Item
from sessions_kms.operations import provisioning
from sessions_kms.services import Services
from sessions_kms.storage.not_before import NotBefore, NotBeforeItems
from sessions_kms.storage.published_keys import DataKeyItems
from sessions_kms.storage.session_items import SessionItems
from sessions_kms.storage.table import Table
from tests.sessions_kms.support.fakes import FakeKMS
from tests.sessions_kms.support.memory_dynamodb import MemoryDynamoDB
from tests.support.clock import FakeClock
from tests.support.local_kms import LocalKMS

REGION = "eu-west-1"
URL = "AWS_ENDPOINT_URL"
FAKE_KEY = f"arn:aws:kms:{REGION}:123456789012:key/11111111-2222-3333-4444-555555555555"
# What the engine uses of a table: to protect it and its backups takes ten calls more.
BARE_TABLE = {
    name: part for name, part in provisioning.TABLE.items() if name != "DeletionProtectionEnabled"
}
Kind = Literal["fake", "moto", "servers"]
# A third opinion, and the dearest: the long tier asks for it.
MOTO = pytest.param("moto", marks=pytest.mark.long)
KINDS = ("fake", MOTO, "servers")
on_aws = pytest.mark.parametrize("make_stack", [MOTO, "servers"], indirect=True)


@dataclass
class Stack:
    """A wired engine, and the back door to its table that an attacker or operator has."""

    kind: str
    services: Services
    clock: FakeClock
    items: Callable[[], dict[str, Item]]
    put_item: Callable[[Item], None]
    delete_item: Callable[[str], None]
    memory: MemoryDynamoDB | None = None

    @property
    def dynamodb(self) -> MemoryDynamoDB:
        """The DynamoDB of a stack of fakes."""
        assert self.memory is not None, "real servers have none in memory"
        return self.memory

    @property
    def config(self) -> Config:
        return self.services.config

    def sessions(self) -> dict[str, Item]:
        """Return the items that are sessions; tombstones of changed keys are none."""
        return {
            name: item
            for name, item in self.items().items()
            if "#" not in name and "movedAt" not in item
        }


def install(made: Services) -> None:
    """Make these the services of the process."""
    services._services = made


@contextmanager
def running_as(process: Services) -> Iterator[None]:
    """Run a block as another process, with its services."""
    before = services.services()
    install(process)
    try:
        yield
    finally:
        install(before)


def another_process() -> AbstractContextManager[None]:
    """Run a block as another process would: its writers do not queue with this one's."""
    return running_as(replace(services.services(), write_queues=WriteQueues()))


def settings_of(config: Config) -> dict[str, Any]:
    return {"KEY_ID": config.key_id, "TABLE_NAME": config.table_name}


def table_over(client: Any) -> Table:
    """Return the real table over a client, whose pauses take no time."""
    return Table(client, name="sessions", pause=lambda _: Pause(0))


class Items:
    """The table over DynamoDB in memory, or another client, and the kinds of item on top of it."""

    def __init__(self, client: Any) -> None:
        self.table = table_over(client)
        self.sessions = SessionItems(self.table)
        self.data_keys = DataKeyItems(self.table, "django")
        self.moments = NotBeforeItems(self.table, "django")


def fake_stack(clock: FakeClock, **config: Any) -> Stack:
    made = Config(key_id=FAKE_KEY, table_name="sessions", **config)
    memory = MemoryDynamoDB()
    table = table_over(memory)
    kms = KMSKeyring(
        FakeKMS(FAKE_KEY),
        key_id=FAKE_KEY,
        decrypt_key_ids=made.decrypt_key_ids,
        namespace=made.namespace,
        encryption_context=made.encryption_context,
    )
    length = made.data_key_period
    shared = SharedKeyring(
        kms, DataKeyItems(table, made.namespace), period_length=length, clock=clock
    )
    keyring = CachingKeyring(
        shared if length else kms,
        context=kms.context,
        max_age=made.data_key_cache_age,
        max_stale=made.data_key_max_stale,
        period_length=length,
        clock=clock,
        background=False,
    )
    moments = NotBeforeItems(table, made.namespace)
    not_before = NotBefore(moments.get, at_least=made.not_before or 0, clock=clock)
    wired = Services(
        made,
        table,
        keyring,
        not_before,
        clock=clock,
        sleep=lambda _: None,
    )

    def put_item(item: Item) -> None:
        memory.items[item["id"]["S"]] = item

    def delete_item(item_id: str) -> None:
        memory.items.pop(item_id, None)

    return Stack("fake", wired, clock, lambda: dict(memory.items), put_item, delete_item, memory)


def kept_client(service: str) -> Any:
    """Return a client of the endpoints in force that tests share: to make one takes long."""
    endpoints = (os.environ.get(f"{URL}_{service.upper()}"), os.environ.get(URL))
    return _client(service, endpoints)


@lru_cache(maxsize=8)
def _client(service: str, endpoints: tuple[str | None, ...]) -> Any:
    import boto3  # here, as moto below: processes that use the fakes start without them

    return boto3.client(service, region_name=REGION)  # type: ignore[call-overload]  # a name


def aws_stack(kind: Kind, clock: FakeClock, **config: Any) -> Stack:
    """Wire the engine to whatever responses at the endpoints in force, with a key and a table."""
    key = kept_client("kms").create_key()["KeyMetadata"]["Arn"]
    table = f"sessions-{uuid.uuid4().hex[:12]}"
    client = kept_client("dynamodb")
    client.create_table(TableName=table, **BARE_TABLE)
    # Where moto was imported, it watches every client: what asks servers says so.
    config = {"client": "builtin"} | config if kind == "servers" else config
    made = Config(key_id=key, table_name=table, region_name=REGION, **config)
    wired = services.build(made, clock=clock, sleep=lambda _: None)

    def items() -> dict[str, Item]:
        pages: Any = client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
        return {item["id"]["S"]: item for page in pages for item in page["Items"]}

    def put_item(item: Item) -> None:
        client.put_item(TableName=table, Item=item)

    def delete_item(item_id: str) -> None:
        client.delete_item(TableName=table, Key={"id": {"S": item_id}})

    return Stack(kind, wired, clock, items, put_item, delete_item)


def _one_at_a_time(response: Callable[..., Any]) -> Callable[..., Any]:
    """Answer calls in turn: moto, in process, tests a condition and writes without a lock."""
    lock = threading.Lock()

    def respond_in_turn(*args: Any, **kwargs: Any) -> Any:
        with lock:
            return response(*args, **kwargs)

    return respond_in_turn


@contextmanager
def running_stack(
    kind: Kind, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Stack]]:
    """Give a maker of stacks of one kind; what it makes last is installed."""

    def make(**config: Any) -> Stack:
        stack = fake_stack(clock, **config) if kind == "fake" else aws_stack(kind, clock, **config)
        install(stack.services)
        return stack

    if kind == "moto":
        from moto import mock_aws
        from moto.core.botocore_stubber import BotocoreStubber

        monkeypatch.delenv("AWS_ENDPOINT_URL")
        monkeypatch.setattr(BotocoreStubber, "__call__", _one_at_a_time(BotocoreStubber.__call__))
        with mock_aws():
            yield make
        return
    if kind == "servers":
        kms: LocalKMS = request.getfixturevalue("local_kms")
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", kms.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", request.getfixturevalue("roto_url"))
    yield make
