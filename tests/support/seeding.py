"""Fills a table with sealed sessions of several days, for tests of large tables.

`python -m tests.support.seeding --sessions 100000` fills the store of the current Django settings.
It uses the engine's sealing, and writes in batches, which the engine never does.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from sessions_kms import services
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.format.attributes import Item
from sessions_kms.sealed_items import sealing

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


def main() -> None:
    import django

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, required=True)
    arguments = parser.parse_args()
    django.setup()
    made = seed(services.services(), arguments.sessions)
    sys.stdout.write(f"seeded {len(made):,} sessions\n")


if __name__ == "__main__":
    main()
