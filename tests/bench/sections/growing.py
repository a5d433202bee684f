"""Loading from a growing table, compared with the bare call on the same table."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.format.item_types import session_id
from sessions_kms.services import services
from tests.bench import aws, django_site
from tests.bench.aws import TABLE
from tests.bench.content import KB, content
from tests.bench.measuring import Here, Timed, compete, ratio
from tests.bench.peers import OURS, TUNED, BarePeer, EnginePeer, Peer
from tests.bench.result import Plot, Section, Table
from tests.bench.scale import Scale

BATCH = 25  # items; DynamoDB's limit for a batch


def run(scale: Scale, folder: Path) -> Section:
    section = Section(
        "Growth: sessions in the table",
        [
            "The table (roto, in memory) is filled with sealed records of 1 KB. A load is one "
            "GetItem for any size of the table: the time of the store grows, not the engine's. "
            "A million sessions only with --full.",
        ],
    )
    timed: dict[int, dict[str, Timed]] = {}
    with aws.running("storing", folder) as found:
        django_site.set_up(django_site.site(folder, found.settings, None))
        peers: list[Peer] = [EnginePeer(OURS), BarePeer(TUNED)]
        for peer in peers:
            peer.store(content(1 * KB))
        held = 2
        for size in scale.table_sizes:
            _fill(size - held)
            held = size
            contestants = [Here(peer.name, peer.prepare_load) for peer in peers]
            timed[size] = compete(contestants, rounds=scale.rounds, budget=scale.budget)
    section.tables.append(_table(timed))
    labels = [f"{size:,}" for size in timed]
    walls = {name: [found[name].wall.median for found in timed.values()] for name in (OURS, TUNED)}
    title = "load, by sessions in the table: wall time, median"
    section.plots.append(Plot("growth", title, "µs", labels, walls, lines=True))
    return section


def _fill(count: int) -> None:
    """Put copies of a sealed record under different ids."""
    asks: Any = services().table._sender.client
    client: Any = getattr(asks, "boto", asks)
    sealed = EnginePeer(OURS)
    sealed.store(content(1 * KB))
    template = run_sync(
        services().table.get(session_id(services().config.namespace, str(sealed.key)))
    )
    assert template is not None
    for start in range(0, count, BATCH):
        puts = [
            {"PutRequest": {"Item": {**template, "id": {"S": secrets.token_urlsafe(32)}}}}
            for _ in range(min(BATCH, count - start))
        ]
        client.batch_write_item(RequestItems={TABLE: puts})


def _table(timed: dict[int, dict[str, Timed]]) -> Table:
    rows = [
        (
            f"{size:,} sessions",
            f"{found[OURS].wall.percentile(50):,.0f}",
            f"{found[OURS].wall.percentile(99):,.0f}",
            f"{found[TUNED].wall.percentile(50):,.0f}",
            str(ratio(found[OURS].wall, found[TUNED].wall)),
        )
        for size, found in timed.items()
    ]
    columns = ("", "wall p50 µs", "wall p99 µs", f"{TUNED}: p50 µs", "times boto3's")
    return Table("load of 1 KB", columns, rows)
