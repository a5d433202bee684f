"""A session of a test: created, loaded, changed and saved, on the test kit and in SQLite."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from django.contrib.sessions.backends.base import SessionBase
from django.core.management import call_command
from django.test.utils import setup_test_environment

from tests.bench import django_site
from tests.bench.measuring import Contestant, Here, Timed, compete
from tests.bench.result import Section, Table, Target
from tests.bench.scale import Scale

KIT = "sessions_kms.testing"
KIT_TEST = f"{KIT}, undone afterwards"
DATABASE = "Django db (SQLite in memory)"
LIMIT = 0.6  # ms
KEY = "arn:aws:kms:eu-west-1:111122223333:key/11111111-2222-3333-4444-555555555555"
NOTES = [
    "What a test does to a session, in CPU time: one is created, loaded again, changed and saved. "
    "The last row of the kit has a test around it, after which everything is undone."
]


def run(scale: Scale, folder: Path) -> Section:
    section = Section("A test suite's sessions", list(NOTES))
    site = django_site.site(folder, {"KEY_ID": KEY, "TABLE_NAME": "sessions"}, None)
    site["DATABASES"] = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
    site["SESSION_ENGINE"] = f"{KIT}.backend"
    django_site.set_up(site)
    setup_test_environment()
    call_command("migrate", verbosity=0)
    found = compete(_contestants(), rounds=scale.rounds, budget=scale.budget)
    columns = ("", "CPU p50 ms", "CPU p99 ms")
    rows = [(name, *_row(timed)) for name, timed in found.items()]
    section.tables.append(Table("Create, load, change and save", columns, rows))
    what = "create, load, change and save on the test kit: CPU"
    section.targets.append(Target(what, LIMIT, found[KIT].cpu.median / 1000, "ms"))
    return section


def _contestants() -> list[Contestant]:
    kit, database = _cycle_of(f"{KIT}.backend"), _cycle_of("django.contrib.sessions.backends.db")
    return [
        Here(KIT, lambda: kit),
        Here(KIT_TEST, lambda: lambda: _undone(kit)),
        Here(DATABASE, lambda: database),
    ]


def _cycle_of(engine: str) -> Callable[[], None]:
    store: type[SessionBase] = import_module(engine).SessionStore

    def cycle() -> None:
        session = store()
        session["n"] = 1
        session.save()
        again = store(session.session_key)
        again["n"] += 1
        again.save()

    return cycle


def _undone(cycle: Callable[[], None]) -> None:
    from sessions_kms.testing import store

    with store.isolated():
        cycle()


def _row(timed: Timed) -> tuple[str, str]:
    return f"{timed.cpu.median / 1000:.2f}", f"{timed.cpu.percentile(99) / 1000:.2f}"
