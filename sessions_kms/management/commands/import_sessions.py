"""`manage.py import_sessions`: change the session engine without signing anybody out."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import DatabaseError

from sessions_kms import conf
from sessions_kms.management.base import INCOMPLETE, OperatorCommand, unknown
from sessions_kms.operations.session_import import AllEnded, Importer, OldEngine
from sessions_kms.services import services

ALL_ENDED = (
    "All sessions before some time were ended, and the old engine does not store when its"
    " sessions began, so importing could restore ended sessions. If there are none, pass"
    " --ignore-not-before."
)
ENGINES = (
    "django.contrib.sessions.backends.db",
    "django.contrib.sessions.backends.cached_db",
)


class Command(OperatorCommand):
    help = (
        "Import the live sessions of a database engine. Nobody is signed out when "
        "SESSION_ENGINE changes: sessions keep their keys, which are in the visitors' cookies, "
        "and their expiry. The rows stay. Can be stopped and run again. If the site is running, "
        "first set SESSION_ENGINE to 'sessions_kms.moving_in' everywhere."
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
            old = OldEngine(options["engine"] or conf.config().migrate_from)
        except ImproperlyConfigured as exc:
            if options["engine"] is None:
                raise
            raise unknown(str(exc), options["engine"], ENGINES) from exc
        importer = Importer(services(), old, ignore_not_before=options["ignore_not_before"])
        live = self._count(old)
        if self.dry_run:
            self.conclude({"live": live}, f"Would import {live:,} live sessions.")
            return
        self.confirm(f"Import {live:,} live sessions?")
        try:
            with self.resumable("Run it again to continue."):
                self._import_all(importer, live)
        except AllEnded as exc:
            raise CommandError(ALL_ENDED) from exc
        except DatabaseError as exc:
            raise CommandError(
                f"The old engine's table became unreadable ({exc}). Run it again to continue.",
                returncode=INCOMPLETE,
            ) from exc
        counts = importer.counts
        summary = ", ".join(f"{count:,} {outcome}" for outcome, count in counts.items())
        left = counts["unreadable"] + counts["too large"]
        self.conclude(
            {name.replace(" ", "_"): count for name, count in counts.items()},
            summary,
            status=INCOMPLETE if left else 0,
        )

    def _count(self, old: OldEngine) -> int:
        try:
            return old.count()
        except DatabaseError as exc:
            raise CommandError(
                f"The old engine's table cannot be read: is this its database? ({exc})"
            ) from exc
        except ImproperlyConfigured as exc:
            raise CommandError(str(exc)) from exc

    def _import_all(self, importer: Importer, live: int) -> None:
        with self.progress("sessions", total=live) as advance:
            for scanned in importer.import_all():
                advance(scanned)
