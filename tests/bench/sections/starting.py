"""From the start of a process to its first loaded session, and its memory then."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from django.core.management import call_command

from tests import ROOT
from tests.bench import aws, baseline, django_site
from tests.bench.content import KB, content
from tests.bench.measuring import percentile, ratio_of
from tests.bench.peers import DYSESSION, ENGINES, OURS, EnginePeer
from tests.bench.result import Plot, Section, Table, Target
from tests.bench.scale import Scale
from tests.bench.start import BARE, IMPORT_ONLY

IMPORT_LIMIT = 0.8  # times django-dysession's
FIRST_LIMIT = 1.0  # times that of the earlier version
BEFORE = f"{OURS} at {baseline.COMMIT}"
NO_DJANGO = "boto3 without Django"
CACHE = "Django cache"
PROGRAM = ROOT / "tests" / "bench" / "start.py"  # the current one for all versions
IMPORTED = "import_after_boto"  # CPU
NOTES = [
    "Each start is a new process, in turns, with compiled bytecode. The import is that of the "
    "engine's module after Django with its auth and sessions apps; the first session is timed "
    "from the start of the Python process. django-dysession imports boto3 with its engine, ours "
    "imports it at first use. So the import is also measured after boto3 was imported: this is "
    "the last column, and the target.",
]
Start = dict[str, float]


def run(scale: Scale, folder: Path) -> Section:
    section = Section("Cold start", list(NOTES))
    with aws.running("answering", folder) as found, django_site.redis(folder) as cache:
        django_site.set_up(django_site.site(folder, found.settings, cache))
        call_command("migrate", verbosity=0)
        keys = _keys(section, cache)
        trees = _trees(section, folder, keys)
        _turn(folder, keys, trees)  # The first turn compiles bytecode.
        turns = [_turn(folder, keys, trees) for _ in range(scale.starts)]
    starts = {name: [turn[name] for turn in turns] for name in keys}
    rows = [(name, *_row(found)) for name, found in starts.items()]
    columns = (
        "",
        "import p50 ms",
        "import, quartiles",
        "import CPU p50 ms",
        "first session p50 ms",
        "first session, CPU p50 ms",
        "memory MB",
        "import after boto3, CPU p50 ms",
    )
    section.tables.append(Table("A new process", columns, rows))
    section.targets += _targets(starts)
    firsts = {name: [median(s["first"] for s in found)] for name, found in starts.items()}
    title = "From the start of a process to its first session"
    section.plots.append(Plot("starting", title, "ms", [""], firsts))
    return section


def _turn(folder: Path, keys: dict[str, str], trees: dict[str, Path]) -> dict[str, Start]:
    """Start each once."""
    found = {}
    for name, key in keys.items():
        engine = ENGINES[OURS] if name == BEFORE else ENGINES.get(name, BARE)
        tree = trees.get(name, ROOT)
        found[name] = _start(folder, tree, engine, key)
        if engine != BARE:
            found[name][IMPORTED] = _start(folder, tree, engine, IMPORT_ONLY)["import_cpu"]
    return found


def _trees(section: Section, folder: Path, keys: dict[str, str]) -> dict[str, Path]:
    """Add the earlier version of the engine; it reads the session that the current one stored."""
    try:
        tree = baseline.unpack(folder)
    except LookupError:
        section.notes.append(f"Skipped: {BEFORE}: this is no checkout that has it.")
        return {}
    keys[BEFORE] = keys[OURS]
    return {BEFORE: tree}


def _targets(starts: dict[str, list[Start]]) -> Iterator[Target]:
    if DYSESSION in starts:
        found = _times(starts, IMPORTED, DYSESSION)
        what = "import of sessions_kms.backend: CPU, times django-dysession's after boto3's"
        yield Target(what, IMPORT_LIMIT, found)
    if BEFORE in starts:
        found = _times(starts, "first", BEFORE)
        what = f"first loaded session of a process: time, times that at {baseline.COMMIT}"
        yield Target(what, FIRST_LIMIT, found)
        found = _times(starts, "first_cpu", BEFORE)
        what = f"first loaded session of a process: CPU, times that at {baseline.COMMIT}"
        yield Target(what, FIRST_LIMIT, found)


def _times(starts: dict[str, list[Start]], what: str, peer: str) -> float:
    pairs = zip(starts[OURS], starts[peer], strict=True)
    return ratio_of([ours[what] / theirs[what] for ours, theirs in pairs]).median


def _keys(section: Section, cache: str | None) -> dict[str, str]:
    """Store a session with each engine; return its session keys."""
    keys = {NO_DJANGO: "not-before#django"}
    for name in ENGINES:
        if name == CACHE and cache is None:
            section.notes.append(f"Skipped: {name}, which shares nothing without Redis.")
            continue
        try:
            peer = EnginePeer(name)
        except ImportError:
            section.notes.append(f"Skipped: {name} is not installed.")
            continue
        peer.store(content(1 * KB))
        keys[name] = str(peer.key)
    return keys


def _start(folder: Path, tree: Path, engine: str, key: str) -> Start:
    gc.collect()
    began = str(time.monotonic())
    command = [sys.executable, "-P", str(PROGRAM), engine, key, began]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONPYCACHEPREFIX": str(folder)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    told = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout
    found: Start = json.loads(told.splitlines()[-1])
    return found


def _row(starts: list[Start]) -> tuple[str, ...]:
    imports = [start.get("import", 0) for start in starts]
    low, middle, high = (percentile(imports, percent) for percent in (25, 50, 75))
    return (
        f"{middle:.1f}",
        f"{low:.1f} to {high:.1f}",
        f"{median(start.get('import_cpu', 0) for start in starts):.1f}",
        f"{median(start['first'] for start in starts):,.0f}",
        f"{median(start['first_cpu'] for start in starts):,.0f}",
        f"{median(start['memory'] for start in starts):,.0f}",
        f"{median(start.get(IMPORTED, 0) for start in starts):.1f}",
    )
