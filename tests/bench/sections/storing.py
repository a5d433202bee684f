"""`load` and `save` of one session, beside what others take for the same."""

from __future__ import annotations

from pathlib import Path

from django.core.management import call_command

from tests.bench import aws, django_site, encryption_sdk
from tests.bench.content import KB, content
from tests.bench.measuring import Contestant, Timed, compete, ratio
from tests.bench.peers import (
    BARE,
    ENGINES,
    OURS,
    PLAIN,
    TUNED,
    BarePeer,
    EnginePeer,
    ItemPeer,
    Peer,
)
from tests.bench.result import Plot, Section, Table, Target
from tests.bench.scale import Scale

VERBS = ("load", "save")
LIMIT = 1.05
COLUMNS = (
    "",
    "CPU p50 µs",
    "CPU p99 µs",
    "wall p50 µs",
    "wall p99 µs",
    "CPU, times boto3's",
    "wall, times boto3's",
)


def run(scale: Scale, folder: Path) -> Section:
    section = Section("One session loaded, one session saved")
    with aws.running("answering", folder) as found, django_site.redis(folder) as cache:
        django_site.set_up(django_site.site(folder, found.settings, cache))
        call_command("migrate", verbosity=0)
        peers = _peers(found.key_arn, section)
        section.notes += _notes(cache)
        timed = {size: _timed(peers, size, scale) for size in scale.sizes}
    for verb in VERBS:
        for size in scale.sizes:
            section.tables.append(_table(verb, size, timed[size][verb]))
            section.targets += _targets(verb, size, timed[size][verb])
        section.plots.append(_plot(verb, {size: timed[size][verb] for size in scale.sizes}))
    return section


def _peers(key_arn: str, section: Section) -> list[Peer]:
    peers: list[Peer] = [BarePeer(BARE), BarePeer(TUNED), ItemPeer(PLAIN)]
    try:
        peers.append(encryption_sdk.peer(key_arn))
    except ImportError:
        section.notes.append("Skipped: the AWS Encryption SDK is not installed.")
    for name in ENGINES:
        try:
            peers.append(EnginePeer(name))
        except ImportError:
            section.notes.append(f"Skipped: {name} is not installed.")
    return peers


def _notes(cache: str | None) -> list[str]:
    where = "Redis" if cache else "memory of the process (no Redis here: skipped)"
    return [
        "DynamoDB is a process that answers from memory and looks at no condition, so CPU time is "
        "the client's own; wall time includes that process and the way to it, not AWS's network.",
        f"“{BARE}” repeats the engine's very GetItem or PutItem, condition and all, and does "
        "nothing else, by the client that `boto3.client` gives. The engine's own client leaves out "
        "boto's validation of parameters, and so is told apart. “boto3 and JSON” is the least any "
        "session engine does, by the engine's client.",
        "The CPU ratio is the stricter one, and the target is held to it.",
        f"Django's cache is {where}. A signed cookie of 64 KB is no use in a browser.",
    ]


def _timed(peers: list[Peer], size: int, scale: Scale) -> dict[str, dict[str, Timed]]:
    session = content(size * KB)
    for peer in peers:
        peer.store(session)
    prepared = {
        "load": [Contestant(peer.name, peer.prepare_load) for peer in peers],
        "save": [Contestant(peer.name, peer.prepare_save) for peer in peers],
    }
    return {
        verb: compete(contestants, rounds=scale.rounds, budget=scale.budget)
        for verb, contestants in prepared.items()
    }


def _table(verb: str, size: int, timed: dict[str, Timed]) -> Table:
    bare = timed[BARE]
    rows = []
    for name, found in sorted(timed.items(), key=lambda pair: pair[1].cpu.median):
        times = [
            f"{times.percentile(percent):,.0f}"
            for times in (found.cpu, found.wall)
            for percent in (50, 99)
        ]
        ratios = [str(ratio(found.cpu, bare.cpu)), str(ratio(found.wall, bare.wall))]
        rows.append((name, *times, *ratios))
    return Table(f"{verb}, {size} KB", COLUMNS, rows)


def _targets(verb: str, size: int, timed: dict[str, Timed]) -> list[Target]:
    what = f"{verb} of {size} KB, CPU, times the bare boto3 call"
    return [
        Target(name, LIMIT, ratio(timed[OURS].cpu, timed[peer].cpu).median)
        for name, peer in ((what, BARE), (f"{what} by the engine's own client", TUNED))
    ]


def _plot(verb: str, timed: dict[int, dict[str, Timed]]) -> Plot:
    return Plot(
        verb,
        f"{verb}: CPU time a call, median",
        "µs",
        [f"{size} KB" for size in timed],
        {
            name: [found[name].cpu.median for found in timed.values()]
            for name in next(iter(timed.values()))
        },
    )
