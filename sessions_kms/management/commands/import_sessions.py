"""`manage.py import_sessions`: change the session engine without signing anybody out."""

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import DatabaseError

from sessions_kms import conf
from sessions_kms.management.base import INCOMPLETE, OperatorCommand, unknown
from sessions_kms.management.known_errors import explain
from sessions_kms.operations.old_engines import OldEngine, load_engine
from sessions_kms.operations.session_import import LEFT, AllEnded, Importer
from sessions_kms.services import services

ALL_ENDED = (
    "All sessions before some time were ended, and the old engine does not store when its"
    " sessions began, so importing could restore ended sessions. If there are none, pass"
    " --ignore-not-before."
)
ENGINES = (
    "django.contrib.sessions.backends.db",
    "django.contrib.sessions.backends.cached_db",
    "django.contrib.sessions.backends.cache",
)


class Command(OperatorCommand):
    help = (
        "Import the live sessions of a database engine, or of Redis. Nobody is signed out when "
        "SESSION_ENGINE changes: sessions keep their keys, which are in the visitors' cookies, "
        "and their expiry. The old sessions stay. Can be stopped and run again. If the site is "
        "running, first set SESSION_ENGINE to 'sessions_kms.moving_in' everywhere."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--from",
            dest="engine",
            metavar="ENGINE",
            help="the old engine's module (default: MIGRATE_FROM of SESSIONS_KMS)",
        )
        parser.add_argument(
            "--ignore-not-before",
            action="store_true",
            help="import even after `end_sessions --before`: this may restore ended sessions",
        )

    def operate(self, options: dict[str, Any]) -> None:
        try:
            old = load_engine(options["engine"] or conf.config().migrate_from, services().clock)
        except ImproperlyConfigured as exc:
            if options["engine"] is None:
                raise
            raise unknown(str(exc), options["engine"], ENGINES) from exc
        importer = Importer(services(), old, ignore_not_before=options["ignore_not_before"])
        live = self._count(old)
        if self.dry_run:
            self._examine_all(importer, live)
            return
        self.confirm(f"Import {live:,} live sessions?")
        try:
            with self.resumable("Run it again to continue."):
                self._advance(importer.import_all(), live)
        except AllEnded as exc:
            raise CommandError(ALL_ENDED) from exc
        left = _select_left(importer)
        self.conclude(
            {name.replace(" ", "_"): count for name, count in importer.counts.items()},
            _list_counts(importer.counts),
            status=INCOMPLETE if any(left.values()) else 0,
        )

    def _examine_all(self, importer: Importer, live: int) -> None:
        """Read every session, and report how many would be left."""
        self._advance(importer.examine_all(), live)
        left = {name: count for name, count in _select_left(importer).items() if count}
        summary = f"Would import {live - sum(left.values()):,} live sessions"
        self.conclude(
            {"live": live} | {name.replace(" ", "_"): count for name, count in left.items()},
            f"{summary}, and leave {_list_counts(left)}." if left else f"{summary}.",
            status=INCOMPLETE if left else 0,
        )

    def _count(self, old: OldEngine) -> int:
        try:
            return old.count()
        except DatabaseError as exc:
            raise CommandError(
                "The old engine's table cannot be read: is this its database?"
                f" {explain(exc) or exc}"
            ) from exc
        except ImproperlyConfigured as exc:
            raise CommandError(str(exc)) from exc

    def _advance(self, work: Iterator[int], live: int) -> None:
        """Do work that yields how many sessions it has read."""
        with self.progress("sessions", total=live) as advance:
            try:
                for scanned in work:
                    advance(scanned)
            except DatabaseError as exc:
                raise CommandError(
                    f"The old engine's table became unreadable. {explain(exc) or exc} Run it again"
                    " to continue.",
                    returncode=INCOMPLETE,
                ) from exc


def _select_left(importer: Importer) -> dict[str, int]:
    return {name: importer.counts[name] for name in LEFT}


def _list_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {outcome}" for outcome, count in counts.items())
