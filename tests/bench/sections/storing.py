"""`load` and `save` of one session, beside what others take for the same."""

from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Protocol

from django.core.management import call_command

from tests.bench import django_site, encryption_sdk, engines
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
    use_one_core,
)
from tests.bench.peers import BARE, DYSESSION, ENGINES, OURS, BarePeer, EnginePeer, Peer
from tests.bench.result import Plot, Section, Table, Target
from tests.bench.scale import Scale
from tests.support.production import aws

VERBS = ("load", "save")
BY_BOTO = f"{OURS}, by boto3"
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
    use_one_core()
    section = Section("Loading and saving a session")
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
            *_postgresql(stack, section),
        ]
        timed = {size: _time_all(stored, size, scale) for size in scale.sizes}
        alternating = {
            (verb, size): _alternate(ours, verb, size, scale)
            for verb in VERBS
            for size in scale.sizes
        }
    smallest = timed[scale.sizes[0]]["load"]
    section.headline = _headline(scale.sizes[0], smallest)
    section.plots.append(_plot(scale.sizes[0], smallest))
    for verb in VERBS:
        by_size = {size: timed[size][verb] for size in scale.sizes}
        by_turns = [alternating[verb, size] for size in scale.sizes]
        section.tables.append(_table(f"{verb}: CPU µs (times boto3's)", by_size, by_turns))
    for (verb, size), both in alternating.items():
        what = f"{verb} of {size} KB"
        section.targets.append(_target(what, LIMITS[verb, size], timed[size][verb]))
        if size <= ALTERNATING_KB:
            limit = ALTERNATING_LIMITS[verb]
            section.targets.append(_target(f"{what}, {ALTERNATING}", limit, both))
    return section


def _here(key_arn: str, section: Section) -> Iterable[Stored]:
    peers: list[Peer] = [BarePeer(BARE)]
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


def _postgresql(stack: ExitStack, section: Section) -> Iterable[Stored]:
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
        "The figures are the client's CPU time. DynamoDB is a process that answers from memory.",
        f"“{BARE}” repeats the engine's GetItem or PutItem, and neither serializes nor encrypts.",
        f'“{BY_BOTO}” has the setting `CLIENT = "boto"`.',
        f"“{ALTERNATING}”: one process makes one call of the engine and one of boto3 in turn, so "
        "that each finds the processor's caches as the other left them.",
        f"Django's cache is {where}. No browser accepts a signed cookie of 64 KB.",
    ]


def _time_all(stored: Iterable[Stored], size: int, scale: Scale) -> dict[str, dict[str, Timed]]:
    for each in stored:
        each.store(size)
    return {
        verb: compete(
            [each.contestant(verb) for each in stored], rounds=scale.rounds, budget=scale.budget
        )
        for verb in VERBS
    }


def _alternate(ours: EngineProcess, verb: str, size: int, scale: Scale) -> dict[str, Timed]:
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


def _table(
    title: str, by_size: dict[int, dict[str, Timed]], by_turns: list[dict[str, Timed]]
) -> Table:
    """Return a row for each contestant, the fastest first: the CPU time at each size.

    The last row has the calls that one process made in turns.
    """
    first = next(iter(by_size.values()))
    names = sorted(first, key=lambda name: first[name].cpu.median)
    rows = [
        (name, *(_cell(found[name], found[BARE]) for found in by_size.values())) for name in names
    ]
    rows.append((f"{OURS}, {ALTERNATING}", *(_cell(both[OURS], both[BARE]) for both in by_turns)))
    return Table(title, ("", *(f"{size} KB" for size in by_size)), rows)


def _cell(found: Timed, bare: Timed) -> str:
    return f"{found.cpu.median:,.0f} ({ratio(found.cpu, bare.cpu).median:.2f})"


def _headline(size: int, timed: dict[str, Timed]) -> str:
    times = ratio(timed[OURS].cpu, timed[BARE].cpu).median
    return (
        f"Loading an encrypted {size} KB session takes {times:.2f} times the CPU of the same "
        "GetItem in boto3."
    )


def _target(what: str, limit: float, timed: dict[str, Timed]) -> Target:
    found = ratio(timed[OURS].cpu, timed[BARE].cpu).median
    return Target(f"{what}, CPU, times the bare boto3 call", limit, found)


def _plot(size: int, timed: dict[str, Timed]) -> Plot:
    """Return a bar for each contestant but django-dysession, whose bar would hide the others."""
    bars = {name: found.cpu.median for name, found in timed.items() if name != DYSESSION}
    title = f"CPU time of loading a session of {size} KB"
    return Plot("load", title, "µs", dict(sorted(bars.items(), key=lambda bar: bar[1])))
