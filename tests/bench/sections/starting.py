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
from tests.bench import django_site
from tests.bench.content import KB, content
from tests.bench.measuring import ratio_of
from tests.bench.peers import DYSESSION, ENGINES, OURS, EnginePeer
from tests.bench.result import Section, Table, Target
from tests.bench.scale import Scale
from tests.bench.start import BARE, IMPORT_ONLY
from tests.support.production import aws

IMPORT_LIMIT = 0.8  # times django-dysession's
NO_DJANGO = "boto3 without Django"
CACHE = "Django cache"
PROGRAM = ROOT / "tests" / "bench" / "start.py"
IMPORTED = "import_after_boto"  # CPU
NOTES = [
    "From the start of a new Python process, with compiled bytecode, to its first loaded session. "
    "The last column is the time to import the engine's module after Django and boto3.",
]
Start = dict[str, float]


def run(scale: Scale, folder: Path) -> Section:
    section = Section("Cold start", list(NOTES), on_page=False)
    with aws.running("answering", folder) as found, django_site.redis(folder) as cache:
        django_site.set_up(django_site.site(folder, found.settings, cache))
        call_command("migrate", verbosity=0)
        keys = _keys(section, cache)
        _turn(folder, keys)  # The first turn compiles bytecode.
        turns = [_turn(folder, keys) for _ in range(scale.starts)]
    starts = {name: [turn[name] for turn in turns] for name in keys}
    rows = [(name, *_row(found)) for name, found in starts.items()]
    columns = ("", "first session, ms", "memory, MB", "import, CPU ms")
    section.tables.append(Table("engine", columns, rows))
    section.targets += _targets(starts)
    return section


def _turn(folder: Path, keys: dict[str, str]) -> dict[str, Start]:
    """Start each once."""
    found = {}
    for name, key in keys.items():
        engine = ENGINES.get(name, BARE)
        found[name] = _start(folder, engine, key)
        if engine != BARE:
            found[name][IMPORTED] = _start(folder, engine, IMPORT_ONLY)["import_cpu"]
    return found


def _targets(starts: dict[str, list[Start]]) -> Iterator[Target]:
    if DYSESSION in starts:
        pairs = zip(starts[OURS], starts[DYSESSION], strict=True)
        found = ratio_of([ours[IMPORTED] / theirs[IMPORTED] for ours, theirs in pairs]).median
        what = "import of sessions_kms.backend: CPU, times django-dysession's after boto3's"
        yield Target(what, IMPORT_LIMIT, found)


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


def _start(folder: Path, engine: str, key: str) -> Start:
    gc.collect()
    began = str(time.monotonic())
    command = [sys.executable, "-P", str(PROGRAM), engine, key, began]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(folder)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    told = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout
    found: Start = json.loads(told.splitlines()[-1])
    return found


def _row(starts: list[Start]) -> tuple[str, ...]:
    return (
        f"{median(start['first'] for start in starts):,.0f}",
        f"{median(start['memory'] for start in starts):,.0f}",
        f"{median(start.get(IMPORTED, 0) for start in starts):.1f}",
    )
