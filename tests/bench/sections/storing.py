"""`load` and `save` of one session, beside what others take for the same."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from django.core.management import call_command

from tests.bench import aws, baseline, django_site, encryption_sdk, engines
from tests.bench.content import KB, content
from tests.bench.engines import EngineProcess
from tests.bench.measuring import (
    WARM_UP,
    Contestant,
    Elsewhere,
    Here,
    Timed,
    compete,
    ratio,
)
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
BY_BOTO = f"{OURS}, by boto3"
BEFORE = f"{OURS} at {baseline.COMMIT}"
POSTGRESQL = "Django db (PostgreSQL)"
LIMITS = {  # times the bare boto3 call, by verb and KB
    ("load", 1): 0.20,
    ("load", 4): 0.20,
    ("load", 64): 0.45,
    ("save", 1): 0.26,
    ("save", 4): 0.26,
    ("save", 64): 0.50,
}
ALTERNATING = "alternating call by call"
ALTERNATING_LIMITS = {"load": 0.26, "save": 0.30}  # of up to 4 KB
ALTERNATING_KB = 4
COLUMNS = (
    "",
    "CPU p50 µs",
    "CPU p99 µs",
    "wall p50 µs",
    "wall p99 µs",
    "CPU, times boto3's",
    "wall, times boto3's",
)


class Stored(Protocol):
    """A way of keeping a session, here or in a process of its own."""

    def store(self, size: int) -> None: ...
    def contestant(self, verb: str) -> Contestant: ...


class StoredHere:
    """A peer in this process."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def store(self, size: int) -> None:
        self._peer.store(content(size * KB))

    def contestant(self, verb: str) -> Contestant:
        prepare = {"load": self._peer.prepare_load, "save": self._peer.prepare_save}[verb]
        return Here(self._peer.name, prepare)


class StoredElsewhere:
    """An engine in a process of its own."""

    def __init__(self, process: EngineProcess) -> None:
        self._process = process

    def store(self, size: int) -> None:
        self._process.store(size)

    def contestant(self, verb: str) -> Contestant:
        return Elsewhere(self._process.name, partial(self._process.turn, verb))


def run(scale: Scale, folder: Path) -> Section:
    section = Section("One session loaded, one session saved")
    with (
        ExitStack() as stack,
        aws.running("answering", folder) as found,
        django_site.redis(folder) as cache,
    ):
        # This process asks by boto3: the parameters of its calls are the bare call's.
        site = django_site.site(folder, {**found.settings, "CLIENT": "boto"}, cache)
        django_site.set_up(site)
        call_command("migrate", verbosity=0)
        section.notes += _notes(cache)
        ours = stack.enter_context(
            engines.running(OURS, OURS, SESSIONS_KMS={**found.settings, "CLIENT": "builtin"})
        )
        stored = [
            *_here(found.key_arn, section),
            StoredElsewhere(ours),
            *_elsewhere(stack, found.settings, folder, section),
        ]
        timed = {size: _timed(stored, size, scale) for size in scale.sizes}
        alternating = {
            (verb, size): _alternating(ours, verb, size, scale)
            for verb in VERBS
            for size in scale.sizes
        }
    for verb in VERBS:
        for size in scale.sizes:
            title, both = f"{verb}, {size} KB", alternating[verb, size]
            section.tables.append(_table(title, timed[size][verb]))
            section.tables.append(_table(f"{title}, {ALTERNATING}", both))
            what = f"{verb} of {size} KB"
            section.targets.append(_target(what, LIMITS[verb, size], timed[size][verb]))
            if size <= ALTERNATING_KB:
                limit = ALTERNATING_LIMITS[verb]
                section.targets.append(_target(f"{what}, {ALTERNATING}", limit, both))
        section.plots.append(_plot(verb, {size: timed[size][verb] for size in scale.sizes}))
    return section


def _here(key_arn: str, section: Section) -> Iterable[Stored]:
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
            continue
        if name == OURS:
            peers[-1].name = BY_BOTO
    return [StoredHere(peer) for peer in peers]


def _elsewhere(
    stack: ExitStack, settings: dict[str, Any], folder: Path, section: Section
) -> Iterable[Stored]:
    try:
        tree = baseline.unpack(folder)
    except LookupError:
        section.notes.append(f"Skipped: {BEFORE}: this is no checkout that has it.")
    else:
        then = engines.running(BEFORE, OURS, root=tree, SESSIONS_KMS=settings)
        yield StoredElsewhere(stack.enter_context(then))
    databases = stack.enter_context(django_site.postgresql())
    if databases is None:
        section.notes.append("Skipped: PostgreSQL is not installed.")
        return
    process = stack.enter_context(engines.running(POSTGRESQL, "Django db (SQLite)", **databases))
    process.migrate()
    yield StoredElsewhere(process)


def _notes(cache: str | None) -> list[str]:
    where = "Redis" if cache else "memory of the process (no Redis here: skipped)"
    return [
        "DynamoDB is a process that answers from memory and looks at no condition, so CPU time is "
        "the client's own; wall time includes that process and the way to it, not AWS's network.",
        f"“{BARE}” repeats the engine's very GetItem or PutItem, condition and all, and does "
        "nothing else, by the client that `boto3.client` gives. The engine's own client leaves out "
        "boto's validation of parameters, and so is told apart. “boto3 and JSON” is the least any "
        "session engine does, by the engine's client.",
        f"“{OURS}” uses the built-in client, as by default where possible; "
        f"“{BY_BOTO}” uses boto3's.",
        "The CPU ratio is the stricter one, and the target is held to it.",
        "Each contestant makes its calls of a round in a block, which fills the processor's caches "
        f"for it. “{ALTERNATING}”: one process makes one call of the engine's and one bare call in "
        "turn, and each finds the caches as the other left them. A server's caches are no warmer.",
        f"Django's cache is {where}. A signed cookie of 64 KB is no use in a browser.",
    ]


def _timed(stored: Iterable[Stored], size: int, scale: Scale) -> dict[str, dict[str, Timed]]:
    for each in stored:
        each.store(size)
    return {
        verb: compete(
            [each.contestant(verb) for each in stored], rounds=scale.rounds, budget=scale.budget
        )
        for verb in VERBS
    }


def _alternating(ours: EngineProcess, verb: str, size: int, scale: Scale) -> dict[str, Timed]:
    """Time calls of the engine and of the bare call, one of each in turn."""
    ours.alternate(verb, size, WARM_UP)
    found = {OURS: Timed(), BARE: Timed()}
    for _ in range(scale.rounds):
        for timed, (wall, cpu) in zip(
            found.values(), ours.alternate(verb, size, scale.alternating), strict=True
        ):
            timed.wall.turns.append(wall)
            timed.cpu.turns.append(cpu)
    return found


def _table(title: str, timed: dict[str, Timed]) -> Table:
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
    return Table(title, COLUMNS, rows)


def _target(what: str, limit: float, timed: dict[str, Timed]) -> Target:
    found = ratio(timed[OURS].cpu, timed[BARE].cpu).median
    return Target(f"{what}, CPU, times the bare boto3 call", limit, found)


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
