"""`manage.py clearsessions`: Django's own, but for sessions that DynamoDB itself deletes."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from sessions_kms.aws.errors import DENIED, kind_of
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import TableUnavailable
from sessions_kms.management.base import INCOMPLETE, OperatorCommand, UsageError, session_engine
from sessions_kms.operations.provisioning import TTL_ATTRIBUTE
from sessions_kms.operations.purging import Clearing
from sessions_kms.services import services

MAX_ITEMS = 100_000


class Command(OperatorCommand):
    help = (
        "Delete expired sessions. While DynamoDB's TTL is on, it does that, and there is "
        "nothing to do. While TTL is off, use --force: it deletes a limited number of expired "
        "items. With another session engine this is Django's own command."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--force", action="store_true", help="go through the table, unless its TTL is on"
        )
        parser.add_argument(
            "--max-items",
            type=int,
            default=MAX_ITEMS,
            metavar="N",
            help="with --force: delete so many at most (default: %(default)s)",
        )

    def operate(self, options: dict[str, Any]) -> None:
        if not issubclass(session_engine(), SessionStore):
            self._clear_another_engine()
        elif _deletes_by_itself():
            self.conclude(
                {"ttl": True, "deleted": 0},
                "DynamoDB deletes expired sessions by itself: there is nothing to do.",
            )
        elif options["force"] and self.dry_run:
            self.conclude(
                {"ttl": False, "deleted": 0},
                "Would go through the whole table and delete what has expired,"
                f" {options['max_items']:,} items at most.",
            )
        elif options["force"]:
            self._clear(options["max_items"])
        else:
            self.conclude(
                {"ttl": False, "deleted": 0},
                "DynamoDB does not delete expired sessions: the TTL of the table is off, or this"
                " role may not ask. Enable it by manage.py create_session_store, or add --force"
                " to delete them now.",
                status=INCOMPLETE,
            )

    def _clear(self, at_most: int) -> None:
        if at_most < 1:
            raise UsageError("--max-items must be at least 1.")
        clearing = Clearing(services())
        with self.resumable("Run the same command again to go on."), self.progress("items") as done:
            for looked_at in clearing.expired(at_most=at_most):
                done(looked_at)
        deleted, more = clearing.cleared.deleted, clearing.cleared.deleted >= at_most
        self.conclude(
            {"ttl": False, "deleted": deleted, "more": more},
            f"Deleted {deleted:,} expired items."
            + (" There may be more: run the same command again." if more else ""),
            status=INCOMPLETE if more else 0,
        )

    def _clear_another_engine(self) -> None:
        engine = {"engine": settings.SESSION_ENGINE}
        if self.dry_run:
            self.conclude(engine, f"Would have {settings.SESSION_ENGINE} clear what has expired.")
            return
        try:
            session_engine().clear_expired()
        except NotImplementedError:
            raise CommandError(
                f"Session engine {settings.SESSION_ENGINE!r} doesn't support clearing expired"
                " sessions."
            ) from None
        if self.as_json:
            self.conclude(engine, "")


def _deletes_by_itself() -> bool:
    """Tell whether TTL is on; where this role may not ask, it is taken to be off."""
    try:
        return run_sync(services().description.ttl_attribute()) == TTL_ATTRIBUTE
    except TableUnavailable as exc:
        if isinstance(exc.__cause__, Exception) and kind_of(exc.__cause__) in DENIED:
            return False
        raise
