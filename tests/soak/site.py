"""A site on real local servers with many sessions, and an operator whose commands are killed."""

import itertools
import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import boto3

from sessions_kms import services
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.conf import Config
from sessions_kms.format.attributes import Item
from sessions_kms.operations import provisioning
from sessions_kms.sealed_items import sealing
from tests.sessions_kms.support.faults import (
    Exchange,
    FaultProxy,
    Response,
    hold_exchange,
    running_proxy,
)
from tests.sessions_kms.support.stacks import REGION, install
from tests.soak.site_process import start

WRITES = ("PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems")
DAY = 86_400
DAYS = 6  # days over which the sessions were created, each with its own data key
IDLE = 14 * DAY
BATCH = 25  # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
THREADS = 4
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True)
class Seeded:
    """One session that was put into the table."""

    key: str
    id: str
    created_at: int


@dataclass
class Site:
    """A table, KMS keys, and what was put there."""

    config: Config
    sessions: list[Seeded]
    client: Any

    @classmethod
    def seeded(cls, table: str, count: int) -> "Site":
        """Make a table and a key, and fill the table with sessions."""
        client = boto3.client("dynamodb", region_name=REGION)
        list(provisioning.create_table(client, table))
        config = Config(key_id=new_key(), table_name=table, region_name=REGION)
        return cls(config, seed(services.build(config), count), client)

    @property
    def settings(self) -> dict[str, Any]:
        """Return SESSIONS_KMS."""
        return {
            "KEY_ID": self.config.key_id,
            "DECRYPT_KEY_IDS": list(self.config.decrypt_key_ids),
            "TABLE_NAME": self.config.table_name,
            "REGION_NAME": REGION,
            "DATA_KEY_CACHE_AGE": self.config.data_key_cache_age,
            "DATA_KEY_MAX_STALE": self.config.data_key_max_stale,
        }

    def switch_key(self, **more: Any) -> str:
        """Have a new KMS key wrap from now on; give the previous one."""
        old = self.config.key_id
        self.config = replace(self.config, key_id=new_key(), decrypt_key_ids=(old,), **more)
        return old

    def run_killed(self, *command: str, after: tuple[int, ...]) -> list[float]:
        """Run a command anew for each number of writes after which to kill it (kill -9).

        It gets no response to any further one, so that a fast command is killed at its work too.
        Give how long each run lasted, in seconds.
        """
        lasted: list[float] = []
        for writes in after:
            with running_proxy(os.environ["AWS_ENDPOINT_URL_DYNAMODB"]) as proxy:
                enough = _last_after(proxy, writes)
                began = time.monotonic()
                with start(self.settings, *command, AWS_ENDPOINT_URL_DYNAMODB=proxy.url) as process:
                    while not enough.wait(0.05):
                        assert process.poll() is None, process.stderr and process.stderr.read()
                    process.kill()
                assert process.returncode == -9
                lasted.append(round(time.monotonic() - began, 1))
        return lasted

    def readable(self, sessions: list[Seeded]) -> int:
        """Count the sessions that are opened, by a process that knows the present key only."""
        install(services.build(replace(self.config, decrypt_key_ids=())))
        with ThreadPoolExecutor(8) as pool:
            return sum(pool.map(lambda session: "number" in SessionStore(session.key), sessions))


def _last_after(proxy: FaultProxy, writes: int) -> threading.Event:
    """Let this many writes pass a proxy, and hold the others; give what tells of the first held."""
    passed, enough = itertools.count(1), threading.Event()

    def strike(exchange: Exchange) -> Response:
        if next(passed) <= writes:
            return exchange.forward()
        enough.set()
        return hold_exchange(exchange)

    for operation in WRITES:
        proxy.on(operation, strike)
    return enough


def new_key() -> str:
    client = boto3.client("kms", region_name=REGION)
    arn: str = client.create_key()["KeyMetadata"]["Arn"]
    client.close()
    return arn


def seed(made: services.Services, count: int) -> list[Seeded]:
    """Put live sessions into the table and return them: every third is anonymous, ten per user."""
    now = int(made.clock())
    seeded: list[Seeded] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for day in range(DAYS):
            share = range(day, count, DAYS)
            then = _as_of(made, now - day * DAY)
            for some in pool.map(lambda numbers, then=then: _put(then, numbers), _batches(share)):
                seeded += some
    return seeded


def _as_of(made: services.Services, moment: int) -> services.Services:
    return services.build(made.config, clock=lambda: moment)


def _batches(numbers: range) -> Iterator[range]:
    return (numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH))


def _put(then: services.Services, numbers: range) -> list[Seeded]:
    seeded, items = [], []
    for number in numbers:
        key = "".join(CHARACTERS[byte % 36] for byte in os.urandom(32))
        user = str(number // 10) if number % 3 else None
        content = {"number": number, "count": 0} | ({"_auth_user_id": user} if user else {})
        seal = run_sync(sealing.Sealing(then).seal(json.dumps(content).encode()))
        record = seal.record(
            key, revision=1, created_at=seal.now, ttl=seal.now + IDLE, user_id=user
        )
        items.append(record.to_item())
        seeded.append(Seeded(key, record.id, record.created_at))
    _write(then, items)
    return seeded


def _write(then: services.Services, items: list[Item]) -> None:
    sender: Any = then.table._sender
    client = getattr(sender.client, "boto", sender.client)
    left: Any = {sender.name: [{"PutRequest": {"Item": item}} for item in items]}
    while left:
        left = client.batch_write_item(RequestItems=left).get("UnprocessedItems")
