"""Loading a session, and loading and saving it, beside what others take for the same."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from django.core.management import call_command

from tests.bench import django_site, engines
from tests.bench.engines import EngineProcess
from tests.bench.measuring import Times, ratio, use_one_core
from tests.bench.peers import (
    BARE,
    BY_BOTO,
    DYSESSION,
    ENCRYPTION_SDK,
    ENGINES,
    OURS,
    POSTGRESQL,
)
from tests.bench.result import Plot, Section, Table, Target
from tests.bench.scale import Scale
from tests.support.production import aws

VERBS = ("load", "load and save")
LIMITS = {"load": 0.40, "load and save": 0.42}  # times the bare calls, up to SMALL_KB
SMALL_KB = 4
WARM_UP = 5
CACHED, SIGNED = "Django cached_db", "Django signed_cookies"
SELDOM = (OURS, CACHED, SIGNED, BARE)  # with more than a second between two calls
PACKAGES = {DYSESSION: "dysession", ENCRYPTION_SDK: "aws_encryption_sdk"}

# By peer, what its calls took, and what those of the bare call took in the same process.
Found = dict[str, tuple[Times, Times]]


def run(scale: Scale, folder: Path) -> Section:
    use_one_core()
    section = Section("Loading and saving a session")
    with (
        ExitStack() as stack,
        aws.running("answering", folder) as found,
        django_site.redis(folder) as cache,
    ):
        django_site.set_up(django_site.site(folder, found.settings, cache))
        call_command("migrate", verbosity=0)
        section.notes += _notes(cache)
        processes = list(_start(stack, found.settings, section))
        measured = {size: _measure(processes, size, scale) for size in scale.sizes}
        for verb in VERBS:
            by_size = {size: measured[size][verb] for size in scale.sizes}
            section.tables.append(_table(f"{verb}: CPU, times boto3's", by_size))
        section.tables.append(_seldom(processes[0], scale))
    smallest = {verb: measured[scale.sizes[0]][verb] for verb in VERBS}
    section.headline = _headline(scale.sizes[0], smallest)
    section.plots.append(_plot(scale.sizes[0], smallest["load"]))
    section.targets += [
        Target(
            f"{verb} of {size} KB, CPU, times boto3's", LIMITS[verb], _times(*by_verb[verb][OURS])
        )
        for size, by_verb in measured.items()
        for verb in VERBS
        if size <= SMALL_KB
    ]
    return section


def _start(
    stack: ExitStack, settings: Mapping[str, object], section: Section
) -> Iterable[EngineProcess]:
    """Start a process for each set of settings; the first has most of the peers."""
    absent = {name for name, package in PACKAGES.items() if find_spec(package) is None}
    section.notes += [f"Skipped: {name} is not installed." for name in sorted(absent)]
    first = [name for name in (*ENGINES, BARE) if name not in PACKAGES]
    boto = [name for name in (BY_BOTO, *PACKAGES, BARE) if name not in absent]
    for names, client in ((first, "builtin"), (boto, "boto")):
        found = {**settings, "CLIENT": client}
        yield stack.enter_context(engines.running(names, SESSIONS_KMS=found))
    databases = stack.enter_context(django_site.postgresql())
    if databases is None:
        section.notes.append("Skipped: PostgreSQL is not installed.")
        return
    process = stack.enter_context(engines.running([POSTGRESQL, BARE], **databases))
    process.migrate()
    yield process


def _notes(cache: str | None) -> list[str]:
    where = "Redis" if cache else "memory of the process (no Redis here: skipped)"
    return [
        "The figures are the client's CPU time. DynamoDB is a process that answers from memory.",
        "One process makes one call of each in turn, so each finds the processor's caches as the "
        "others left them. What uses boto3 alternates with it in a second process, and PostgreSQL "
        "in a third.",
        f"“{BARE}” repeats the engine's GetItem and PutItem, and neither serializes nor encrypts.",
        f'“{BY_BOTO}” has the setting `CLIENT = "boto"`.',
        f"Django's cache is {where}. Browsers reject signed cookies above 4 KB.",
    ]


def _measure(processes: Iterable[EngineProcess], size: int, scale: Scale) -> dict[str, Found]:
    """Return what each peer takes, by verb."""
    found: dict[str, Found] = {verb: {} for verb in VERBS}
    for process in processes:
        process.store(size)
    for _ in range(scale.rounds):
        for verb in VERBS:
            for number, process in enumerate(processes):
                process.alternate(verb, WARM_UP)
                calls = process.alternate(verb, scale.alternating)
                _add_round(found[verb], calls, with_bare=number == 0)
    return found


def _add_round(found: Found, round_: Mapping[str, list[float]], *, with_bare: bool = True) -> None:
    for name, calls in round_.items():
        if name == BARE and not with_bare:
            continue
        ours, bare = found.setdefault(name, (Times(), Times()))
        ours.rounds.append(calls)
        bare.rounds.append(round_[BARE])


def _seldom(process: EngineProcess, scale: Scale) -> Table:
    """Return the CPU time at the smallest size with a pause before each call."""
    size = scale.sizes[0]
    process.store(size)
    rows: dict[str, list[str]] = {name: [] for name in SELDOM}
    for verb in VERBS:
        found: Found = {}
        _add_round(
            found, process.alternate(verb, scale.seldom, pause=scale.pause, names=list(SELDOM))
        )
        for name, times in found.items():
            rows[name].append(_cell(*times))
    title = f"{size} KB, {scale.pause} s between calls: CPU, times boto3's"
    return Table(title, ("", *VERBS), [(name, *cells) for name, cells in rows.items()])


def _table(title: str, by_size: Mapping[int, Found]) -> Table:
    """Return a row for each peer, the fastest first: the CPU time at each size."""
    first = next(iter(by_size.values()))
    names = sorted(first, key=lambda name: first[name][0].median)
    rows = [(name, *(_cell(*found[name]) for found in by_size.values())) for name in names]
    return Table(title, ("", *(f"{size} KB" for size in by_size)), rows)


def _cell(ours: Times, bare: Times) -> str:
    """Return the ratio, and for boto3 itself the microseconds."""
    return f"{ours.median:,.0f} µs" if ours.rounds == bare.rounds else f"{_times(ours, bare):.2f}"


def _times(ours: Times, bare: Times) -> float:
    return ratio(ours, bare).median


def _headline(size: int, found: Mapping[str, Found]) -> str:
    """Return the CPU of the engine and of Redis, in times of boto3, whichever is less."""
    shares = {name: tuple(_times(*found[verb][name]) for verb in VERBS) for name in (OURS, CACHED)}
    (load, both), (cached_load, cached_both) = shares[OURS], shares[CACHED]
    return (
        f"The engine takes {load:.2f} times boto3's CPU to load an encrypted session of {size} KB, "
        f"and {both:.2f} times to load and save it. Django's cached_db on Redis, which encrypts "
        f"nothing, takes {cached_load:.2f} and {cached_both:.2f}."
    )


def _plot(size: int, found: Found) -> Plot:
    """Return a bar for each peer but django-dysession, whose bar would hide the others."""
    bars = {name: ours.median for name, (ours, _) in found.items() if name != DYSESSION}
    title = f"CPU time of loading a session of {size} KB"
    return Plot("load", title, "µs", dict(sorted(bars.items(), key=lambda bar: bar[1])))
